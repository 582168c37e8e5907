"""How a study was scanned and stored: spacing, field of view, kernel, noise, orientation.

Nothing here depends on the patient's findings.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mg3d.phantom.canvas import Canvas, Field
from mg3d.phantom.settings import Difficulty
from mg3d.randomness import rng

FIELD_OF_VIEW_MM = (368.0, 304.0, 302.0)
ORIENTATIONS = {"LPS": 0.4, "RAS": 0.15, "LAS": 0.15, "RPS": 0.1, "PIR": 0.1, "SLP": 0.1}
"""Storage axes and how often scanners use them (LPS most, as DICOM does)."""
LOWEST_HU, HIGHEST_HU = -1024, 3071
"""Range of a 12-bit scanner."""


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """One scan. The grid is in patient order x, y, z; storage order follows ``orientation``."""

    grid: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    offset_mm: tuple[float, float, float]
    """Where the centre of the grid lies in the patient."""
    origin_mm: tuple[float, float, float]
    """Scanner coordinates of the centre of the grid: the table stands somewhere else each time."""
    orientation: str
    noise_hu: float
    """Standard deviation before the kernel."""
    kernel: float
    """-0.3 sharp to 0.6 soft: share by which each voxel moves to its neighbourhood's mean."""
    enhancement_hu: float
    noise_seed: int


def draw_acquisition(
    level: Difficulty, grid: tuple[int, int, int], seed: int, *keys: str | int
) -> Acquisition:
    """Draw how one study is scanned.

    Args:
        level: Ranges of noise, contrast and position.
        grid: Voxels along x, y, z around which the study's own numbers vary by up to 4 %.
        seed: The phantom's seed.
        keys: Which study.
    """
    source = rng(seed, *keys, "acquisition")
    shape = [size + int(source.integers(-size // 25, size // 25 + 1)) for size in grid]
    in_plane = FIELD_OF_VIEW_MM[0] / shape[0] * float(source.uniform(0.97, 1.05))
    shape[1] = max(shape[1], int(np.ceil(0.97 * FIELD_OF_VIEW_MM[1] / in_plane)))
    slices = FIELD_OF_VIEW_MM[2] / shape[2] * float(source.uniform(0.97, 1.05))
    offset = source.uniform(-level.offset_mm, level.offset_mm, 3) + np.array([0, -6, -8])
    origin = source.uniform((-30, -220, -900), (30, -120, 300))
    names = list(ORIENTATIONS)
    return Acquisition(
        grid=(shape[0], shape[1], shape[2]),
        spacing_mm=(round(in_plane, 3), round(in_plane, 3), round(slices, 3)),
        offset_mm=(float(offset[0]), float(offset[1]), float(offset[2])),
        origin_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
        orientation=names[int(source.choice(len(names), p=list(ORIENTATIONS.values())))],
        noise_hu=float(source.uniform(*level.noise_hu)),
        kernel=float(source.uniform(-0.3, 0.6)),
        enhancement_hu=float(source.uniform(*level.enhancement_hu)),
        noise_seed=int(source.integers(2**62)),
    )


def blank_canvas(scan: Acquisition) -> Canvas:
    """An empty canvas with the patient coordinates of the scan's voxels."""
    axes = [
        ((np.arange(count) - (count - 1) / 2) * step + offset).astype(np.float32)
        for count, step, offset in zip(scan.grid, scan.spacing_mm, scan.offset_mm, strict=True)
    ]
    return Canvas(
        x=axes[0].reshape(-1, 1, 1), y=axes[1].reshape(1, -1, 1), z=axes[2].reshape(1, 1, -1)
    )


def scan_voxels(hu: Field, scan: Acquisition) -> NDArray[np.int16]:
    """Add noise, apply the kernel and round to what a scanner stores.

    Returns:
        (X, Y, Z) int16 HU, still in patient order.
    """
    noise = rng(scan.noise_seed, "noise").standard_normal(scan.grid, dtype=np.float32)
    noisy = hu + np.float32(scan.noise_hu) * noise
    smooth = ndimage.gaussian_filter(noisy, 0.8, truncate=2.5, mode="nearest")
    noisy += np.float32(scan.kernel) * (smooth - noisy)
    return np.clip(np.rint(noisy), LOWEST_HU, HIGHEST_HU).astype(np.int16)


def stored_affine(scan: Acquisition) -> NDArray[np.float64]:
    """The (4, 4) map from stored voxel indices to scanner mm (RAS+)."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    corner = np.array(scan.origin_mm)
    for column, code in enumerate(scan.orientation):
        axis, sign = AXIS_OF[code]
        affine[axis, column] = sign * scan.spacing_mm[axis]
        corner[axis] -= sign * scan.spacing_mm[axis] * (scan.grid[axis] - 1) / 2
    affine[:3, 3] = corner
    return affine


def stored_order(voxels: NDArray[np.generic], scan: Acquisition) -> NDArray[np.generic]:
    """``voxels`` (X, Y, Z in patient order) flipped and permuted to the scan's storage axes."""
    axes = [AXIS_OF[code] for code in scan.orientation]
    turned = np.transpose(voxels, [axis for axis, _ in axes])
    return turned[tuple(slice(None, None, sign) for _, sign in axes)]


AXIS_OF = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
"""Patient axis and direction of each orientation letter."""
