"""Gathering and summing over processes: with `training/sharding.py` all that names
`torch.distributed`.

Everything works without a process group (then there is one rank, number 0). The invariant: if each
rank computes its share of a loss from gathered rows, the sum over ranks of the gradients is the
gradient of the summed loss. No factor 1 / world size hides here; who averages gradients later (DDP
does) multiplies the share by `world_size`.

All functions are collective: every rank calls them in the same order, and a tensor that asks for a
gradient on one rank asks for it on all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mg3d.errors import OtherProcessError


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if _has_group() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _has_group() else 0


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of ``tensor`` over all ranks, detached: for counts and logged values.

    Args:
        tensor: Any shape and numeric dtype, the same on every rank; left unchanged.

    Returns:
        A new tensor of that shape and dtype.
    """
    total = tensor.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


@contextmanager
def succeed_together(device: torch.device) -> Iterator[None]:
    """Leave the block when all ranks have, or fail on all of them: a barrier that cannot hang.

    For what one rank does alone, above all writing, while the others wait for it.

    Args:
        device: Where this rank's messages live.

    Raises:
        OtherProcessError: If the block failed on another rank; where it failed, that error goes on.
    """
    failed = True
    try:
        yield
        failed = False
    finally:
        num_failed = sum_over_ranks(torch.tensor(float(failed), device=device))
    if num_failed > 0:
        raise OtherProcessError(
            f"process {rank()} of {world_size()} stops because another one failed; the message of "
            "that one says why. Remove the cause and run the same command again."
        )


def copy_from_first(module: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0, in place."""
    if world_size() > 1:
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.detach(), src=0)


def first_row(num_rows: int, device: torch.device) -> int:
    """Where this rank's ``num_rows`` rows begin in the result of `all_gather_rows`."""
    if world_size() == 1:
        return 0
    counts = [shape[0] for shape in _gather_shapes((num_rows,), device)]
    return sum(counts[: rank()])


def all_gather_rows(tensor: Tensor) -> Tensor:
    """The rows of all ranks, ordered by rank, with the correct gradient.

    Args:
        tensor: (R, ...) of any dtype. R may differ between ranks and be 0. Where a later axis
            differs (say, the clauses a report has), it is padded at its end with zeros (False)
            to the longest of all ranks.

    Returns:
        (sum of R over ranks, ...). Backward, each rank receives the gradient that **all** ranks'
        losses send to its rows. Without a process group, ``tensor`` itself.
    """
    if world_size() == 1:
        return tensor
    if tensor.dtype == torch.bool:  # not every backend can send bool
        return all_gather_rows(tensor.to(torch.uint8)).to(torch.bool)
    shapes = _gather_shapes(tuple(tensor.shape), tensor.device)
    longest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    gathered_WR: Tensor = _AllGather.apply(_pad_to(tensor, longest))  # type: ignore[no-untyped-call]
    return torch.cat(
        [rows[: shape[0]] for rows, shape in zip(gathered_WR, shapes, strict=True)], dim=0
    )


class _AllGather(torch.autograd.Function):
    """Stack one equally shaped tensor a rank; the gradient is summed over ranks, not averaged."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        """(...) on each rank -> (world size, ...) on every rank."""
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.stack(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        """Every rank's loss reads this rank's rows, so their gradients add up."""
        total = grad_output.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[rank()]


def _pad_to(tensor: Tensor, sizes: list[int]) -> Tensor:
    missing = [size - have for size, have in zip(sizes, tensor.shape, strict=True)]
    if not any(missing):
        return tensor
    # F.pad wants (before, after) of the last axis first
    widths = [width for count in reversed(missing) for width in (0, count)]
    return F.pad(tensor, widths)


def _gather_shapes(shape: tuple[int, ...], device: torch.device) -> list[tuple[int, ...]]:
    own = torch.tensor(shape, dtype=torch.int64, device=device)
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own)
    return [tuple(part.tolist()) for part in parts]


def _has_group() -> bool:
    return dist.is_available() and dist.is_initialized()
