"""What one of two processes holds while the largest step is tried under FSDP."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from task_worker import MODEL, make_batch, make_task
from torch.distributed.tensor import DTensor

from mg3d.training import rehearsal
from mg3d.training.engine import launch
from mg3d.training.optim import OptimizerConfig
from mg3d.training.sharding import _blocks
from mg3d.training.task import TrainingTask


def work(rank: int, port: int, folder: str) -> None:
    """Write "pieces" if no pass, gradient or moment was ever whole, and the task is as it was."""
    torch.set_num_threads(1)
    names = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
             "GROUP_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # fmt: skip
    values = (rank, rank, 0, 2, 2, 1, "127.0.0.1", port)
    os.environ.update({name: str(value) for name, value in zip(names, values, strict=True)})
    fabric = launch("cpu", "32-true", "fsdp")
    task = make_task(MODEL).float()
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    tried: list[tuple[TrainingTask, Any]] = []
    set_up, forward = rehearsal.set_up, TrainingTask.rehearse

    def watched_set_up(*given: Any) -> Any:
        result = set_up(*given)
        tried.append((given[1], result[1]))
        return result

    def watched_forward(self: TrainingTask, *given: Any) -> Any:
        blocks = _blocks(self.model.image_encoder)
        assert all(isinstance(p, DTensor) for block in blocks for p in block.parameters())
        return forward(self, *given)

    with (
        mock.patch.object(rehearsal, "set_up", watched_set_up),
        mock.patch.object(TrainingTask, "rehearse", watched_forward),
        mock.patch.object(rehearsal, "largest_batch", return_value=_single_precision()),
    ):
        rehearsal.rehearse(fabric, task, None, 8, OptimizerConfig())  # type: ignore[arg-type]
    ((copied, optimizer),) = tried
    for parameter in (p for p in copied.parameters() if p.requires_grad):
        assert isinstance(parameter.grad, DTensor)
        assert isinstance(optimizer.state[parameter]["exp_avg"], DTensor)
    for name, tensor in task.state_dict().items():
        assert not isinstance(tensor, DTensor)
        assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num()), name
    (Path(folder) / f"rank{rank}").write_text("pieces")


def _single_precision() -> Any:
    batch = make_batch()
    batch.image = batch.image.float()
    return batch
