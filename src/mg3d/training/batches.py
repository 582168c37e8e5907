"""Which studies each step sees, from any step on, and how they are read ahead of the training.

Threads read: a volume is copied, not decoded, so that there is hardly any Python to wait for, and
between processes each batch would have to pass through fresh shared memory, which costs several
times the reading. See decision 0025.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from mg3d.batch import StudyBatch
from mg3d.data.dataset import StudyDataset, collate
from mg3d.data.sampler import EpochSampler

AHEAD = 2
"""Batches that each worker keeps ready."""


class RunBatches:
    """Rows of this process for steps ``start`` to ``steps``, across epochs.

    What a step sees depends on its number and the seed, so a resumed run asks for the rest of the
    steps and gets what it would have got.
    """

    def __init__(self, sampler: EpochSampler, *, start: int, steps: int) -> None:
        self._sampler = sampler
        self._start = start
        self._steps = steps

    def __iter__(self) -> Iterator[list[int]]:
        step = self._start
        while step < self._steps:
            epoch, batch = divmod(step, self._sampler.num_batches)
            self._sampler.set_epoch(epoch, start_batch=batch)
            for rows in self._sampler:
                yield rows
                step += 1
                if step == self._steps:
                    return


def read_batches(
    dataset: StudyDataset,
    batches: Iterable[Sequence[int]],
    *,
    num_workers: int,
    pin_memory: bool,
) -> Generator[StudyBatch, None, None]:
    """Read batches in their order; what is read does not depend on who reads.

    Args:
        dataset: What is read from.
        batches: Rows of each batch.
        num_workers: Threads that keep `AHEAD` batches each ready; 0 = read when asked.
        pin_memory: Put batches into page-locked memory, from where a GPU fetches them by itself.

    Yields:
        Batches on the CPU, with HU that `StudyBatch.to` will scale.

    Raises:
        DataError: If a volume is missing or damaged, when its batch is due.
    """

    def read(rows: Sequence[int]) -> StudyBatch:
        batch = collate([dataset[row] for row in rows])
        batch.identities()  # hashed here, not while the training waits
        return batch.pin_memory() if pin_memory else batch

    if not num_workers:
        yield from map(read, batches)
        return
    begin = (_enter_pinning, (torch.cuda.current_device(),)) if pin_memory else ()
    pool = ThreadPoolExecutor(num_workers, "reader", *begin)
    ready: deque[Future[StudyBatch]] = deque()
    try:
        for rows in batches:
            ready.append(pool.submit(read, rows))
            if len(ready) > AHEAD * num_workers:
                yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _enter_pinning(device_index: int) -> None:
    """A new thread would pin for the first GPU, and copy by as many threads as cores."""
    torch.cuda.set_device(device_index)
    torch.set_num_threads(1)
