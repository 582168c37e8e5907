"""GridTransform: the way between the voxels of a scan, patient millimetres and the model grid.

Overlays need it in one direction (a heat map of the model onto the scan), segmentations and
coordinates in both. It is made from a scan or from what the store keeps about it, and is exact for
anisotropic, flipped, permuted, oblique and sheared scans alike: all of it is two affine matrices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mg3d.data.grid import GridConfig
from mg3d.data.resample import sample_linear, sample_nearest
from mg3d.data.volume import Volume
from mg3d.errors import DataError

Size = tuple[int, int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class GridTransform:
    """Where the voxels of a scan and those of the model grid lie in the patient."""

    source_shape: Size
    """Voxels of the scan along its stored axes."""
    source_affine: npt.NDArray[np.float64]
    """(4, 4) stored index -> patient mm, RAS+."""
    grid_shape: Size
    grid_affine: npt.NDArray[np.float64]
    """(4, 4) grid index -> patient mm, RAS+."""

    @classmethod
    def of(cls, volume: Volume, settings: GridConfig) -> Self:
        """The transform that `Volume.to_grid` would apply.

        Args:
            volume: A scan as read.
            settings: The grid.
        """
        return cls(
            source_shape=volume.shape,
            source_affine=volume.affine,
            grid_shape=settings.grid,
            grid_affine=volume.grid_affine(settings),
        )

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], grid_shape: Size) -> Self:
        """The transform that was applied to a volume of the store.

        Args:
            facts: What the store keeps beside the voxels: affine, source_affine, source_shape.
            grid_shape: Shape of the stored voxels.

        Raises:
            DataError: If the facts lack one of them.
        """
        try:
            x, y, z = (int(size) for size in facts["source_shape"])
            source, grid = (
                np.array(facts[name], np.float64) for name in ("source_affine", "affine")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "the facts of the volume lack affine, source_affine or source_shape. Prepare the "
                "store again."
            ) from error
        return cls(
            source_shape=(x, y, z), source_affine=source, grid_shape=grid_shape, grid_affine=grid
        )

    def grid_to_mm(self, indices: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Patient mm (..., 3), RAS+, of grid indices (..., 3), fractions allowed."""
        return _apply(self.grid_affine, indices)

    def mm_to_grid(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Grid indices (..., 3), with fractions, of patient mm (..., 3)."""
        return _apply(_inverse(self.grid_affine), points)

    def source_to_mm(self, indices: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Patient mm (..., 3), RAS+, of stored indices of the scan (..., 3)."""
        return _apply(self.source_affine, indices)

    def mm_to_source(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Stored indices of the scan (..., 3), with fractions, of patient mm (..., 3)."""
        return _apply(_inverse(self.source_affine), points)

    def values_to_source(
        self, values: npt.NDArray[np.floating[Any]], outside: float = np.nan
    ) -> npt.NDArray[np.float32]:
        """Bring a map on the grid (a similarity, a probability) onto the voxels of the scan.

        Args:
            values: Array of the grid's shape.
            outside: Value where the grid did not reach.

        Returns:
            float32 of the scan's shape in its stored axes, by trilinear interpolation.
        """
        self._check(values)
        mapped = sample_linear(
            values.astype(np.float32), self._way_back, self.source_shape, outside
        )
        return mapped.astype(np.float32, copy=False)

    def labels_to_source(
        self, labels: npt.NDArray[np.integer[Any]], outside: int = 0
    ) -> npt.NDArray[np.integer[Any]]:
        """Bring a segmentation on the grid onto the voxels of the scan, each its nearest label."""
        self._check(labels)
        mapped: npt.NDArray[np.integer[Any]] = sample_nearest(  # type: ignore[assignment]
            labels, self._way_back, self.source_shape, outside
        )
        return mapped

    @property
    def _way_back(self) -> npt.NDArray[np.float64]:
        """(4, 4) stored index of the scan -> grid index."""
        return _inverse(self.grid_affine) @ self.source_affine

    def _check(self, array: npt.NDArray[Any]) -> None:
        if array.shape != self.grid_shape:
            raise DataError(f"array of shape {array.shape}: the grid is {self.grid_shape}")


def _apply(matrix: npt.NDArray[np.float64], points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    moved: npt.NDArray[np.float64] = np.asarray(points) @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def _inverse(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.linalg.inv(matrix), np.float64)
