"""Distances between slices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.readers.dicom.evenness import evenness
from mg3d.data.scan_error import ScanError


@given(st.floats(0.1, 10), st.integers(2, 60))
def test_even_slices_are_even(step, num):
    assert evenness(np.arange(num) * step, -3.0) == (None, ())


@pytest.mark.parametrize(
    ("heights", "kind", "num_even"),
    [
        ([0, 1, 2, 4, 5], "dicom_missing_slices", 6),
        ([0, 1, 2, 6, 7], "dicom_missing_slices", 8),
        ([0, 1, 2.3, 3, 4], "dicom_uneven_slices", 5),
        ([0, 10, 20, 34, 44], "dicom_uneven_slices", 5),  # 1.5 usual distances are small
    ],
)
def test_small_gaps_are_interpolated(heights, kind, num_even):
    even, faults = evenness(np.array(heights, dtype=float), 0.0)
    assert [name for name, _ in faults] == [kind]
    assert even is not None
    assert (len(even), even[0], even[-1]) == (num_even, 0, heights[-1])
    np.testing.assert_allclose(np.diff(even), heights[-1] / (num_even - 1))


@pytest.mark.parametrize(
    "heights", [[0, 1, 2, 7.5], [0, 10, 20, 36], [0, 1, 1e9], [0, 0.1, 0.2, 0.3, 5, 10]]
)
def test_wide_gaps_are_refused(heights):
    with pytest.raises(ScanError) as caught:
        evenness(np.array(heights, dtype=float), 100.0)
    assert caught.value.kind == "dicom_gap"


def test_a_refusal_says_where():
    with pytest.raises(ScanError, match=r"from 102\.0 to 109\.0 mm"):
        evenness(np.array([0.0, 1, 2, 9, 10]), 100.0)
