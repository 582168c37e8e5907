"""Packed rows and reports: what goes in comes out, and workers get blocks, not copies."""

import io
import math
import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

from mg3d.data.packed import PackedPairs, PackedReports, PackedRows
from mg3d.data.store import StoreRow
from mg3d.data.text.tokens import TokenizedReport


def _rows(num: int) -> list[StoreRow]:
    return [
        StoreRow(
            volume_id=f"v{n}\u00e9", study_id=f"s{n}", patient_id=f"p{n}", report_id="r" * n,
            split="val", image="a.nii", source_sha256="0" * 64, volume_sha256="1" * 64,
            faults=(("hu_no_air", "odd"),) * (n % 2), labels=(1.0, math.nan),
        )
        for n in range(num)
    ]  # fmt: skip


def _reports(num: int, largest: int = 2**31 - 1) -> list[TokenizedReport]:
    generator = np.random.default_rng(0)
    return [
        TokenizedReport(*generator.integers(0, largest, (3, size)), num_truncated=size % 3)
        for size in generator.integers(0, 40, num)
    ]


def test_rows_come_out_as_they_went_in() -> None:
    rows = _rows(7)
    packed = PackedRows(rows)
    assert len(packed) == 7
    assert [row.to_json() for row in packed] == [row.to_json() for row in rows]
    assert packed[-1].volume_id == rows[-1].volume_id
    assert [row.study_id for row in packed[1:6:2]] == ["s1", "s3", "s5"]
    for index in (7, -8):
        with pytest.raises(IndexError):
            packed[index]


@pytest.mark.parametrize("largest", [2**31 - 1, 2**16 - 1])
def test_reports_come_out_as_they_went_in(largest: int) -> None:
    reports = _reports(9, largest)
    packed = PackedReports(iter(reports))
    assert len(packed) == 9
    for one, two in zip(packed, reports, strict=True):
        for name in ("token_ids", "clause_ids", "word_ids"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
            assert getattr(one, name).dtype == np.int64
        assert one.num_truncated == two.num_truncated
    assert packed.num_truncated.tolist() == [report.num_truncated for report in reports]
    assert len(packed[2:4]) == 2
    with pytest.raises(IndexError):
        packed[9]


def test_one_large_number_widens_the_rest() -> None:
    small = TokenizedReport(*np.array([[65_535, 0]] * 3))
    large = TokenizedReport(*np.array([[65_536]] * 3))
    assert PackedReports([small])._numbers.element_size() == 2
    packed = PackedReports([small, large])
    assert packed[0].token_ids.tolist() == [65_535, 0]
    assert packed[1].word_ids.tolist() == [65_536]


def test_pairs_come_out_as_they_went_in() -> None:
    reports = _reports(6, 100)
    packed = PackedPairs(iter([(reports[0], reports[1]), (reports[2], reports[3])]))
    assert len(packed) == 2
    assert packed[-1][0].token_ids.tolist() == reports[2].token_ids.tolist()
    assert [pair[1].clause_ids.tolist() for pair in packed[:]] == [
        reports[1].clause_ids.tolist(), reports[3].clause_ids.tolist()
    ]  # fmt: skip
    with pytest.raises(IndexError):
        packed[2]


def test_nothing_packs_to_nothing() -> None:
    assert list(PackedRows([])) == []
    assert list(PackedReports([])) == []


def test_a_worker_is_sent_handles_however_long_the_corpus() -> None:
    """torch sends blocks to other processes as handles: the message does not grow."""

    def message(num: int) -> int:
        stream = io.BytesIO()
        ForkingPickler(stream, pickle.HIGHEST_PROTOCOL).dump(
            (PackedRows(_rows(num)), PackedReports(_reports(num)))
        )
        return len(stream.getvalue())

    assert message(2000) < message(2) + 100 < 3000
