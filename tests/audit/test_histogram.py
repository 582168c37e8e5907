"""The histogram against NumPy on the voxels themselves."""

import numpy as np
import numpy.typing as npt
import pytest

from mg3d.audit.histogram import HuHistogram

RNG = np.random.default_rng(3)


def scan() -> npt.NDArray[np.int16]:
    air = RNG.normal(-1000, 20, (9, 8, 7))
    body = RNG.normal(45, 15, (9, 8, 7))
    return np.rint(np.where(RNG.random((9, 8, 7)) < 0.6, air, body)).astype(np.int16)


@pytest.mark.parametrize("order", ["C", "F"])
def test_it_agrees_with_the_voxels(order: str) -> None:
    array = np.array(scan(), order=order)  # type: ignore[call-overload]
    histogram = HuHistogram.of(array)
    ordered = np.sort(array.ravel())
    assert histogram.num_voxels == array.size
    assert histogram.percentile(0.0) == array.min()
    assert histogram.percentile(1.0) == array.max()
    assert histogram.percentile(0.5) == ordered[(array.size + 1) // 2 - 1]
    assert histogram.mean == pytest.approx(array.mean(), abs=1e-9)
    assert histogram.deviation == pytest.approx(array.std(), abs=1e-9)
    assert histogram.share(-200, 250) == ((array >= -200) & (array <= 250)).mean()


def test_peaks_lie_where_values_gather_and_nowhere_else() -> None:
    histogram = HuHistogram.of(scan())
    # Measured: -997 and 49 from some 300 and 200 voxels.
    assert histogram.peak(-1150, -850, width=25, least=0.01) == pytest.approx(-1000, abs=12)
    assert histogram.peak(-20, 120, width=25, least=0.01) == pytest.approx(45, abs=12)
    assert histogram.peak(600, 900, width=25, least=0.01) is None


def test_bins_hold_every_voxel() -> None:
    array = scan()
    array[0, 0, :3] = (-3024, 3071, 30000)
    edges = np.arange(-1200, 1601, 50)
    shares = HuHistogram.of(array).binned(edges)
    assert len(shares) == len(edges) - 1
    assert sum(shares) == pytest.approx(1, abs=len(shares) * 1e-6)  # rounded to 6 digits
    inside = np.histogram(array.clip(-1200, 1599), edges)[0] / array.size
    assert shares == pytest.approx(inside.tolist(), abs=1e-6)


def test_floats_are_rounded_and_what_exceeds_16_bits_counts_at_the_border() -> None:
    array = np.array([[[-0.4, 0.6, 99999.0, -99999.0]]], dtype=np.float32)
    histogram = HuHistogram.of(array)
    assert histogram.counts[32768] == 1
    assert histogram.counts[32769] == 1
    assert histogram.counts[[0, -1]].tolist() == [1, 1]


def test_the_digest_follows_the_voxels_and_not_their_order() -> None:
    array = scan()
    digest = HuHistogram.of(array).digest
    assert HuHistogram.of(array[::-1, :, ::-1]).digest == digest
    assert HuHistogram.of(array.transpose(2, 0, 1)).digest == digest
    assert HuHistogram.of(array.astype(np.float32)).digest == digest
    other = array.copy()
    other[4, 4, 4] += 1
    assert HuHistogram.of(other).digest != digest
    assert HuHistogram.of(array.reshape(9, 7, 8)).digest == digest  # sizes whatever their order
    assert HuHistogram.of(array.reshape(3, 24, 7)).digest != digest
