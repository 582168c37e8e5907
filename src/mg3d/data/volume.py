"""Volume: the voxels of one CT series with the affine that says where they lie.

The affine maps (i, j, k, 1) to patient millimetres in RAS+ (x to the right, y to the front, z
up), as NIfTI does; geometry always comes from it, never from the order of a file. A Volume
exists only with a usable geometry.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mg3d.data.grid import GridConfig, Triple, grid_to_source, plan_axes
from mg3d.data.hounsfield import AIR_HU
from mg3d.data.resample import resample, resample_labels, sample_linear, sample_nearest
from mg3d.data.scan_error import ScanError

_SPACING_MM = (0.01, 100.0)
_STRAIGHT_DEGREES = 1.0
"""At the edge of a chest, 190 mm from the centre, 1 degree is one voxel of 3 mm."""
_SAME_PLACE = 1e-6
_FLATTEST = 1e-3
"""Least volume of the parallelepiped of the three unit axis directions; 1 = orthogonal."""


@dataclass(frozen=True, eq=False)
class Volume:
    """CT numbers on a grid in patient space.

    Raises:
        ScanError: If the array is not 3D or the affine cannot place it in space.
    """

    array: npt.NDArray[Any]
    """(X, Y, Z) HU, int16 or float32."""
    affine: npt.NDArray[np.float64]
    """(4, 4) voxel index -> patient mm, RAS+."""

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise ScanError(
                f"array of shape {self.array.shape}: a volume has three axes, none of them empty. "
                "Give one 3D image a row.",
                "geometry_not_3d",
            )
        object.__setattr__(self, "affine", np.array(self.affine, dtype=np.float64))
        _check_affine(self.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the three axes."""
        x, y, z = self.array.shape
        return x, y, z

    @property
    def spacing_mm(self) -> Triple:
        """Distance between voxel centres along the three axes."""
        x, y, z = (float(mm) for mm in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def axes(self) -> str:
        """Patient directions nearest to those in which the indices grow, e.g. "LPS"."""
        order, signs = _nearest_axes(self.affine)
        letters = {old: ["LR", "PA", "IS"][new] for new, old in enumerate(order)}
        growing = {old: sign > 0 for old, sign in zip(order, signs, strict=True)}
        return "".join(letters[axis][growing[axis]] for axis in range(3))

    @property
    def tilt_degrees(self) -> float:
        """Largest angle between an axis and the patient axis nearest to it."""
        order, _ = _nearest_axes(self.affine)
        cosines = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        nearest = min(abs(cosines[world, axis]) for world, axis in enumerate(order))
        return math.degrees(math.acos(min(1.0, nearest)))

    @property
    def shear_degrees(self) -> float:
        """Largest deviation of two axes from a right angle, as a tilted gantry leaves it."""
        unit = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        cosines = np.abs(unit.T @ unit)[np.triu_indices(3, 1)]
        return math.degrees(math.asin(min(1.0, float(cosines.max()))))

    @property
    def is_oblique(self) -> bool:
        """Whether an axis is turned by more than 1 degree away from the patient's."""
        return self.tilt_degrees > _STRAIGHT_DEGREES

    def reorient_ras(self) -> Self:
        """The same voxels with axes permuted and flipped so that they run nearest to R, A, S.

        Nothing is interpolated: an oblique scan stays oblique, and the affine still holds.
        """
        order, signs = _nearest_axes(self.affine)
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for new, old in enumerate(order):
            matrix[old, new] = signs[new]
            if signs[new] < 0:
                matrix[old, 3] = self.array.shape[old] - 1
        array = self.array.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
        return type(self)(array, self.affine @ matrix)

    def straighten(self, *, labels: bool = False) -> Self:
        """The scan turned into the patient's axes, with its own spacing, on the box around it.

        Args:
            labels: Whether the voxels are labels: the nearest is taken, outside it is 0.

        Returns:
            RAS+ volume whose axes are those of the patient; trilinear, outside it is air.
        """
        ras = self.reorient_ras()
        box = ras._straight_box()
        matrix = np.linalg.inv(ras.affine) @ box.affine
        sample, outside = (sample_nearest, 0) if labels else (sample_linear, AIR_HU)
        return type(self)(sample(ras.array, matrix, box.shape, outside), box.affine)

    def to_grid(self, settings: GridConfig) -> Self:
        """Reorient, then resample to the model grid; outside the scan is air (-1000 HU).

        Separable linear interpolation with anti-aliasing (`AxisPlan.weights`). A scan that is
        oblique or sheared by more than 1 degree is straightened first.

        Args:
            settings: The grid.

        Returns:
            float32 volume of shape ``settings.grid``; its affine maps grid index -> patient mm.
        """
        source = self.straighten() if self.is_oblique else self.reorient_ras()
        plans = plan_axes(source.shape, source.spacing_mm, settings)
        values = resample(source.array, plans, AIR_HU)
        return type(self)(values, source.affine @ grid_to_source(plans))

    def labels_to_grid(self, settings: GridConfig) -> Self:
        """A segmentation on the grid of its scan, each voxel the label that fills most of it.

        The weights are those of `to_grid`, so a label lies where the tissue that it marks lies
        (`resample_labels`). No label appears that was not there; outside the scan it is 0.

        Args:
            settings: The grid.

        Returns:
            Volume of shape ``settings.grid`` and of the type of the labels.
        """
        source = self.straighten(labels=True) if self.is_oblique else self.reorient_ras()
        plans = plan_axes(source.shape, source.spacing_mm, settings)
        labels = resample_labels(source.array, plans)
        return type(self)(labels, source.affine @ grid_to_source(plans))

    def grid_affine(self, settings: GridConfig) -> npt.NDArray[np.float64]:
        """(4, 4) grid index -> patient mm of `to_grid`, without resampling anything."""
        source = self.reorient_ras()
        source = source._straight_box() if self.is_oblique else source
        plans = plan_axes(source.shape, source.spacing_mm, settings)
        matrix: npt.NDArray[np.float64] = source.affine @ grid_to_source(plans)
        return matrix

    def _straight_box(self) -> Self:
        """The box of `straighten`, without voxels: its array takes no memory."""
        spacing = np.array(self.spacing_mm)
        last = np.array(self.shape) - 1
        corners = np.indices((2, 2, 2)).reshape(3, -1) * last[:, None]
        places = self.affine[:3, :3] @ corners
        size = np.ptp(places, axis=1) / spacing
        x, y, z = (int(count) for count in np.ceil(size - _SAME_PLACE) + 1)
        middle = self.affine[:3, :3] @ last / 2 + self.affine[:3, 3]
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = middle - spacing * (np.array((x, y, z)) - 1) / 2
        return type(self)(np.broadcast_to(np.zeros((), np.int16), (x, y, z)), affine)


def _check_affine(affine: npt.NDArray[np.float64]) -> None:
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ScanError(
            "the affine is not a 4 x 4 matrix of finite numbers; the header is damaged. Export the "
            "image again.",
            "geometry_damaged",
        )
    with np.errstate(over="ignore"):  # random bytes in a header make any number
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shown = "(" + ", ".join(f"{mm:g}" for mm in spacing) + ")"
    if (spacing == 0).any():
        raise ScanError(
            f"spacing {shown} mm has a zero; the header is damaged. Export the image again.",
            "geometry_zero_spacing",
        )
    low, high = _SPACING_MM
    if (spacing < low).any() or (spacing > high).any():
        raise ScanError(
            f"spacing {shown} mm is outside {low:g} to {high:g} mm; the header is damaged or in "
            "another unit. Export the image again.",
            "geometry_spacing_range",
        )
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < _FLATTEST:
        raise ScanError(
            "the affine cannot be inverted: two axes point the same way; the header is damaged. "
            "Export the image again.",
            "geometry_not_invertible",
        )


def _nearest_axes(affine: npt.NDArray[np.float64]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each of R, A, S: the source axis nearest to it, and +1 or -1 for its direction.

    The assignment that maximises the summed cosines over all six permutations, so that no axis
    is taken twice even at 45 degrees.
    """
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    best = max(orders, key=lambda order: sum(abs(cosines[w, a]) for w, a in enumerate(order)))
    return best, tuple(1 if cosines[world, axis] >= 0 else -1 for world, axis in enumerate(best))
