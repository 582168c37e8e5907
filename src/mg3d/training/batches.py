"""Which studies each step sees, from any step on, and the loader that reads them."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from typing import Any

from torch.utils.data import DataLoader, Sampler

from mg3d.data.dataset import StudyDataset, collate
from mg3d.data.sampler import EpochSampler
from mg3d.training.stop import out_of_reach

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
    ones do. Signals that ask the training to stop do not reach them, since what is being read then
    still belongs to the last step; they end with the loader, and at the latest with this process.
    """
    workers: dict[str, Any] = {"num_workers": num_workers}
    if num_workers:
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(["mg3d.data.dataset"])
        _start_helpers()
        workers |= {
            "prefetch_factor": AHEAD,
            "multiprocessing_context": processes,
            "worker_init_fn": _end_with_parent,
        }
    return DataLoader(
        dataset, batch_sampler=batches, collate_fn=collate, pin_memory=pin_memory, **workers
    )


def _start_helpers() -> None:
    """Start what multiprocessing would start with the first worker, out of the signals' reach."""
    with out_of_reach():
        resource_tracker.ensure_running()  # lets SIGTERM through again, hence a second block
    with out_of_reach():
        forkserver.ensure_running()


def _end_with_parent(_worker: int) -> None:
    """Let a worker end when the training is killed.

    Torch's own watch looks at the server that forked the worker, and the server lives for as long
    as one of its workers does.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
