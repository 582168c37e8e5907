"""What a step sees follows from its number: from any step on, on any number of processes."""

from itertools import chain

import pytest
import torch

from mg3d.data.dataset import StudyDataset
from mg3d.data.sampler import EpochSampler
from mg3d.training.batches import RunBatches, batch_loader

ROWS, BATCH, STEPS = 15, 4, 11  # 3 steps an epoch: the run ends within its fourth


def run_batches(start: int = 0, rank: int = 0, world_size: int = 1) -> RunBatches:
    sampler = EpochSampler(ROWS, BATCH, seed=5, rank=rank, world_size=world_size)
    return RunBatches(sampler, start=start, steps=STEPS)


def test_a_run_has_as_many_batches_as_steps_across_epochs() -> None:
    batches = list(run_batches())
    assert len(batches) == len(run_batches()) == STEPS
    first, second = list(chain(*batches[:3])), list(chain(*batches[3:6]))
    assert len(set(first)) == len(set(second)) == 12  # nobody twice in an epoch
    assert first != second


@pytest.mark.parametrize("start", range(STEPS + 1))
def test_from_any_step_on_come_the_batches_of_the_whole_run(start: int) -> None:
    assert list(run_batches(start)) == list(run_batches())[start:]
    assert len(run_batches(start)) == STEPS - start


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_each_batch_among_them(world_size: int) -> None:
    shares = [list(run_batches(2, rank, world_size)) for rank in range(world_size)]
    together = [list(chain(*parts)) for parts in zip(*shares, strict=True)]
    assert together == list(run_batches(2))


def test_the_loader_reads_the_rows_of_each_step(small_store, tokenizer) -> None:
    dataset = StudyDataset(small_store, small_store.select("train"), tokenizer)
    assert len(dataset) == ROWS
    loader = batch_loader(dataset, run_batches(9), num_workers=0, pin_memory=False)
    for batch, rows in zip(loader, list(run_batches(9)), strict=True):
        assert batch.volume_ids == tuple(dataset.rows[row].volume_id for row in rows)
        assert torch.equal(batch.to("cpu").image[0], dataset[rows[0]].image)
