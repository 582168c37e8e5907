"""Which frames of a folder are the volume: the rule of choice among series, and within one.

Among series: original before derived, axial before other planes, then those that cover at least
90 % of the longest; of these the one with the smallest distance of slices, then with most slices,
then the first by UID. `ScanSource.series_uid` overrides the rule. Descriptions are not read: they
are free text, differ between sites and languages, and may name a person.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mg3d.data.readers.dicom.frame import Frame, Role
from mg3d.data.readers.dicom.header import FileHeader
from mg3d.data.readers.dicom.stack import normal_of, piles
from mg3d.data.scan_error import ScanError

Faults = tuple[tuple[str, str], ...]

_ALIKE = 1e-3
"""Largest difference of direction cosines, and part of the spacing, within one stack."""
_MOST_STRAYS = 3
"""Slices that may lie apart, as localizers without a mark do; more are a mixture."""
_AS_LONG = 0.9
_AXIAL = 0.8
"""Least cosine between the normal of the slices and the patient's long axis; 37 degrees, more
than any gantry tilts."""
_MOST_OF_IT = 0.9
"""Part of all positions that one phase must have, so that it can stand for the series."""
_ROLE_NAMES: dict[Role, str] = {
    "localizer": "localizer(s)",
    "projection": "projection(s)",
    "capture": "picture(s) of a screen",
    "derived": "derived slice(s)",
    "other": "of another modality or kind",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Series:
    """One series: the slices that can be its volume, and what is known without pixels."""

    uid: str
    frames: tuple[Frame, ...]
    """Slices of a CT, original ones if there are any."""
    num_left_out: Counter[Role]
    """Frames that are no slices, by role."""

    @classmethod
    def of(cls, headers: Sequence[FileHeader]) -> "Series":
        """The series of some files."""
        frames = [frame for header in headers for frame in header.frames]
        roles = Counter(frame.role for frame in frames)
        kept: Role = "original" if roles["original"] else "derived"
        num_left_out = Counter({role: count for role, count in roles.items() if role != kept})
        num_left_out["other"] += sum(not header.frames for header in headers)
        return cls(
            uid=headers[0].series_uid,
            frames=tuple(frame for frame in frames if frame.role == kept),
            num_left_out=+num_left_out,
        )

    @property
    def is_derived(self) -> bool:
        """Whether its slices were computed from others."""
        return bool(self.frames) and self.frames[0].role == "derived"


@dataclass(frozen=True, kw_only=True)
class _Extent:
    """What the rule of choice looks at."""

    is_axial: bool
    coverage_mm: float
    step_mm: float
    num_places: int


def choose(series: Sequence[Series]) -> Series:
    """The series to take of several, by the rule above.

    Raises:
        ScanError: If none has slices of a CT.
    """
    candidates = [each for each in series if each.frames]
    if not candidates:
        left_out = sum((each.num_left_out for each in series), Counter[Role]())
        raise ScanError(
            f"no slices of a CT here ({_counted(left_out) or 'no DICOM files'}). Name the folder "
            "of a CT series.",
            "dicom_no_series",
        )
    if len(candidates) == 1:
        return candidates[0]
    extents = {id(each): _extent(each) for each in candidates}

    def tier(each: Series) -> tuple[bool, bool, bool]:
        extent = extents[id(each)]
        return extent.num_places > 1, not each.is_derived, extent.is_axial

    best = max(map(tier, candidates))
    equals = [each for each in candidates if tier(each) == best]
    longest = max(extents[id(each)].coverage_mm for each in equals)
    long_ones = [each for each in equals if extents[id(each)].coverage_mm >= _AS_LONG * longest]
    return min(
        long_ones,
        key=lambda each: (
            round(extents[id(each)].step_mm, 2), -extents[id(each)].num_places, each.uid,
        ),
    )  # fmt: skip


def choice_faults(series: Sequence[Series], chosen: Series) -> Faults:
    """What was left aside when a series was chosen."""
    faults = []
    others = [len(each.frames) for each in series if each is not chosen and each.frames]
    if others:
        shown = ", ".join(map(str, sorted(others, reverse=True)[:5]))
        message = (
            f"{len(others)} other CT series with {shown}{' ...' if len(others) > 5 else ''} "
            f"slices; the one taken has {len(chosen.frames)}. series_uid takes another"
        )
        faults.append(("dicom_other_series", message))
    left_out = sum((each.num_left_out for each in series), Counter[Role]())
    if left_out:
        faults.append(("dicom_left_out", _counted(left_out)))
    if chosen.is_derived:
        message = f"{len(chosen.frames)} slices computed from others, not as scanned"
        faults.append(("dicom_derived", message))
    return tuple(faults)


def slices_of(series: Series) -> tuple[tuple[Frame, ...], Faults]:
    """The slices of a series that form one stack.

    Returns:
        Frames of equal size, orientation and spacing, of one moment where several are told
        apart; and what was left out.

    Raises:
        ScanError: Slices without position, a mixture of stacks.
    """
    placed = [f for f in series.frames if f.position_mm is not None and f.orientation is not None]
    if not placed:
        raise ScanError(
            f"none of {len(series.frames)} slices has a position and orientation in the patient. "
            "Export the series again with both.",
            "dicom_no_position",
        )
    groups = _alike(placed)
    main = max(groups, key=len)
    num_strays = len(series.frames) - len(main)
    if num_strays > _MOST_STRAYS or num_strays >= len(main):
        unplaced = len(series.frames) - len(placed)
        raise ScanError(
            f"{len(groups)} kinds of slices that differ in size, orientation, pixel spacing or "
            f"frame of reference ({', '.join(str(len(g)) for g in groups[:5])} slices; {unplaced} "
            "without position). Split the series, or name the folder of one part.",
            "dicom_mixed_slices",
        )
    chosen, faults = _one_moment(main)
    if num_strays:
        message = f"{num_strays} slice(s) of another size, orientation or spacing"
        faults = (("dicom_left_out", message), *faults)
    return chosen, faults


def _counted(roles: Counter[Role]) -> str:
    return ", ".join(f"{roles[role]} {name}" for role, name in _ROLE_NAMES.items() if roles[role])


def _extent(series: Series) -> _Extent:
    """Of the largest stack of a series; nothing where its headers do not say."""
    placed = [f for f in series.frames if f.position_mm is not None and f.orientation is not None]
    try:
        main = max(_alike(placed), key=len)
        normal = normal_of(main[0])
    except (ScanError, ValueError):  # damaged, or no slice with a position
        return _Extent(is_axial=False, coverage_mm=0, step_mm=0, num_places=0)
    heights = [float(np.dot(pile[0].position_mm or (), normal)) for pile in piles(main, normal)]
    return _Extent(
        is_axial=abs(float(normal[2])) >= _AXIAL,
        coverage_mm=heights[-1] - heights[0],
        step_mm=float(np.median(np.diff(heights))) if len(heights) > 1 else 0,
        num_places=len(heights),
    )


def _alike(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames of equal size, orientation, spacing and frame of reference, together."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _is_alike(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _is_alike(first: Frame, second: Frame) -> bool:
    if (first.rows, first.columns) != (second.rows, second.columns):
        return False
    if first.frame_of_reference != second.frame_of_reference:
        return False
    turned = np.subtract(first.orientation or (), second.orientation or ())
    if np.abs(turned).max() > _ALIKE:
        return False
    if first.spacing_mm is None or second.spacing_mm is None:
        return first.spacing_mm is second.spacing_mm
    scaled = np.subtract(first.spacing_mm, second.spacing_mm)
    return bool((np.abs(scaled) <= _ALIKE * np.abs(first.spacing_mm)).all())


def _one_moment(frames: Sequence[Frame]) -> tuple[tuple[Frame, ...], Faults]:
    """Frames of one moment, where positions repeat and the header tells moments apart.

    The moment with most slices, the earliest of equals. Repeated positions that no moment tells
    apart are left to a comparison of their pixels.
    """
    normal = normal_of(frames[0])
    places = piles(frames, normal)
    if len(places) == len(frames):
        return tuple(frames), ()
    moments: dict[tuple[float, ...], list[Frame]] = {}
    for frame in frames:
        moments.setdefault(frame.moment, []).append(frame)
    chosen = min(moments.items(), key=lambda item: (-len(item[1]), item[0]))[1]
    is_whole = len(chosen) >= _MOST_OF_IT * len(places)
    repeats = len(piles(chosen, normal)) < len(chosen)
    if len(moments) == 1 or not is_whole or repeats:
        return tuple(frames), ()
    message = (
        f"{len(moments)} phases or acquisitions at the same positions; the one taken has "
        f"{len(chosen)} of {len(frames)} slices"
    )
    return tuple(chosen), (("dicom_several_phases", message),)
