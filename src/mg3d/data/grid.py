"""The model grid: which part of a patient the model sees, on how many voxels.

A grid is laid around the centre of a RAS+ volume, axis by axis: target index i lies at source
index ``offset + step * i``. That line is all there is to know: resampling and the way back to
patient millimetres both derive from it, so they cannot disagree.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mg3d.errors import ConfigError

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """The voxel grid of a model, in RAS+ order: x to the right, y to the front, z up.

    Spacing alone: resample to it, centre crop, pad with air (-1000 HU). Crop fraction alone:
    keep that central part and resize it to the grid, whatever its size. Both: the part is kept,
    and on its way to the grid it passes through the given spacing, which smooths.
    """

    grid: tuple[int, int, int] = (128, 96, 128)
    """Voxels along x (left-right), y (back-front), z (feet-head)."""
    spacing_mm: tuple[float, float, float] | None = (3.0, 3.0, 3.0)
    """Millimetres between voxels along x, y, z; null for none. The default and
    its grid cover 384 x 288 x 384 mm."""
    crop_fraction: tuple[float, float, float] | None = None
    """Central part to keep along x, y, z, each above 0 and at most 1; null for none. CT-RATE in
    arXiv:2412.05876: 0.875 0.65625 0.88 by way of 0.75 0.75 1.5 mm."""

    def __post_init__(self) -> None:
        # Equal settings must be equal bytes in a store, wherever they came from (JSON, YAML, code).
        object.__setattr__(self, "grid", tuple(int(size) for size in self.grid))
        for name in ("spacing_mm", "crop_fraction"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(float(number) for number in value))
        if len(self.grid) != 3 or any(size < 1 for size in self.grid):
            raise ConfigError(f"grid {self.grid}: three numbers of voxels, each at least 1")
        if self.spacing_mm is not None and not all(0 < mm < np.inf for mm in self.spacing_mm):
            raise ConfigError(f"spacing_mm {self.spacing_mm}: each is in mm and above 0")
        if self.crop_fraction is not None and not all(0 < f <= 1 for f in self.crop_fraction):
            raise ConfigError(f"crop_fraction {self.crop_fraction}: each is above 0, at most 1")
        if self.spacing_mm is None and self.crop_fraction is None:
            raise ConfigError(
                "neither spacing_mm nor crop_fraction is set, so the size of the grid is unknown. "
                "Set spacing_mm, or crop_fraction to 1 1 1 for the whole volume."
            )


@dataclass(frozen=True, kw_only=True)
class AxisPlan:
    """How one axis of a source is sampled. Source index = offset + step * target index."""

    source_size: int
    target_size: int
    offset: float
    step: float
    via_step: float | None = None
    """Step of an intermediate grid to pass through, in source voxels."""

    def weights(self) -> sparse.csr_array:
        """(target, source) float32 interpolation weights; rows beyond the source are zero.

        Linear interpolation whose tent is widened to the step when it shrinks the image, so that
        no source voxel is skipped (anti-aliasing, as in Pillow and torch with ``antialias``).
        Rows sum to 1 inside the source, whose border voxels extend half a voxel outwards.
        """
        if self.via_step is None:
            return _tent(self.target_size, self.source_size, self.offset, self.step)
        via_size = max(1, round(self.source_size / self.via_step))
        via_offset = (self.source_size - 1) / 2 - self.via_step * (via_size - 1) / 2
        first = _tent(via_size, self.source_size, via_offset, self.via_step, clamp=True)
        last_offset = (self.offset - via_offset) / self.via_step
        last_step = self.step / self.via_step
        return _tent(self.target_size, via_size, last_offset, last_step, clamp=True) @ first


def plan_axes(
    shape: tuple[int, int, int], spacing_mm: Triple, settings: GridConfig
) -> tuple[AxisPlan, AxisPlan, AxisPlan]:
    """Lay the grid around the centre of a RAS+ volume.

    Args:
        shape: Voxels of the source along x, y, z.
        spacing_mm: Its spacing along the same axes.
        settings: The grid.

    Returns:
        One plan for each axis.
    """
    x, y, z = (_plan_axis(axis, shape[axis], spacing_mm[axis], settings) for axis in range(3))
    return x, y, z


def _plan_axis(axis: int, size: int, spacing: float, settings: GridConfig) -> AxisPlan:
    target = settings.grid[axis]
    spacing = float(np.float32(spacing))  # so that 0.7 of one format is 0.7 of another
    metric = None if settings.spacing_mm is None else settings.spacing_mm[axis] / spacing
    if settings.crop_fraction is None:
        assert metric is not None
        step, via = metric, None
    else:
        step, via = settings.crop_fraction[axis] * size / target, metric
    centre = (size - 1) / 2
    return AxisPlan(
        source_size=size,
        target_size=target,
        offset=centre - step * (target - 1) / 2,
        step=step,
        via_step=via,
    )


def grid_to_source(plans: tuple[AxisPlan, AxisPlan, AxisPlan]) -> npt.NDArray[np.float64]:
    """(4, 4) matrix from homogeneous grid indices to indices of the RAS+ source."""
    matrix = np.diag([*(plan.step for plan in plans), 1.0])
    matrix[:3, 3] = [plan.offset for plan in plans]
    return matrix


def _tent(
    target: int, source: int, offset: float, step: float, *, clamp: bool = False
) -> sparse.csr_array:
    """Tent-filter weights (target, source); see `AxisPlan.weights`.

    ``clamp`` moves positions beyond the source to its border instead of leaving their row empty.
    """
    positions = offset + step * np.arange(target)
    # Half a voxel beyond the outer centres is still inside; the margin absorbs float rounding.
    inside = (positions >= -0.5 - 1e-6) & (positions <= source - 0.5 + 1e-6)
    positions = np.clip(positions, 0, source - 1) if clamp else positions
    radius = max(1.0, step)
    first = np.floor(positions - radius).astype(np.int64)
    taps = first[:, None] + np.arange(int(2 * radius) + 3)
    values = np.maximum(0.0, 1 - np.abs(taps - positions[:, None]) / radius)
    values[(taps < 0) | (taps >= source)] = 0
    if not clamp:
        values[~inside] = 0
    totals = values.sum(axis=1, keepdims=True)
    values /= np.where(totals > 0, totals, 1)
    rows = np.broadcast_to(np.arange(target)[:, None], taps.shape)
    keep = values > 0
    matrix = sparse.coo_array((values[keep], (rows[keep], taps[keep])), shape=(target, source))
    return sparse.csr_array(matrix, dtype=np.float32)
