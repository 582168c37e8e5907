"""The histogram of a volume: one pass over the voxels from which every fact about HU derives.

Whole HU over the range of 16 bits, so that shares and percentiles are exact to 1 HU and memory
does not depend on the size of the scan.
"""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

_LOWEST, _HIGHEST = -32768, 32767


@dataclass(frozen=True, eq=False)
class HuHistogram:
    """How many voxels have which HU."""

    counts: npt.NDArray[np.int64]
    """(65536,) voxels at -32768, -32767, ... 32767 HU."""
    shape: tuple[int, int, int]
    """Voxels along the axes as stored."""

    @classmethod
    def of(cls, array: npt.NDArray[np.generic]) -> Self:
        """Count the voxels of one volume, slice by slice.

        Args:
            array: (X, Y, Z) HU, integer or float without NaN; rounded to whole HU, and what lies
                beyond 16 bits counts at the border.
        """
        counts = np.zeros(_HIGHEST - _LOWEST + 1, dtype=np.int64)
        slowest = int(np.argmax(np.abs(array.strides)))
        for part in np.moveaxis(array, slowest, 0):
            whole = np.rint(part).clip(_LOWEST, _HIGHEST).astype(np.int32)
            counts += np.bincount(whole.ravel() - _LOWEST, minlength=counts.size)
        x, y, z = array.shape
        return cls(counts, (x, y, z))

    @property
    def num_voxels(self) -> int:
        """All of them."""
        return int(self.counts.sum())

    def percentile(self, share: float) -> int:
        """The lowest HU up to which at least ``share`` (0 to 1) of the voxels lie."""
        cumulative = np.cumsum(self.counts)
        wanted = max(1, int(np.ceil(share * cumulative[-1])))
        return int(np.searchsorted(cumulative, wanted)) + _LOWEST

    @property
    def mean(self) -> float:
        """Mean HU."""
        return float(self.counts @ _levels() / self.num_voxels)

    @property
    def deviation(self) -> float:
        """Standard deviation in HU."""
        return float(np.sqrt(self.counts @ (_levels() - self.mean) ** 2 / self.num_voxels))

    def share(self, low: int, high: int) -> float:
        """Share of voxels in [low, high] HU."""
        return float(self.counts[low - _LOWEST : high - _LOWEST + 1].sum() / self.num_voxels)

    def peak(self, low: int, high: int, *, width: int, least: float) -> int | None:
        """The HU around which voxels gather within [low, high].

        Args:
            low: First HU looked at.
            high: Last HU looked at.
            width: The histogram is averaged over this many HU first, since noise makes it ragged.
            least: Share of all voxels that must lie in the range.

        Returns:
            The peak, or None where too few voxels lie there.
        """
        if self.share(low, high) < least:
            return None
        smooth = np.convolve(self.counts, np.ones(width), mode="same")
        return int(np.argmax(smooth[low - _LOWEST : high - _LOWEST + 1])) + low

    def binned(self, edges: npt.NDArray[np.int64]) -> list[float]:
        """Share of voxels between neighbouring edges; what lies beyond counts at the borders."""
        sums = np.add.reduceat(self.counts, edges[:-1] - _LOWEST)
        sums[0] += self.counts[: edges[0] - _LOWEST].sum()
        shares: list[float] = (sums / self.num_voxels).round(6).tolist()
        return shares

    @property
    def digest(self) -> str:
        """Hash of which values occur how often, and of the sizes whatever their order.

        Two files with equal digests hold the same voxels, whatever header, axes, direction,
        packing or file format they were given: for distinct scans to agree in tens of thousands
        of counts is out of the question.
        """
        sizes = ",".join(map(str, sorted(self.shape)))
        return hashlib.sha256(sizes.encode() + self.counts.tobytes()).hexdigest()[:32]


def _levels() -> npt.NDArray[np.float64]:
    return np.arange(_LOWEST, _HIGHEST + 1, dtype=np.float64)
