"""One step over a batch that does not fit: the features of all rows are cached, then replayed.

Objectives that compare rows need all of them at once, so adding up the gradients of parts would
change their loss. Instead:

1. every micro-batch is encoded without a graph; a few vectors a study are kept;
2. the coupled losses of the whole global batch are taken on these, with the gradient g of each;
3. every micro-batch is encoded again, with a graph. The gradient of <features, g> is its part of
   the coupled losses; the separate losses are sums over rows, divided by global counts.

The invariant: the gradient is that of the undivided step but for the order of sums, and all
parameters get theirs in every pass of 3, so the processes average once, in its last.
Memory is that of one micro-batch; time, one more forward pass without decoders.
Source: GradCache, L. Gao et al., arXiv:2101.06983.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from mg3d.batch import StudyBatch
from mg3d.errors import ConfigError
from mg3d.objectives.base import Counts, StepContext, Views
from mg3d.objectives.precision import at_least_float32
from mg3d.training.task import TrainingTask

_OF_THE_RUN = ("logit_scale", "logit_bias")  # learned, without rows
_CLAUSES = 1  # the axis that differs between micro-batches


def accumulate(
    fabric: Fabric,
    wrapped: Any,
    task: TrainingTask,
    batch: StudyBatch,
    step: StepContext,
    micro_batch_size: int,
) -> dict[str, Tensor]:
    """Leave the gradient of the global batch in the parameters, a few rows at a time.

    Args:
        fabric: The run's.
        wrapped: The task as Fabric set it up.
        task: The bare task.
        batch: This process's rows, best on the CPU: only a micro-batch goes to the device at once.
        step: Where in the run this is.
        micro_batch_size: Rows that are encoded at once, > 0; the last part may have fewer.

    Returns:
        This process's shares of every loss and metric, as `TaskOutput.shares`.
    """
    parts = list(split_rows(batch, micro_batch_size))
    draws, seen = [], []
    for part in parts:
        draws.append(_RandomState.now(fabric.device))
        seen.append(wrapped(part.to(fabric.device), step, TrainingTask.features))
    cached, counts = join_rows(seen), _sum([views.counts for views in seen]).over_ranks()
    # Not under autocast: losses are in float32 anyway, but products of this backward pass would be
    # rounded, as no other's are.
    shares, gradients = _coupled(task, cached, without_voxels(batch, fabric.device), step)
    shares.setdefault("loss.total", torch.zeros((), device=fabric.device))
    first = 0
    for number, (part, drawn) in enumerate(zip(parts, draws, strict=True)):
        drawn.restore()
        own = {
            name: _part_of(name, gradient, first, len(part)) for name, gradient in gradients.items()
        }
        last = number == len(parts) - 1
        with nullcontext() if last else fabric.no_backward_sync(wrapped):
            output = wrapped(part.to(fabric.device), step, TrainingTask.replay, counts, own)
            fabric.backward(output.loss)
        for name, share in output.shares.items():
            shares[name] = shares.get(name, 0) + share.detach()
        first += len(part)
    return shares


def require_no_batch_statistics(module: nn.Module, why: str) -> None:
    """Refuse layers whose answer for a row depends on the rows beside it.

    Args:
        module: What is trained.
        why: What divides the batch, for the message.

    Raises:
        ConfigError: If there is a batch normalisation.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise ConfigError(
                f"{name} is a {type(layer).__name__}, whose statistics would be those of a part of "
                f"the batch under {why}; train in one process with loop.micro_batch_size 0, or "
                "choose a model with layer norms"
            )


def split_rows(batch: StudyBatch, size: int) -> Iterator[StudyBatch]:
    """Parts of ``size`` rows; the last may have fewer."""
    for first in range(0, len(batch), size):
        rows = {
            field.name: value[first : first + size]
            for field in fields(batch)
            if (value := getattr(batch, field.name)) is not None
        }
        yield replace(batch, **rows)


def without_voxels(batch: StudyBatch, device: torch.device) -> StudyBatch:
    """The batch for objectives that compare rows: they read who is who, never the volumes."""
    return replace(batch, image=batch.image[:, :, :0]).to(device)


def join_rows(parts: Sequence[Views]) -> Views:
    """The rows of all parts, one below the other; the clauses padded to the longest report."""
    together: dict[str, Any] = {}
    for field in fields(Views):
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], Tensor):
            together[field.name] = (
                values[0] if field.name in _OF_THE_RUN else torch.cat(_padded(values))
            )
        elif field.name == "similarity_cutoffs":
            together[field.name] = values[0]
    return Views(**together)


def _padded(values: Sequence[Tensor]) -> list[Tensor]:
    if values[0].ndim == 1:
        return list(values)
    longest = max(value.shape[_CLAUSES] for value in values)
    behind = [0] * (2 * (values[0].ndim - 1 - _CLAUSES))  # F.pad wants the last axes first
    return [F.pad(value, (*behind, 0, longest - value.shape[_CLAUSES])) for value in values]


def _coupled(
    task: TrainingTask, cached: Views, batch: StudyBatch, step: StepContext
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Shares of the objectives that compare rows, and their gradient for every cached feature."""
    if not task.coupled:
        return {}, {}
    # In float32, for 16-bit gradients without the loss scale would vanish.
    leaves: dict[str, Any] = {
        field.name: at_least_float32(value.detach()).requires_grad_()
        for field in fields(Views)
        if isinstance(value := getattr(cached, field.name), Tensor)
        and value.is_floating_point()
        and field.name != "clause_reference"
    }
    output = task.apply_objectives(task.coupled, replace(cached, **leaves), batch, step)
    total = output.shares["loss.total"]
    gradients = torch.autograd.grad(total, list(leaves.values()))
    shares = {name: share.detach() for name, share in output.shares.items()}
    return shares, dict(zip(leaves, gradients, strict=True))


def _part_of(name: str, gradient: Tensor, first: int, count: int) -> Tensor:
    """What a micro-batch has to send back; the temperature's gradient belongs to the first."""
    if name in _OF_THE_RUN:
        return gradient if first == 0 else torch.zeros_like(gradient)
    return gradient[first : first + count]


def _sum(counts: Sequence[Counts]) -> Counts:
    total = counts[0]
    for more in counts[1:]:
        total = total + more
    return total


@dataclass(frozen=True)
class _RandomState:
    """Where torch's generators stand, so that a second pass draws what the first one drew."""

    device: torch.device
    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "_RandomState":
        """The state at this moment."""
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(device, torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Go back to that moment."""
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)
