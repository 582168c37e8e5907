"""The loop by itself: when it logs, warns, saves and stops. Whole runs: tests/integration."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mg3d.batch import StudyBatch
from mg3d.errors import ConfigError, DataError
from mg3d.training import loop as training_loop
from mg3d.training import step as training_step_module
from mg3d.training.checkpoint import Progress, load_newest
from mg3d.training.engine import launch, set_up
from mg3d.training.loop import LoopConfig, fit
from mg3d.training.optim import OptimizerConfig
from mg3d.training.step import Run
from mg3d.training.stop import EXIT_REQUEUE
from mg3d.training.task import TaskOutput

LOOP = LoopConfig(steps=6, batch_size=2, checkpoint_every=2, log_every=4, shortcut_every=3)
OPTIMIZER = OptimizerConfig(lr=0.1, warmup_steps=0, schedule="linear", final_lr_scale=0.0)


class Toy(nn.Module):
    """A task of one number, whose loss and metrics a test can choose."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(1, 1, bias=False)
        self.metrics: dict[str, float] = {}
        self.before_step = lambda step: None

    def forward(self, batch: StudyBatch, step: object) -> object:
        self.before_step(step.step)
        loss = (self.model.weight - batch.image.mean()).square().sum()
        shares = {name: torch.tensor(value) for name, value in self.metrics.items()}
        return TaskOutput(loss=loss, shares={"loss.total": loss, "loss.clip": loss, **shares})


@pytest.fixture(autouse=True)
def _shortcuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the check finds: one term needs no image."""
    found = {"clip.top1_image_blanked": 0.95, "clip.top1_report_blanked": 0.2}
    shares = {name: torch.tensor(value) for name, value in found.items()}
    monkeypatch.setattr(training_step_module, "shortcut_shares", lambda *_given: shares)


def batch_of(step: int) -> StudyBatch:
    ones = torch.ones(2, 1, dtype=torch.int64)
    names = (f"s{step}a", f"s{step}b")
    return StudyBatch(
        image=torch.full((2, 1, 1, 1, 1), float(step)),
        token_ids=ones, token_mask=ones.bool(), clause_ids=ones, word_ids=ones,
        volume_ids=names, study_ids=names, patient_ids=names, report_ids=names,
    )  # fmt: skip


def make_run(folder: Path, loop: LoopConfig = LOOP) -> Run:
    fabric = launch("cpu", "32-true")
    torch.manual_seed(0)
    task = Toy()
    wrapped, _, optimizer = set_up(fabric, task, OPTIMIZER)
    return Run(
        folder=folder,
        fabric=fabric,
        task=task,
        wrapped=wrapped,
        optimizer=optimizer,
        fingerprint="f",
        seed=0,
        steps_per_epoch=4,
        batches=lambda step: (batch_of(number) for number in range(step, loop.steps)),
    )


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def output(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_it_logs_every_few_steps_and_the_last_one(tmp_path: Path) -> None:
    run, rates = make_run(tmp_path), []
    run.task.before_step = lambda _step: rates.append(run.optimizer.param_groups[0]["lr"])
    assert fit(run, LOOP, OPTIMIZER, Progress(0)) == 0
    assert rates == pytest.approx([0.1 * left / 5 for left in (5, 4, 3, 2, 1, 0)])
    logged = rows(tmp_path)
    assert [(row["step"], row["epoch"]) for row in logged] == [(4, 0), (6, 1)]
    assert [row["lr"] for row in logged] == pytest.approx([0.1 * 2 / 5, 0.0])
    for row in logged:
        assert row["total_steps"] == 6
        assert set(row["loss"]) == {"total", "clip"}
        assert row["seconds"] > 0
        assert row["volumes_per_second"] == pytest.approx(2 / row["seconds"], rel=0.2)
    # The check of step 3 is between two rows; that of step 6 is in the last one.
    assert "clip.top1_image_blanked" not in logged[0]["metrics"]
    assert logged[1]["metrics"]["clip.top1_image_blanked"] == pytest.approx(0.95)


def test_waiting_for_data_counts_as_part_of_a_step(tmp_path: Path, monkeypatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(training_loop, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    run = make_run(tmp_path)

    def slow(step: int):
        for number in range(step, LOOP.steps):
            clock.now += 5.0
            yield batch_of(number)

    fit(replace(run, batches=slow), LOOP, OPTIMIZER, Progress(0))
    assert [row["seconds"] for row in rows(tmp_path)] == [5.0, 5.0]


def test_a_term_that_one_modality_solves_is_reported(tmp_path: Path, capsys) -> None:
    fit(make_run(tmp_path), LOOP, OPTIMIZER, Progress(0))
    said = output(capsys)
    assert "shortcut at step 3: clip.top1_image_blanked = 0.95" in said
    assert "report_blanked" not in said


@pytest.mark.parametrize("kind", ["positive", "negative"])
def test_a_window_without_pairs_of_a_kind_warns_once(tmp_path: Path, capsys, kind) -> None:
    loop = replace(LOOP, log_every=2, shortcut_every=0)
    run = make_run(tmp_path)
    run.task.metrics = {f"sentence_similarity.{k}_pairs": 0.3 for k in ("positive", "negative")}
    run.task.metrics[f"sentence_similarity.{kind}_pairs"] = 0.0
    fit(run, loop, OPTIMIZER, Progress(0))
    said = output(capsys)
    assert said.count("sentence_similarity: 0 %") == 1
    assert f"0 % {kind} pairs up to step 2" in said


def test_one_step_with_pairs_in_each_window_is_enough(tmp_path: Path, capsys) -> None:
    run = make_run(tmp_path)
    names = [f"sentence_similarity.{kind}_pairs" for kind in ("positive", "negative")]

    def draw(step: int) -> None:
        run.task.metrics = dict.fromkeys(names, 0.1 if step in (1, 5) else 0.0)

    run.task.before_step = draw
    fit(run, LOOP, OPTIMIZER, Progress(0))
    assert "sentence_similarity" not in output(capsys)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_step_saves_and_asks_to_be_requeued(
    tmp_path: Path, kind: signal.Signals, capsys
) -> None:
    run, before = make_run(tmp_path), signal.getsignal(kind)

    def stop(step: int) -> None:
        if step == 2:  # the third step; checkpoints are due after every second one
            os.kill(os.getpid(), kind)

    run.task.before_step = stop
    assert fit(run, LOOP, OPTIMIZER, Progress(0)) == EXIT_REQUEUE
    assert "stopped after step 3, saved" in output(capsys)
    assert signal.getsignal(kind) == before
    again, whole = make_run(tmp_path), make_run(tmp_path / "whole")
    progress = load_newest(tmp_path, again.task.model, again.optimizer.optimizer, "f")
    assert progress.step == 3
    assert fit(again, LOOP, OPTIMIZER, progress) == 0
    assert fit(whole, LOOP, OPTIMIZER, Progress(0)) == 0
    assert torch.equal(again.task.model.weight, whole.task.model.weight)


def kept(folder: Path) -> dict[str, dict]:
    """The state of every checkpoint."""
    files = sorted((folder / "checkpoints").glob("*/state.json"))
    return {file.parent.name: json.loads(file.read_text()) for file in files}


def test_a_checkpoint_holds_the_mean_loss_since_the_one_before(tmp_path: Path) -> None:
    loop = replace(LOOP, steps=7, checkpoint_every=3, log_every=1, keep_checkpoints=3)
    assert fit(make_run(tmp_path, loop), loop, OPTIMIZER, Progress(0)) == 0
    losses = [row["loss"]["total"] for row in rows(tmp_path)]
    assert len(set(losses)) == 7
    means = [state["mean_loss"] for state in kept(tmp_path).values()]
    assert means == pytest.approx([sum(losses[:3]) / 3, sum(losses[3:6]) / 3, losses[6]])


def test_a_stopped_run_keeps_the_checkpoints_of_one_that_was_not(tmp_path: Path) -> None:
    loop = replace(LOOP, steps=9, checkpoint_every=3, keep_checkpoints=2)
    whole, run = make_run(tmp_path / "whole", loop), make_run(tmp_path / "stopped", loop)
    assert fit(whole, loop, OPTIMIZER, Progress(0)) == 0
    run.task.before_step = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 4 else None
    assert fit(run, loop, OPTIMIZER, Progress(0)) == EXIT_REQUEUE
    assert sorted(kept(run.folder)) == ["step-00000003", "step-00000005"]
    again = make_run(run.folder, loop)
    start = load_newest(run.folder, again.task.model, again.optimizer.optimizer, "f")
    assert start.loss_count == 2  # of the three that the next mean is over
    assert fit(again, loop, OPTIMIZER, start) == 0
    assert kept(run.folder) == kept(whole.folder)  # means included, to the bit


def test_a_signal_in_the_last_step_changes_nothing(tmp_path: Path, capsys) -> None:
    run = make_run(tmp_path)
    run.task.before_step = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 5 else None
    assert fit(run, LOOP, OPTIMIZER, Progress(0)) == 0
    assert "stopped" not in output(capsys)


def test_gradients_are_clipped_and_their_own_norm_is_logged(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    clipped = []
    step = run.optimizer.optimizer.step

    def watched(*arguments, **options):
        clipped.append(run.task.model.weight.grad.norm().item())
        return step(*arguments, **options)

    run.optimizer.optimizer.step = watched
    fit(run, replace(LOOP, log_every=1), replace(OPTIMIZER, clip_norm=0.5), Progress(0))
    norms = [row["metrics"]["grad_norm"] for row in rows(tmp_path)]
    assert clipped == pytest.approx([min(0.5, norm) for norm in norms], rel=1e-4)
    assert max(norms) > 0.5


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.task.model.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = run.task.model.weight.detach().clone()
    with pytest.raises(DataError, match=r"step 1: the gradient is inf.*s0a, s0b"):
        fit(run, LOOP, OPTIMIZER, Progress(0))
    assert torch.equal(run.task.model.weight, before)


@pytest.mark.parametrize(
    "name", ["steps", "batch_size", "checkpoint_every", "keep_checkpoints", "log_every"]
)
def test_settings_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"loop\.{name} is 0; give 1 or more"):
        LoopConfig(**{name: 0})
