"""Too little shared memory is named with what to do; other errors stay what they are."""

import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mg3d.data.dataset import StudyDataset
from mg3d.data.sampler import EpochSampler
from mg3d.errors import StorageError
from mg3d.training.batches import RunBatches, batch_loader
from mg3d.training.shared_memory import lack_explained, shared_bytes

TORCH = (
    "unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)"
)


class Fatal(Dataset):
    """Its reader ends as one that touches memory that is not there."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _index: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGBUS)
        raise AssertionError


def test_what_is_needed_grows_with_workers_rows_and_voxels() -> None:
    assert shared_bytes(0, 32, (128, 96, 128)) == 0
    assert shared_bytes(8, 32, (128, 96, 128)) == 17 * 32 * 128 * 96 * 128 * 2  # 1.7 GB


def test_the_loader_reads_no_further_ahead_than_that(small_store, tokenizer) -> None:
    dataset = StudyDataset(small_store, small_store.select("train"), tokenizer)
    sampler = EpochSampler(len(dataset), 2, seed=0, rank=0, world_size=1)
    batches = RunBatches(sampler, start=0, steps=1)
    loader = batch_loader(dataset, batches, num_workers=2, pin_memory=False)
    ahead = shared_bytes(2, 1, (1, 1, 1)) // 2 - 1
    assert loader.prefetch_factor * loader.num_workers == ahead


def test_torchs_words_become_ours() -> None:
    message = r"shared memory is full.*num_workers 8.*1\.7 GB of /dev/shm.*--shm-size"
    with pytest.raises(StorageError, match=message), lack_explained(8, 1_711_276_032):
        raise RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\n{TORCH}\n")


def test_a_killed_reader_becomes_our_error() -> None:
    loader = DataLoader(Fatal(), num_workers=1, multiprocessing_context="fork")
    with pytest.raises(StorageError, match=r"full.*; 0 needs none"), lack_explained(1, 1000):
        list(loader)


def test_other_errors_stay() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot"), lack_explained(8, 1000):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
