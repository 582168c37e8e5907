"""Run: all that the loop works on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from mg3d.batch import StudyBatch
from mg3d.training.task import TrainingTask


@dataclass(kw_only=True)
class Run:
    """A run directory with the model, data and processes that fill it."""

    folder: Path
    fabric: Fabric
    task: TrainingTask
    """The bare task; what it holds is saved."""
    wrapped: Any
    """The task as Fabric set it up (DDP or FSDP over several processes)."""
    optimizer: Any
    """The optimiser as Fabric set it up."""
    fingerprint: str
    seed: int
    steps_per_epoch: int
    batches: Callable[[int], Iterable[StudyBatch]]
    """Batches of this process from a step on."""
    micro_batch_size: int = 0
    """Volumes encoded at once; 0 = all of this process's rows."""
