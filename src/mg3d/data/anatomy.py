"""What a chest looks like, to notice a scan that is none, or whose axes are not what they say.

Orientation comes from the affine alone; this only compares it with the patient, and warns. Each
sign is one number with a sign of its own, and speaks only where it is far from 0: the two lungs
have a gap between them from left to right, the body goes on beyond the first and last slice and
not beyond the front, the spine lies at the back, and what lies between the lungs (heart, domes of
the liver) is wide at their base. Left and right are told apart only where heart and aorta both
lie far on the wrong side, which a disease can do as well.

Thresholds were set on 88 phantom studies (seed 101) and the public scans listed in
docs/explanation/volumes.md, where the clean ones lie and the turned ones do.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from mg3d.data.volume import Volume

Mask = npt.NDArray[np.bool_]

_COARSE_MM = 4.0
_LOWEST_HU = -1024
_AIR_BELOW_HU = -400
_LUNG_HU = (-960.0, -500.0)
"""Median inside a region of air: outer air and bowel gas lie below (-970 and less), lungs at -775
to -930."""
_CROPPED_LUNG_HU = -935.0
"""Air that runs out of two sides of the scan is lung, not outer air, above this."""
_LEAST_REGION_ML = 100.0
_FEW_LUNGS_L = 0.5
_ENOUGH_LUNGS_L = 1.0
_MOST_TILT_DEGREES = 20.0
_SOFT_HU = (-100.0, 400.0)
_BONE_HU = 180.0
_MIDLINE_MM = 30.0
_GAP, _NO_GAP = 0.3, 0.75
"""Lung in the middle over lung beside it: clean scans up to 0.06 along x, 0.91 and more else."""
_FACES_APART = 0.15
"""Body on the outer slices along z minus along y: clean scans 0.26 and more."""
_SPINE = 0.08
"""Midline bone behind (negative) the middle of the body, share of its depth: clean -0.11 and
less."""
_BASE = -0.35
"""Log of soft tissue between the lungs, lower over upper third: clean 0.5 and more."""
_LEAST_HEIGHT_MM = 120.0
_HEART, _AORTA = -0.7, -0.25
"""Log of left over right in front of the spine, and left minus right beside it: lowest clean
scan -0.42 and -0.20."""


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What was seen of a chest."""

    lung_litres: float | None
    """Air in lungs; None where a crop cuts them, so that they cannot be told from outer air."""
    faults: tuple[tuple[str, str], ...]
    """(kind, message) of warnings."""


@dataclass(frozen=True, kw_only=True)
class _Chest:
    """A coarse look at a scan: RAS+ voxels of about 4 mm and what they are."""

    hu: npt.NDArray[np.float32]
    spacing_mm: npt.NDArray[np.float64]
    body: Mask
    """All but outer air."""
    lungs: Mask
    cut: bool
    """Whether a crop cuts lungs at the sides."""

    @property
    def lung_litres(self) -> float:
        return float(self.lungs.sum() * np.prod(self.spacing_mm) / 1e6)

    @property
    def lung_box(self) -> npt.NDArray[np.float64]:
        """(2, 3) first and last index of the lungs, the outermost 2 % left out."""
        return np.percentile(np.argwhere(self.lungs), [2, 98], axis=0)

    @property
    def soft(self) -> Mask:
        low, high = _SOFT_HU
        return (self.hu > low) & (self.hu < high) & self.body & ~self.lungs

    def midline(self, centre: float) -> slice:
        """The indices along x within 30 mm of one."""
        half = _MIDLINE_MM / self.spacing_mm[0]
        return slice(max(0, int(centre - half)), int(centre + half) + 2)


def look_at(volume: Volume) -> Anatomy:
    """Look for lungs, and compare the axes with the anatomy.

    Args:
        volume: A scan in HU.

    Returns:
        What was seen; no warning where unsure.
    """
    chest = _coarse(volume)
    litres = chest.lung_litres
    if litres < _FEW_LUNGS_L:
        if chest.cut:
            return Anatomy(lung_litres=None, faults=())
        message = f"{litres:.1f} litres of lung in view, a chest holds {_FEW_LUNGS_L:g} and more"
        return Anatomy(lung_litres=litres, faults=(("anatomy_not_chest", message),))
    faults: tuple[tuple[str, str], ...] = ()
    if litres >= _ENOUGH_LUNGS_L and volume.tilt_degrees < _MOST_TILT_DEGREES:
        faults = _permuted(chest) or (*_front_to_back(chest), *_upside_down(chest))
        faults = faults or _left_to_right(chest)
    return Anatomy(lung_litres=litres, faults=faults)


def _coarse(volume: Volume) -> _Chest:
    ras = volume.reorient_ras()
    steps = [max(1, round(_COARSE_MM / mm)) for mm in ras.spacing_mm]
    picked = ras.array[tuple(slice(step // 2, None, step) for step in steps)]
    if 0 in picked.shape:
        picked, steps = ras.array, [1, 1, 1]
    hu = np.maximum(picked, _LOWEST_HU).astype(np.float32)
    spacing = np.array(ras.spacing_mm) * steps
    regions, count = ndimage.label(ndimage.uniform_filter(hu, 3) < _AIR_BELOW_HU)
    sizes_ml = np.bincount(regions.ravel(), minlength=count + 1) * np.prod(spacing) / 1000
    sides = np.zeros(count + 1, int)  # of how many axes a region reaches an end
    for axis in range(3):
        sides[np.unique(regions.take((0, -1), axis))] += 1
    outside = np.flatnonzero(sides >= 2)
    lungs, cut = [], False
    core = np.where(ndimage.binary_erosion(regions > 0), regions, 0)
    for region in np.flatnonzero(sizes_ml >= _LEAST_REGION_ML):
        inside = hu[core == region]
        if region == 0 or not inside.size:
            continue
        density = float(np.median(inside))
        if sides[region] >= 2:
            cut = cut or density > _CROPPED_LUNG_HU
        elif _LUNG_HU[0] < density < _LUNG_HU[1]:
            lungs.append(region)
    return _Chest(
        hu=hu,
        spacing_mm=spacing,
        body=~np.isin(regions, outside[outside > 0]),
        lungs=np.isin(regions, lungs),
        cut=cut,
    )


def _permuted(chest: _Chest) -> tuple[tuple[str, str], ...]:
    gaps = [_gap(chest, axis) for axis in range(3)]
    others = [axis for axis in (1, 2) if gaps[axis] < _GAP]
    if gaps[0] > _NO_GAP and len(others) == 1:
        name = ("left-right", "back-front", "feet-head")[others[0]]
        return (("anatomy_permuted", f"the gap between the lungs runs across the {name} axis"),)
    if gaps[0] > _GAP:
        return ()
    back_front, feet_head = (
        float(chest.body.take((0, -1), axis).mean()) for axis in (1, 2)
    )  # shares of the outer slices
    if back_front - feet_head > _FACES_APART:
        message = (
            f"the body fills {back_front:.0%} of the outer slices front and back and "
            f"{feet_head:.0%} of those above and below"
        )
        return (("anatomy_permuted", message),)
    return ()


def _gap(chest: _Chest, axis: int) -> float:
    """Lung in the middle of its extent along an axis over lung on either side of it."""
    low, high = chest.lung_box[:, axis]
    others = tuple(other for other in range(3) if other != axis)
    profile = chest.lungs.sum(axis=others)[int(low) : int(high) + 1]
    num = len(profile)
    if num < 8:
        return 1.0
    middle = profile[int(0.4 * num) : int(0.6 * num) + 1].min()
    sides = min(profile[: int(0.45 * num)].max(), profile[int(0.55 * num) :].max())
    return float(middle / max(1, sides))


def _front_to_back(chest: _Chest) -> tuple[tuple[str, str], ...]:
    low, high = chest.lung_box
    levels = slice(int(low[2]), int(high[2]) + 1)
    band = chest.midline((low[0] + high[0]) / 2)
    body = chest.body[band, :, levels]
    bone = np.argwhere((chest.hu[band, :, levels] > _BONE_HU) & body)[:, 1]
    if len(bone) < 50:
        return ()
    depth = np.argwhere(body)[:, 1]
    front, back = np.percentile(depth, (98, 2))
    place = float((bone.mean() - depth.mean()) / max(1.0, front - back))
    if place < _SPINE:
        return ()
    message = f"midline bone lies {place:.0%} of the body's depth in front of its middle"
    return (("anatomy_front_to_back", message),)


def _upside_down(chest: _Chest) -> tuple[tuple[str, str], ...]:
    low, high = chest.lung_box[:, 2]
    if (high - low) * chest.spacing_mm[2] < _LEAST_HEIGHT_MM:
        return ()
    between = _between(chest).sum(axis=(0, 1))
    third = 0.35 * (high - low)
    level = np.arange(len(between))
    lower = between[(level >= low) & (level < low + third)].sum()
    upper = between[(level <= high) & (level > high - third)].sum()
    ratio = float(np.log((lower + 1) / (upper + 1)))
    if ratio > _BASE:
        return ()
    message = (
        f"{np.exp(-ratio):.1f} times as much soft tissue lies between the tops of the lungs as "
        "between their bases"
    )
    return (("anatomy_upside_down", message),)


def _between(chest: _Chest) -> Mask:
    """Soft tissue with lung to its left and to its right."""
    after = np.maximum.accumulate(chest.lungs, axis=0)
    before = np.maximum.accumulate(chest.lungs[::-1], axis=0)[::-1]
    return np.asarray(after & before & chest.soft)


def _left_to_right(chest: _Chest) -> tuple[tuple[str, str], ...]:
    low, high = chest.lung_box
    height = high[2] - low[2]
    band = chest.midline((low[0] + high[0]) / 2)
    middle = slice(int(low[2] + 0.3 * height), int(low[2] + 0.7 * height) + 1)
    spine = np.argwhere(chest.hu[band, : int((low[1] + high[1]) / 2), middle] > _BONE_HU)
    if len(spine) < 20:
        return ()
    centre = float(np.median(spine[:, 0])) + band.start
    front = float(np.percentile(spine[:, 1], 95))
    lower = slice(int(low[2] + 0.2 * height), int(low[2] + 0.6 * height))
    heart = [
        chest.soft[_beside(chest, centre, side, (0, 70)), int(front) : int(high[1]), lower].sum()
        for side in (-1, 1)
    ]
    depth = slice(
        max(0, int(front - 20 / chest.spacing_mm[1])), int(front + 15 / chest.spacing_mm[1]) + 1
    )
    aorta = [
        chest.soft[_beside(chest, centre, side, (8, 40)), depth, middle].mean() for side in (-1, 1)
    ]
    ratio = float(np.log((heart[0] + 1) / (heart[1] + 1)))
    if ratio > _HEART or aorta[0] - aorta[1] > _AORTA:
        return ()
    message = (
        f"{np.exp(-ratio):.1f} times as much of heart and vessels lies right of the spine as left "
        "of it"
    )
    return (("anatomy_left_to_right", message),)


def _beside(chest: _Chest, centre: float, side: int, reach_mm: tuple[float, float]) -> slice:
    """Indices along x on one side of a place, -1 the patient's left."""
    near, far = (centre + side * mm / chest.spacing_mm[0] for mm in reach_mm)
    return slice(max(0, round(min(near, far))), max(0, round(max(near, far))) + 1)
