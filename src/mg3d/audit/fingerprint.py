"""A fingerprint of a volume's content, and the pairs of volumes that nearly share theirs.

The low frequencies of a cosine transform over the whole field of view, so it survives another
spacing, kernel, noise, window or file format. A flip of an axis only changes the sign of odd
frequencies, so mirrored copies are found too. It does not survive a crop: another field of view
is another fingerprint.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import fft

from mg3d.data.grid import GridConfig
from mg3d.data.hounsfield import AIR_HU
from mg3d.data.volume import Volume

COARSE_GRID = GridConfig(grid=(24, 24, 24), spacing_mm=None, crop_fraction=(1.0, 1.0, 1.0))
"""The whole field of view on a few voxels, whatever its size in mm."""
_HIGHEST_HU = 400.0
"""Metal and contrast agent differ between copies less than they weigh in a sum."""
_FREQUENCIES = 12
_EMPHASIS = 1.5
"""Power of the frequency that each coefficient is weighted by: the lowest ones are alike in all
chests. Chosen on easy phantoms of seed 5 (24 patients): other scans up to 0.981, copies resampled
to 0.7 or 1.4 times the voxels, smoothed, with 30 HU of noise or in 8 bits at least 0.996."""
NEAR = 0.993
"""Cosine from which two volumes count as nearly the same."""
_BLOCK = 2048
"""Volumes compared at a time: the memory that a comparison of all with all takes."""

Fingerprint = npt.NDArray[np.float16]


def fingerprint(volume: Volume) -> Fingerprint:
    """The fingerprint of a volume, in RAS+ order.

    Returns:
        (1727,) of norm 1; all zero for a volume without any structure.
    """
    coarse = volume.to_grid(COARSE_GRID).array.clip(AIR_HU, _HIGHEST_HU)
    size = _FREQUENCIES
    low = fft.dctn(np.asarray(coarse, dtype=np.float64), norm="ortho")[:size, :size, :size]
    along = np.arange(size) ** 2
    radius = np.sqrt(along[:, None, None] + along[None, :, None] + along[None, None, :])
    values = (low * radius**_EMPHASIS).ravel()[1:]
    norm = float(np.linalg.norm(values))
    scaled: Fingerprint = (values / norm if norm > 0 else values * 0).astype(np.float16)
    return scaled


def near_pairs(prints: npt.NDArray[np.float16]) -> Iterator[tuple[int, int, float, str]]:
    """Pairs of volumes with nearly the same content.

    Args:
        prints: (volumes, 1727) fingerprints.

    Yields:
        First and second volume, first < second, their cosine, and the axes along which one is
        mirrored against the other ("", "x", "xy", ...).
    """
    for start in range(0, len(prints), _BLOCK):
        rows = np.abs(prints[start : start + _BLOCK].astype(np.float32))
        for other in range(start, len(prints), _BLOCK):
            columns = np.abs(prints[other : other + _BLOCK].astype(np.float32))
            # Signs aside the cosine can only be larger, so nothing is missed by asking it first.
            for i, j in np.argwhere(rows @ columns.T >= NEAR):
                first, second = start + int(i), other + int(j)
                if first < second:
                    cosine, mirrored = compare(prints[first], prints[second])
                    if cosine >= NEAR:
                        yield first, second, cosine, mirrored


def compare(one: Fingerprint, other: Fingerprint) -> tuple[float, str]:
    """The largest cosine over the eight ways to mirror a volume, and the axes mirrored for it."""
    products = one.astype(np.float64) * other.astype(np.float64)
    best = max(
        (float(products @ _signs(flips)), -sum(flips), flips)
        for flips in product((False, True), repeat=3)
    )
    return best[0], "".join(axis for axis, flip in zip("xyz", best[2], strict=True) if flip)


def _signs(flips: tuple[bool, ...]) -> npt.NDArray[np.float64]:
    """(1727,) -1 where mirroring these axes turns a coefficient's sign, else 1."""
    odd = np.arange(_FREQUENCIES) % 2
    parity = sum(
        odd.reshape([-1 if axis == place else 1 for place in range(3)]) * flip
        for axis, flip in enumerate(flips)
    )
    full = np.broadcast_to(np.asarray(parity), (_FREQUENCIES,) * 3)
    signs: npt.NDArray[np.float64] = 1.0 - 2.0 * (full % 2).ravel()[1:]
    return signs
