"""What reading ahead takes of shared memory, and what to do where there is too little.

Workers hand their batches over in /dev/shm. Containers have 64 MB of it unless told otherwise, and
torch then ends in a traceback of its internals, or in a worker that is gone without a word.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mg3d.errors import StorageError
from mg3d.training.batches import AHEAD

_HU = 2  # bytes of a voxel


def shared_bytes(num_workers: int, rows: int, grid: Sequence[int]) -> int:
    """Bytes of the batches that one training process and its workers hold at once.

    Args:
        num_workers: Of each training process.
        rows: Volumes of a step in this process.
        grid: Voxels along each axis.
    """
    batches = AHEAD * num_workers + 1 if num_workers else 0  # and the one that is trained on
    return batches * rows * math.prod(grid) * _HU


@contextmanager
def lack_explained(num_workers: int, num_bytes: int) -> Iterator[None]:
    """Name the cause and the remedy where a worker ran out of shared memory within the block.

    Args:
        num_workers: Of each training process.
        num_bytes: What they need, from `shared_bytes`.

    Raises:
        StorageError: Instead of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        what = _what_happened(str(error))
        if not what:
            raise
        raise StorageError(
            f"{what}. With num_workers {num_workers}, each training process needs "
            f"{num_bytes / 1e9:.2g} GB of /dev/shm. Give the container more (docker run "
            "--shm-size), or take fewer --num_workers; 0 needs none."
        ) from error


def _what_happened(message: str) -> str:
    """The cause in a sentence; "" if it is not the workers' memory."""
    if "allocate shared memory" in message or "Bus error" in message:
        return "shared memory is full, so the next volumes could not be handed over"
    if "DataLoader worker" in message and "unexpectedly" in message:
        return "a process that reads the store was killed, as it is when memory or /dev/shm is full"
    return ""
