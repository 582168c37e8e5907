import contextlib
import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from mg3d import files
from mg3d.data.dataset import StudyDataset, collate
from mg3d.errors import CheckpointError, ConfigError, DataError, StorageError
from mg3d.evaluation import evaluate as module
from mg3d.evaluation.evaluate import EvaluateConfig, evaluate
from mg3d.evaluation.features import FeatureCache
from mg3d.evaluation.summary import NOTICE
from mg3d.weights.release import load_model


def settings(run: Path, **changes) -> EvaluateConfig:
    return EvaluateConfig(**{"run": run, "repeats": 50, "permutations": 50, "threads": 1} | changes)


def results(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "evaluation").glob("*.json")}


@pytest.fixture
def evaluated(small_run: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    evaluate(settings(small_run))
    return small_run, capsys.readouterr().out


def test_every_result_names_its_rules_and_what_it_was_measured_on(evaluated, small_store) -> None:
    run, printed = evaluated
    documents = {name: json.loads(content) for name, content in results(run).items()}
    assert set(documents) == {"zero_shot.json", "retrieval.json", "baselines.json"}
    for name, document in documents.items():
        assert document["schema"] == "mg3d.evaluation/1"
        assert document["task"] == name.removesuffix(".json")
        counts = [document[f"num_{unit}"] for unit in ("patients", "studies", "volumes")]
        assert counts == [14, 14, 16]
        assert document["store_hash"] == small_store.content_hash
        assert document["checkpoint_hash"] == load_model(run / "release").weights_hash
        assert document["bootstrap"] == {"repeats": 50, "seed": 0, "unit": "patient"}
        assert [rules["name"] for rules in document["protocols"]] == ["strict", "legacy"]
    zero_shot = documents["zero_shot.json"]
    told = [(r["protocol"], r["prompts"]) for r in zero_shot["results"]]
    assert told == [(p, w) for w in ("report", "plain", "unseen") for p in ("strict", "legacy")]
    assert zero_shot["prompt_texts"]["plain"]["Lung nodule"]["positive"]
    directions = [(r["protocol"], r["direction"]) for r in documents["retrieval.json"]["results"]]
    assert len(directions) == len(set(directions)) == 6
    names = [r["name"] for r in documents["baselines.json"]["results"]]
    assert names[0] == "random_encoder_probe"
    assert {"pooled_voxels_linear", "prevalence"} < set(names)
    assert printed.rstrip().endswith(NOTICE)
    assert "strict" in printed
    assert "legacy" in printed


def test_scores_are_cosines_of_the_models_own_embeddings(evaluated, small_store) -> None:
    """AUROC from embeddings made one study at a time, by hand."""
    run, _ = evaluated
    release = load_model(run / "release")
    document = json.loads((run / "evaluation" / "zero_shot.json").read_text())
    texts = document["prompt_texts"]["report"]["Pleural effusion"]
    dataset = StudyDataset(small_store, small_store.select("test"), release.tokenizer)

    def embed(text: str) -> np.ndarray:
        tokens = release.tokenizer.encode_text(text)
        row = [torch.from_numpy(tokens.token_ids)[None], torch.from_numpy(tokens.clause_ids)[None]]
        mask = torch.ones_like(row[0], dtype=torch.bool)
        return release.model.embed_text(row[0], mask, row[1])[0].double().numpy()

    scores: dict[str, list[np.ndarray]] = {}
    labels = {}
    with torch.no_grad():
        prompt = {side: np.mean([embed(text) for text in texts[side]], axis=0) for side in texts}
        for item in dataset:
            image = release.model.embed_image(collate([item]).to("cpu").image)[0].double().numpy()
            scores.setdefault(item.row.study_id, []).append(image)
            labels[item.row.study_id] = item.row.labels[0]
    direction = sum(
        sign * prompt[side] / np.linalg.norm(prompt[side])
        for side, sign in (("positive", 1), ("negative", -1))
    )
    value = {}
    for study, images in scores.items():
        mean = np.mean(images, axis=0)
        value[study] = mean @ direction / np.linalg.norm(mean)
    won = [
        (value[a] > value[b]) + 0.5 * (value[a] == value[b])
        for a in value for b in value if labels[a] == 1 and labels[b] == 0
    ]  # fmt: skip
    found = document["results"][0]["findings"][0]
    assert found["name"] == "Pleural effusion"
    assert found["auroc"]["value"] == pytest.approx(np.mean(won), abs=1e-9)


def test_the_same_command_gives_the_same_bytes_without_encoding_again(
    evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = evaluated
    before = results(run)

    def refuse(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(FeatureCache, "_encode", refuse)
    evaluate(settings(run))
    assert results(run) == before
    evaluate(settings(run, seed=0, tasks=("retrieval",), repeats=20))
    assert results(run)["zero_shot.json"] == before["zero_shot.json"]
    assert results(run)["retrieval.json"] != before["retrieval.json"]


def test_examples_hold_planes_of_true_positives(evaluated, small_store) -> None:
    run, _ = evaluated
    folder = run / "evaluation" / "examples"
    told = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    assert told  # an untrained model still scores some positive above its threshold
    for about in told:
        assert about["label"] == 1.0
        assert about["study_id"] in {row.study_id for row in small_store.select("test")}
        planes = load_file(folder / f"{about['study_id']}.safetensors")
        for plane in ("axial", "coronal", "sagittal"):
            assert planes[f"{plane}_image"].shape == (16, 16)
            assert planes[f"{plane}_similarity"].shape == (16, 16)
            assert about["planes"][plane]["pixel_mm"] == [20.0, 20.0]
    evaluate(settings(run, examples=0))
    assert not list(folder.iterdir())


def test_judging_the_validation_split_has_no_threshold_of_its_own(small_run: Path) -> None:
    evaluate(settings(small_run, split="val", tasks=("zero_shot",)))
    document = json.loads((small_run / "evaluation" / "zero_shot.json").read_text())
    strict = [r for r in document["results"] if r["protocol"] == "strict"]
    assert all(result["macro_f1"] is None for result in strict)
    assert all(result["macro_auroc"] for result in strict)


def test_an_image_only_model_is_judged_by_what_it_has(
    make_run, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("masked_volume")
    evaluate(settings(run))
    printed = capsys.readouterr().out
    assert "zero_shot left out: the model was trained without" in re.sub(r"\s+", " ", printed)
    assert set(results(run)) == {"baselines.json"}
    with pytest.raises(DataError, match="no task is left"):
        evaluate(settings(run, tasks=("retrieval",)))


def test_what_does_not_fit_is_refused(small_run: Path, tmp_path: Path, small_store) -> None:
    with pytest.raises(CheckpointError, match="no complete release"):
        evaluate(settings(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="prompts 'none-such'"):
        evaluate(settings(small_run, prompts="none-such"))
    with pytest.raises(ConfigError, match="batch_size 0: give 1 or more"):
        settings(small_run, batch_size=0)
    with pytest.raises(ConfigError, match="tasks is empty"):
        settings(small_run, tasks=())
    (small_run / "provenance.json").write_text("{}")
    with pytest.raises(CheckpointError, match="give one with --store"):
        evaluate(settings(small_run))
    evaluate(settings(small_run, store=small_store.path, tasks=("retrieval",)))
    preprocessing = small_run / "release" / "preprocessing.json"
    changed = json.loads(preprocessing.read_text())
    changed["geometry"]["spacing_mm"] = [1.0, 1.0, 1.0]
    preprocessing.write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match=r"prepared with geometry .* trained with"):
        evaluate(settings(small_run, store=small_store.path))


def test_a_model_that_gives_nan_stops_with_a_study_name(
    small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.Subject.open

    def broken(*args, **kwargs):
        subject = real(*args, **kwargs)
        with torch.no_grad():
            subject.release.model.image_head.project.bias.fill_(torch.nan)
            next(subject.release.model.image_encoder.parameters()).fill_(torch.nan)
        return subject

    monkeypatch.setattr(module.Subject, "open", broken)
    with pytest.raises(DataError, match=r"study 'p\d\d_s'.*image embedding is not finite"):
        evaluate(settings(small_run))
    with pytest.raises(DataError, match=r"study 'p\d\d_s': its trained_encoder features"):
        evaluate(settings(small_run, tasks=("baselines",)))


def test_after_a_disk_was_full_at_any_write_the_same_command_completes(
    small_run: Path, make_run, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"tasks": ("zero_shot", "retrieval"), "examples": 1}
    evaluate(settings(small_run, **few))
    expected = results(small_run)
    run = make_run("clip")  # the same weights: clip has the parts of plain_alignment
    real, written, allowed = files._write_all, 0, 0

    def full(stream, payload: bytes) -> None:
        nonlocal written
        written += 1
        if written > allowed:
            raise OSError(errno.ENOSPC, "no space left")
        real(stream, payload)

    monkeypatch.setattr(files, "_write_all", full)
    while results(run) != expected:
        written = 0
        with contextlib.suppress(StorageError):
            evaluate(settings(run, **few))
            break
        allowed += 1
    assert allowed >= 4  # of two encoded parts, an example, two results; done parts stay
    assert results(run) == expected


def test_the_message_of_a_full_disk(small_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(stream, payload: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(files, "_write_all", full)
    with pytest.raises(StorageError, match="no space left while writing"):
        evaluate(settings(small_run, tasks=("retrieval",)))
