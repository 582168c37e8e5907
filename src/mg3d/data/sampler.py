"""EpochSampler: which rows a process reads in which step.

The order follows from seed and epoch alone. A step's global batch is the same for every number
of processes; rank r reads the r-th slice of it. So one process or eight, restarted or not, train
on the same batches.
"""

from collections import deque
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

from mg3d.errors import ConfigError
from mg3d.randomness import rng


class EpochSampler(Sampler[list[int]]):
    """Lists of row numbers; a ``batch_sampler`` for PyTorch's `DataLoader` as well.

    Every epoch has ``num_rows // batch_size`` global batches; the rows left over, others in each
    epoch, wait for the next one, since a smaller last batch would weigh its rows more.

    Args:
        num_rows: Rows of the dataset.
        batch_size: Rows of the global batch, over all processes.
        seed: The run's seed.
        epoch: Which epoch this is; `set_epoch` moves on.
        rank: This process.
        world_size: Number of processes; divides ``batch_size``.
        patient_ids: The patient of each row. Where given, no patient stands twice in a batch as
            long as enough others are left.

    Raises:
        ConfigError: If the sizes do not fit each other.
    """

    def __init__(
        self, num_rows: int, batch_size: int, *, seed: int, epoch: int = 0, rank: int = 0,
        world_size: int = 1, patient_ids: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        if batch_size < 1 or batch_size % world_size:
            raise ConfigError(
                f"batch_size {batch_size} is the global batch; it must be a multiple of the "
                f"{world_size} processes"
            )
        if num_rows < batch_size:
            raise ConfigError(
                f"batch_size {batch_size} exceeds the {num_rows} volumes to train on, so there "
                "would be no step. Use a smaller batch or more data."
            )
        assert 0 <= rank < world_size
        assert patient_ids is None or len(patient_ids) == num_rows
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch
        self.rank = rank
        self.world_size = world_size
        self.patient_ids = patient_ids
        self.start_batch = 0

    @property
    def num_batches(self) -> int:
        """Global batches of a whole epoch."""
        return self.num_rows // self.batch_size

    def set_epoch(self, epoch: int, *, start_batch: int = 0) -> None:
        """Choose the epoch, and where in it to begin (to resume; the next epoch is whole)."""
        assert 0 <= start_batch <= self.num_batches
        self.epoch = epoch
        self.start_batch = start_batch

    def __len__(self) -> int:
        """Batches that are still to come in this epoch."""
        return self.num_batches - self.start_batch

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order()
        share = self.batch_size // self.world_size
        for batch in range(self.start_batch, self.num_batches):
            first = batch * self.batch_size + self.rank * share
            yield order[first : first + share]

    def order(self) -> list[int]:
        """Row numbers of the whole epoch, global batch after global batch."""
        shuffled = rng(self.seed, self.epoch, "order").permutation(self.num_rows).tolist()
        if self.patient_ids is not None:
            shuffled = _spread(shuffled, self.patient_ids, self.batch_size)
        return [int(row) for row in shuffled[: self.num_batches * self.batch_size]]


def _spread(order: list[int], patient_ids: Sequence[str], batch_size: int) -> list[int]:
    """Delay a row whose patient is in the batch already until the next batch.

    Rows that wait come first in later batches. When only such rows are left, they fill the batch
    all the same: no row is lost or doubled.
    """
    coming, waiting = deque(order), deque[int]()
    result: list[int] = []
    while coming or waiting:
        batch: list[int] = []
        seen: set[str] = set()
        put_back: deque[int] = deque()
        while len(batch) < batch_size and (waiting or coming):
            row = waiting.popleft() if waiting else coming.popleft()
            if patient_ids[row] in seen:
                put_back.append(row)
            else:
                seen.add(patient_ids[row])
                batch.append(row)
        while len(batch) < batch_size and put_back:
            batch.append(put_back.popleft())
        waiting = put_back + waiting
        result.extend(batch)
    return result
