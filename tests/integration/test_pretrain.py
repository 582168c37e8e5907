"""`mg3d pretrain` as a whole: what a run leaves, and what it refuses and says."""

import dataclasses
import json
from pathlib import Path

import pytest
from run_outcome import assert_same_bits, read, stop_before

from mg3d.cli import main
from mg3d.errors import CheckpointError, ConfigError, DataError
from mg3d.model.vlm import FULL_METHOD
from mg3d.objectives.masked_volume import MaskedVolumeConfig
from mg3d.objectives.registry import ObjectivesConfig
from mg3d.training import loop as training_loop
from mg3d.training.corpus import CorpusConfig
from mg3d.training.loop import LoopConfig
from mg3d.training.pretrain import pretrain
from mg3d.training.start import StartConfig
from mg3d.weights.release import load_model


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_leaves_what_the_docs_say(settings) -> None:
    config = settings()
    assert pretrain(config) == 0
    rows = [json.loads(line) for line in (config.run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert set(rows[0]["loss"]) == {"total", *FULL_METHOD}
    blanked = {name for name in rows[1]["metrics"] if "blanked" in name}
    assert blanked == {
        f"{objective}.top1_{modality}_blanked"
        for objective in ("plain_alignment", "global_alignment", "aggregation_contrast")
        for modality in ("image", "report")
    }
    for name in ("config.yaml", "environment.json", "provenance.json", "tokenizer/tokenizer.json"):
        assert (config.run / name).is_file()
    release = load_model(config.run)
    assert release.model.config.grid == config.model.grid


def test_a_run_that_is_done_does_nothing_when_it_is_started_again(settings, monkeypatch) -> None:
    config = settings()
    pretrain(config)
    before = contents(config.run)

    def trains_again(*_arguments) -> None:
        raise AssertionError("another step was taken")

    monkeypatch.setattr(training_loop, "training_step", trains_again)
    assert pretrain(config) == 0
    assert contents(config.run) == before


def test_an_impossible_step_fails_before_anything_long(settings, monkeypatch) -> None:
    def too_late(*_arguments) -> None:
        raise AssertionError("the start was already under way")

    monkeypatch.setattr("mg3d.training.pretrain.prepare_start", too_late)
    blocks = ObjectivesConfig(masked_volume=MaskedVolumeConfig(block=(5, 8, 8)))
    with pytest.raises(ConfigError, match="divide the grid"):
        pretrain(settings(objectives=blocks))


def test_the_trial_of_the_largest_step_changes_no_bit(settings, tmp_path, monkeypatch) -> None:
    tried, untried = settings(run=tmp_path / "tried"), settings(run=tmp_path / "untried")
    pretrain(tried)
    monkeypatch.setattr("mg3d.training.pretrain.rehearse", lambda *_arguments, **_options: None)
    pretrain(untried)
    assert_same_bits(tried.run, untried.run)


def test_micro_batches_give_the_same_first_step_and_may_change_between_calls(
    settings, tmp_path: Path, monkeypatch
) -> None:
    whole = settings(run=tmp_path / "whole")
    parts = settings(
        run=tmp_path / "parts", loop=dataclasses.replace(whole.loop, micro_batch_size=3)
    )
    pretrain(whole)
    with monkeypatch.context() as patch:
        stop_before(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            pretrain(parts)
    assert pretrain(whole) == 0
    again = dataclasses.replace(parts.loop, micro_batch_size=1)
    assert pretrain(dataclasses.replace(parts, loop=again)) == 0
    for one, two in zip(read(whole.run), read(parts.run), strict=True):
        # As over two processes: float32 sums in another order, then Adam's first steps.
        tolerance = 1e-5 if one["step"] == 1 else 2e-2
        assert two["loss"] == pytest.approx(one["loss"], rel=tolerance), one["step"]


def test_a_run_of_another_recipe_is_refused_and_not_touched(settings) -> None:
    config = settings()
    pretrain(config)
    before = contents(config.run)
    with pytest.raises(CheckpointError, match="another model, store or recipe"):
        pretrain(settings(seed=2))
    assert contents(config.run) == before


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (LoopConfig, {"log_every": 0}),
        (LoopConfig, {"steps": 0}),
        (CorpusConfig, {"word_ratio": 0.0}),
        (CorpusConfig, {"lr": 0.0}),
        (StartConfig, {"canonical_studies": 1}),
        (StartConfig, {"similar_quantile": 0.4}),
    ],
)
def test_settings_out_of_range_name_the_field(kind, wrong) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        kind(**wrong)


def test_grid_that_differs_from_the_store_is_refused(settings) -> None:
    config = settings()
    other = dataclasses.replace(config.model, grid=(64, 32, 64))
    with pytest.raises(ConfigError, match=r"store's grid is \(32, 16, 32\)"):
        pretrain(dataclasses.replace(config, model=other))


def test_a_batch_larger_than_the_data_is_refused(settings) -> None:
    with pytest.raises(DataError, match="fewer than one batch of 400"):
        pretrain(settings(loop=LoopConfig(steps=1, batch_size=400)))


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_studies(
    settings, tmp_path: Path, monkeypatch
) -> None:
    whole, broken = settings(), settings(run=tmp_path / "broken")
    pretrain(whole)
    seen: list[str] = []
    original = training_loop.training_step

    def poisoned(run, batch, context, clip_norm, stop):
        if context.step == 2:
            batch = batch.to("cpu")
            batch.image[1, 0, 0, 0, 0] = float("nan")
            seen.append(batch.study_ids[1])
        return original(run, batch, context, clip_norm, stop)

    monkeypatch.setattr(training_loop, "training_step", poisoned)
    with pytest.raises(DataError, match="step 3: the loss is nan; the weights were not") as caught:
        pretrain(broken)
    assert seen[0] in str(caught.value)
    (newest,) = (broken.run / "checkpoints").iterdir()
    assert newest.name == "step-00000002"
    same = whole.run / "checkpoints" / newest.name
    for file in ("model.safetensors", "optimizer.safetensors"):
        assert (newest / file).read_bytes() == (same / file).read_bytes()


def test_the_command_line_says_what_is_wrong(store, tmp_path: Path, capsys) -> None:
    code = main(["pretrain", "phantom-tiny", str(store.path), str(tmp_path / "run")])
    assert code == 2
    assert "prepare the store with the recipe's grid" in capsys.readouterr().err
    code = main(["pretrain", "phantom-tiny", str(tmp_path / "nowhere"), str(tmp_path / "run")])
    assert code == 1
    assert "no store here" in capsys.readouterr().err
