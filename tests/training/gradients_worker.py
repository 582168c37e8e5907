"""The gradient of one global batch as 1, 2 or 4 processes find it, whole or in micro-batches."""

import os
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from task_worker import CONTEXT, OBJECTIVES, make_batch, make_task, rows_of, with_fusion
from torch import Tensor

from mg3d.objectives.registry import OBJECTIVES as ALL
from mg3d.objectives.registry import ObjectivesConfig
from mg3d.training.accumulate import accumulate
from mg3d.training.engine import Precision, Strategy, launch
from mg3d.training.sharding import whole
from mg3d.training.task import TrainingTask

SUMS = {"all, cross-attention": "cross_attention", "all, gate": "gate"}
CASES = (*SUMS, *ALL)
STRATEGIES: tuple[Strategy, ...] = ("ddp", "fsdp")
MICRO_SIZES = {1: (1, 2, 3, 4), 2: (0, 1, 2, 3), 4: (0, 1)}
"""Processes -> micro-batch sizes tried; 0 = not divided. Of 8 rows, 3 leave a smaller last one."""


def task_of(case: str, dtype: torch.dtype) -> TrainingTask:
    """The full method, or one objective alone, on the same weights."""
    if case in SUMS:
        return make_task(with_fusion(SUMS[case])).to(dtype)
    weights = {name: replace(getattr(OBJECTIVES, name), weight=float(name == case)) for name in ALL}
    return make_task(with_fusion("cross_attention"), ObjectivesConfig(**weights)).to(dtype)


def sizes_of(case: str, world: int) -> tuple[int, ...]:
    """Every size for the sums, an uneven one (or single rows) for one objective alone."""
    sizes = MICRO_SIZES[world]
    return sizes if case in SUMS else (3 if 3 in sizes else 1,)


def gradients(
    case: str, dtype: torch.dtype, strategy: Strategy = "ddp", rank: int = 0, world: int = 1,
    micro: int = 0, precision: Precision = "32-true",
) -> dict[str, Tensor]:  # fmt: skip
    """Losses of this process and, over all of them, the gradient of every parameter."""
    fabric = launch("cpu", precision, strategy)  # leaves the weights as they are
    task = task_of(case, dtype)
    wrapped = fabric.setup_module(task)
    rows = len(make_batch()) // world
    batch = rows_of(make_batch(), range(rank * rows, (rank + 1) * rows))
    batch = replace(batch, image=batch.image.to(dtype))
    if micro:
        shares = accumulate(fabric, wrapped, task, batch, CONTEXT, micro)
    else:
        output = wrapped(batch, CONTEXT)
        fabric.backward(output.loss)
        shares = output.shares
    found = {f"share.{name}": share.detach().double() for name, share in shares.items()}
    for name, parameter in task.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, (case, strategy, micro, name)
            found[f"grad.{name}"] = whole(parameter.grad).clone().double()
    return found


def work(rank: int, world: int, port: int, folder: str) -> None:
    """What one process of a group measures: all cases, strategies and sizes."""
    torch.set_num_threads(1)
    names = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
             "GROUP_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # fmt: skip
    values = (rank, rank, 0, world, world, 1, "127.0.0.1", port)
    os.environ.update({name: str(value) for name, value in zip(names, values, strict=True)})
    measured: dict[str, Tensor] = {}
    for strategy in STRATEGIES:
        for case in CASES:
            for micro in sizes_of(case, world):
                found = gradients(case, torch.float64, strategy, rank, world, micro)
                measured |= {f"{strategy}/{case}/{micro}/{k}": v for k, v in found.items()}
        single = gradients("all, cross-attention", torch.float32, strategy, rank, world, 1)
        measured |= {f"{strategy}/float32/1/{k}": v for k, v in single.items()}
    save_file(measured, Path(folder) / f"rank{rank}of{world}.safetensors")
