"""One optimiser step: one message, the norm of all gradients, micro-batches where asked for."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mg3d.batch import StudyBatch
from mg3d.errors import DataError
from mg3d.objectives.base import StepContext
from mg3d.training import step as training
from mg3d.training.engine import launch
from mg3d.training.step import STOPPING, Run, clip_gradients, shortcuts, training_step
from mg3d.training.stop import StopRequest
from mg3d.training.task import TaskOutput

CONTEXT = StepContext(seed=0, epoch=0, step=0)


class Toy(nn.Module):
    """A task of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0]))

        self.coupled = ()

    def forward(self, batch: StudyBatch, step: StepContext) -> object:
        loss = (self.weight * batch.image.mean()).sum()
        return TaskOutput(loss=loss, shares={"loss.total": loss})


def make_run(micro_batch_size: int = 0) -> Run:
    fabric, task = launch("cpu", "32-true"), Toy()
    wrapped, optimizer = fabric.setup(task, torch.optim.SGD(task.parameters(), lr=0.5))
    return Run(
        folder=Path("run"), fabric=fabric, task=task, wrapped=wrapped, optimizer=optimizer,
        fingerprint="", seed=0, steps_per_epoch=1, batches=lambda step: [],
        micro_batch_size=micro_batch_size,
    )  # fmt: skip


def make_batch(rows: int = 2) -> StudyBatch:
    ones, names = torch.ones(rows, 1, dtype=torch.int64), tuple(f"s{row}" for row in range(rows))
    return StudyBatch(
        image=torch.ones(rows, 1, 1, 1, 1),
        token_ids=ones, token_mask=ones.bool(), clause_ids=ones, word_ids=ones,
        volume_ids=names, study_ids=names, patient_ids=names, report_ids=names,
    )  # fmt: skip


def test_values_and_the_wish_to_stop_are_one_message(monkeypatch) -> None:
    messages, original = [], training.sum_over_ranks
    monkeypatch.setattr(
        training, "sum_over_ranks", lambda given: (messages.append(given), original(given))[1]
    )
    run, stop = make_run(), StopRequest()
    values = training_step(run, make_batch(), CONTEXT, 0.0, stop)
    assert values == {"loss.total": 3.0, "grad_norm": 1.0, STOPPING: 0.0}
    assert run.task.weight.item() == 2.5
    assert len(messages) == 1
    stop.asked = True
    assert training_step(run, make_batch(), CONTEXT, 0.0, stop)[STOPPING] == 1.0
    assert run.task.weight.item() == 2.0  # by its own gradient: that of the first step is gone
    assert run.task.weight.grad is None


class Readings(TorchDispatchMode):
    """Counts single numbers read from tensors: on a GPU each waits for all that is queued."""

    count = 0

    def __torch_dispatch__(self, function, types, given=(), named=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*given, **(named or {}))


def test_no_number_is_read_by_itself() -> None:
    run = make_run()
    with Readings() as readings:
        training_step(run, make_batch(), CONTEXT, 1.0, StopRequest())
    assert readings.count == 0


def test_a_loss_that_is_not_finite_is_named_before_its_gradient(monkeypatch) -> None:
    run, batch = make_run(), make_batch()
    batch.image[1] = float("nan")
    with pytest.raises(DataError, match=r"step 1: the loss is nan.*step on this process: s0, s1\."):
        training_step(run, batch, CONTEXT, 1.0, StopRequest())
    assert run.task.weight.item() == 3.0


@pytest.mark.parametrize(
    ("size", "rows", "divided"),
    [(0, 3, False), (1, 1, False), (1, 2, True), (2, 1, False), (2, 2, False), (2, 3, True)],
)
def test_a_share_that_fits_is_not_divided(size: int, rows: int, divided: bool, monkeypatch) -> None:
    run, sizes = make_run(micro_batch_size=size), []

    def divide(fabric, wrapped, task, batch, step, size):
        sizes.append(size)
        task.weight.grad = torch.tensor([1.0])
        return {"loss.total": torch.tensor(3.0)}

    monkeypatch.setattr(training, "accumulate", divide)
    values = training_step(run, make_batch(rows), CONTEXT, 0.0, StopRequest())
    assert sizes == ([size] if divided else [])
    assert values["loss.total"] == 3.0
    assert run.task.weight.item() == 2.5


def test_the_norm_is_that_of_all_gradients_and_the_limit_holds() -> None:
    task = nn.ParameterList([nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))])
    task[0].grad, task[1].grad = torch.tensor([2.0, 3.0]), torch.tensor([6.0])
    assert clip_gradients(task, 0.0).item() == pytest.approx(7.0)
    assert task[1].grad.item() == 6.0
    assert clip_gradients(task, 3.5).item() == pytest.approx(7.0)
    assert task[1].grad.item() == pytest.approx(3.0, rel=1e-5)


def test_what_does_not_learn_is_neither_measured_nor_scaled() -> None:
    task = nn.ParameterList([nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))])
    task[0].grad, task[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([6.0])
    task[1].requires_grad_(False)
    assert clip_gradients(task, 2.5) == pytest.approx(5.0)
    assert task[1].grad.item() == 6.0


def test_a_run_without_contrast_has_no_shortcuts() -> None:
    assert shortcuts(make_run(), make_batch(), CONTEXT) == {}
