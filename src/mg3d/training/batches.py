"""Which studies each step sees, from any step on, and the loader that reads them."""

import multiprocessing
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Sampler

from mg3d.data.dataset import StudyDataset, collate
from mg3d.data.sampler import EpochSampler

AHEAD = 2
"""Batches that each worker keeps ready, in shared memory."""


class RunBatches(Sampler[list[int]]):
    """Rows of this process for steps ``start`` to ``steps``, across epochs.

    What a step sees depends on its number and the seed, so a resumed run asks for the rest of the
    steps and gets what it would have got.
    """

    def __init__(self, sampler: EpochSampler, *, start: int, steps: int) -> None:
        self._sampler = sampler
        self._start = start
        self._steps = steps

    def __len__(self) -> int:
        return self._steps - self._start

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


def batch_loader(
    dataset: StudyDataset, batches: RunBatches, *, num_workers: int, pin_memory: bool
) -> DataLoader[Any]:
    """A loader of `StudyBatch` over ``batches``; with workers it reads ahead of the training.

    Workers fork from a server that has imported what they need and nothing else: they share its
    memory, which spawned ones do not, and no thread or CUDA context of the training, which forked
    ones do.
    """
    workers: dict[str, Any] = {"num_workers": num_workers}
    if num_workers:
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(["mg3d.data.dataset"])
        workers |= {"prefetch_factor": AHEAD, "multiprocessing_context": processes}
    return DataLoader(
        dataset, batch_sampler=batches, collate_fn=collate, pin_memory=pin_memory, **workers
    )
