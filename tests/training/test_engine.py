"""Fabric as a run uses it: inputs stay as they are, and the loss scale is taken off and kept."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from mg3d.errors import ConfigError
from mg3d.training.engine import Autocast, launch, restore_scaler, scaler_state, unscale_gradients
from mg3d.training.optim import OptimizerConfig, build_optimizer


@dataclass(frozen=True)
class Frozen:
    volume: Tensor


class Task(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, given: Frozen) -> Tensor:
        self.seen = given.volume
        self.inside = self.layer(given.volume)
        return self.inside.float().mean()


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)],
)
def test_arithmetic_is_autocast_and_inputs_are_not(precision, dtype) -> None:
    fabric = launch("cpu", precision)
    task = Task()
    wrapped, optimizer = fabric.setup(task, torch.optim.SGD(task.parameters(), lr=1.0))
    volume = torch.full((1, 2), 0.1234567)
    fabric.backward(wrapped(Frozen(volume)))
    assert task.inside.dtype == dtype
    assert torch.equal(task.seen, volume)  # bf16 would have made 0.1235 of it
    assert unscale_gradients(fabric, optimizer) == (precision == "16-mixed")
    # The mean of two: 1/2 each, once a loss scale is off.
    assert task.layer.bias.grad.tolist() == [0.5, 0.5]


def test_the_step_takes_gradients_without_their_scale_and_skips_those_that_overflowed() -> None:
    fabric = launch("cpu", "16-mixed")
    task = Task()
    wrapped, optimizer = fabric.setup(task, build_optimizer(task, OptimizerConfig(lr=0.25)))
    start = task.layer.bias.detach().clone()
    fabric.backward(wrapped(Frozen(torch.ones(1, 2))))
    task.layer.bias.grad[1] = math.inf
    assert unscale_gradients(fabric, optimizer)
    optimizer.step()
    assert torch.equal(task.layer.bias, start)
    assert scaler_state(fabric)["scale"] == 65536 / 2
    optimizer.zero_grad()
    fabric.backward(wrapped(Frozen(torch.ones(1, 2))))
    unscale_gradients(fabric, optimizer)
    task.layer.bias.grad.mul_(0)  # as clipping may
    task.layer.bias.grad[0] = 1e-3
    optimizer.step()
    # The first step of Adam is the rate, whatever the gradient; measured 2e-6 beside it.
    assert (start - task.layer.bias).tolist() == pytest.approx([0.25, 0.0], abs=1e-5)


def test_the_loss_scale_is_restored() -> None:
    first, second = launch("cpu", "16-mixed"), launch("cpu", "16-mixed")
    state = scaler_state(first)
    assert state["scale"] == 65536.0
    restore_scaler(second, {**state, "scale": 8.0})
    assert scaler_state(second)["scale"] == 8.0
    for precision in ("32-true", "bf16-mixed"):
        assert scaler_state(launch("cpu", precision)) == {}
        restore_scaler(launch("cpu", precision), {})


def test_automatic_choice_of_a_device_and_a_missing_one() -> None:
    if torch.cuda.is_available():
        assert launch("auto", "32-true").device.type == "cuda"
        return
    assert launch("auto", "32-true").device.type == "cpu"
    with pytest.raises(ConfigError, match="no CUDA device"):
        launch("cuda", "32-true")


def test_a_number_of_processes_that_no_launcher_explains_is_refused(monkeypatch) -> None:
    for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="LOCAL_WORLD_SIZE and GROUP_WORLD_SIZE"):
        launch("cpu", "32-true")


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A batch script that was given several tasks, before it calls srun."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    values = {"NTASKS": "4", "NNODES": "2", "JOB_ID": "77", "PROCID": "0", "LOCALID": "0",
              "NODEID": "0", "NODELIST": "node[1-2]", "JOB_NAME": "train"}  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    return monkeypatch


def test_processes_of_srun_that_know_nothing_of_each_other_are_refused(slurm) -> None:
    slurm.setenv("SLURM_STEP_NUM_TASKS", "4")
    slurm.setenv("SLURM_PROCID", "2")
    with pytest.raises(ConfigError, match=r"srun started 4 processes .* export WORLD_SIZE"):
        launch("cpu", "32-true")


@pytest.mark.parametrize("per_node", [None, "2"])
@pytest.mark.parametrize("tasks_of_step", [None, "1"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_one_process_inside_an_allocation_for_many_is_alone(
    slurm, per_node, tasks_of_step, precision
) -> None:
    if per_node:
        slurm.setenv("SLURM_NTASKS_PER_NODE", per_node)
    if tasks_of_step:
        slurm.setenv("SLURM_STEP_NUM_TASKS", tasks_of_step)
    fabric = launch("cpu", precision)
    assert (fabric.world_size, fabric.global_rank) == (1, 0)


def test_a_loss_scale_over_pieces_is_refused(monkeypatch) -> None:
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    with pytest.raises(ConfigError, match="fsdp does not train with 16-mixed"):
        launch("cpu", "16-mixed", "fsdp")


def test_one_process_has_nothing_to_share() -> None:
    assert type(launch("cpu", "32-true", "fsdp").strategy) is type(
        launch("cpu", "32-true").strategy
    )


def test_it_is_a_precision_of_fabric() -> None:
    assert Autocast("bf16-mixed", "cpu").precision == "bf16-mixed"
