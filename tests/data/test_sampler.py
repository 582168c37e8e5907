"""The sampler: one order for any number of processes, exact resume, no patient twice in a batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.sampler import EpochSampler
from mg3d.errors import ConfigError


@given(
    num_rows=st.integers(8, 60), share=st.integers(1, 3), epoch=st.integers(0, 3),
    with_patients=st.booleans(),
)  # fmt: skip
def test_ranks_together_read_the_batches_of_one_process(
    num_rows: int, share: int, epoch: int, with_patients: bool
) -> None:
    patients = [f"p{row // 3}" for row in range(num_rows)] if with_patients else None
    batch_size = 4 * share if 4 * share <= num_rows else 4

    def batches(rank: int, world_size: int) -> list[list[int]]:
        sampler = EpochSampler(
            num_rows, batch_size, seed=1, epoch=epoch, rank=rank, world_size=world_size,
            patient_ids=patients,
        )  # fmt: skip
        return list(sampler)

    alone = batches(0, 1)
    assert len(alone) == num_rows // batch_size
    rows = [row for batch in alone for row in batch]
    assert len(rows) == len(set(rows)) == len(alone) * batch_size
    for world_size in (2, 4):
        ranks = [batches(rank, world_size) for rank in range(world_size)]
        joined = [[row for part in parts for row in part] for parts in zip(*ranks, strict=True)]
        assert joined == alone


def test_epochs_and_seeds_shuffle_differently_and_repeat_exactly() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return EpochSampler(50, 5, seed=seed, epoch=epoch).order()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert sorted(order(0, 0)) == list(range(50))


def test_the_rows_left_over_differ_between_epochs() -> None:
    left = [
        frozenset(range(10)) - set(EpochSampler(10, 4, seed=0, epoch=epoch).order())
        for epoch in range(40)
    ]
    assert {len(rows) for rows in left} == {2}
    assert frozenset.union(*left) == frozenset(range(10))


def test_resuming_continues_where_it_stopped() -> None:
    whole = EpochSampler(30, 4, seed=3, epoch=2)
    rest = EpochSampler(30, 4, seed=3)
    rest.set_epoch(2, start_batch=5)
    assert len(rest) == 2
    assert list(rest) == list(whole)[5:]
    rest.set_epoch(3)
    assert len(rest) == 7


def test_no_patient_stands_twice_in_a_batch_while_others_are_left() -> None:
    patients = [f"p{row // 4}" for row in range(400)]  # 100 patients of four scans
    for epoch in range(5):
        sampler = EpochSampler(400, 16, seed=0, epoch=epoch, patient_ids=patients)
        plain = EpochSampler(400, 16, seed=0, epoch=epoch)
        doubled = [_num_doubled(batch, patients) for batch in sampler]
        # Shuffling alone doubles in most batches; delayed rows can only pile up in the last ones.
        assert sum(_num_doubled(batch, patients) > 0 for batch in plain) > 8
        assert doubled[:-1] == [0] * (len(doubled) - 1)
        assert sorted(row for batch in sampler for row in batch) == list(range(400))


def test_one_single_patient_still_fills_its_batches() -> None:
    sampler = EpochSampler(10, 5, seed=0, patient_ids=["p"] * 10)
    assert sorted(row for batch in sampler for row in batch) == list(range(10))


def _num_doubled(batch: list[int], patients: list[str]) -> int:
    return len(batch) - len({patients[row] for row in batch})


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of the 4 processes"):
        EpochSampler(100, 6, seed=0, world_size=4)
    with pytest.raises(ConfigError, match="exceeds the 3 volumes"):
        EpochSampler(3, 4, seed=0)
