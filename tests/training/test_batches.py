"""What a step sees follows from its number: from any step on, on any number of processes."""

import copy
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import pytest
import torch

from mg3d.data.dataset import StudyDataset
from mg3d.data.sampler import EpochSampler
from mg3d.errors import DataError
from mg3d.training.batches import AHEAD, RunBatches, read_batches

ROWS, BATCH, STEPS = 15, 4, 11  # 3 steps an epoch: the run ends within its fourth


def run_batches(start: int = 0, rank: int = 0, world_size: int = 1) -> RunBatches:
    sampler = EpochSampler(ROWS, BATCH, seed=5, rank=rank, world_size=world_size)
    return RunBatches(sampler, start=start, steps=STEPS)


def test_a_run_has_as_many_batches_as_steps_across_epochs() -> None:
    batches = list(run_batches())
    assert len(batches) == STEPS
    first, second = list(chain(*batches[:3])), list(chain(*batches[3:6]))
    assert len(set(first)) == len(set(second)) == 12  # nobody twice in an epoch
    assert first != second


@pytest.mark.parametrize("start", range(STEPS + 1))
def test_from_any_step_on_come_the_batches_of_the_whole_run(start: int) -> None:
    assert list(run_batches(start)) == list(run_batches())[start:]


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_each_batch_among_them(world_size: int) -> None:
    shares = [list(run_batches(2, rank, world_size)) for rank in range(world_size)]
    together = [list(chain(*parts)) for parts in zip(*shares, strict=True)]
    assert together == list(run_batches(2))


@pytest.fixture(scope="module")
def dataset(small_store, tokenizer) -> StudyDataset:
    found = StudyDataset(small_store, small_store.select("train"), tokenizer)
    assert len(found) == ROWS
    return found


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_what_is_read_does_not_depend_on_who_reads(dataset, num_workers: int) -> None:
    found = list(read_batches(dataset, run_batches(), num_workers=num_workers, pin_memory=False))
    for batch, rows in zip(found, run_batches(), strict=True):
        assert batch.volume_ids == tuple(dataset.rows[row].volume_id for row in rows)
        expected = torch.stack([dataset[row].image for row in rows])
        assert torch.equal(batch.to("cpu").image, expected)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_reading_goes_as_far_ahead_as_it_says(dataset, num_workers: int) -> None:
    asked: list[int] = []

    def rows() -> Iterator[list[int]]:
        for number in range(100):
            asked.append(number)
            yield [number % ROWS]

    reading = read_batches(dataset, rows(), num_workers=num_workers, pin_memory=False)
    for number in range(5):
        next(reading)
        assert len(asked) == number + 1 + AHEAD * num_workers
    assert 1 <= threads() <= num_workers  # one starts where none is idle
    reading.close()  # as a loop does that is left early
    assert threads() == 0


def test_a_damaged_volume_stops_the_reading_where_it_is_due(dataset) -> None:
    damaged = copy.copy(dataset)
    damaged.rows = [*dataset.rows[:3], replace(dataset.rows[3], volume_id="absent")]
    reading = read_batches(damaged, [[0], [1], [3], [2]], num_workers=2, pin_memory=False)
    assert [next(reading).volume_ids[0] for _ in range(2)] == [
        row.volume_id for row in dataset.rows[:2]
    ]
    with pytest.raises(DataError, match="absent"):
        next(reading)
    assert threads() == 0


def threads() -> int:
    return sum(thread.name.startswith("reader") for thread in threading.enumerate())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_pinned_batches_are_scaled_on_a_gpu_to_the_same_bits(dataset) -> None:
    found = list(read_batches(dataset, run_batches(), num_workers=2, pin_memory=True))
    for batch, rows in zip(found, run_batches(), strict=True):
        assert batch.image.is_pinned()
        scaled = batch.to("cuda", non_blocking=True).image
        assert torch.equal(scaled.cpu(), torch.stack([dataset[row].image for row in rows]))
