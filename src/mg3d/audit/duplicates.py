"""The same scan more than once: as a file, as voxels under another header, or nearly.

Copies within a study are only reported when they are exact: its reconstructions are alike by
nature. Copies of different patients in different splits are a leak.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mg3d.audit.collection import Member, plain
from mg3d.audit.fingerprint import near_pairs
from mg3d.data.faults import Fault

Likeness = Literal["file", "voxels", "nearly"]
_MOST_NAMED = 5
_SAYS: dict[Likeness, str] = {
    "file": "hold the same file content",
    "voxels": "hold the same voxels under another header or format",
    "nearly": "hold nearly the same image",
}


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Volumes that hold the same scan."""

    likeness: Likeness
    members: tuple[Member, ...]
    """At least two, in the order of the catalogue."""
    detail: str = ""
    """For near copies: the cosine and the mirrored axes."""

    @property
    def leaks(self) -> bool:
        """Whether different patients of different splits share the scan."""
        first = self.members[0]
        return any(
            other.split != first.split and other.row.patient_id != first.row.patient_id
            for other in self.members
        )

    def faults(self) -> Iterator[Fault]:
        """One fault for what it is, and one more if it crosses splits."""
        names = [plain(member.row.volume_id) for member in self.members]
        more = len(names) - _MOST_NAMED
        listed = ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        detail = f" ({self.detail})" if self.detail else ""
        message = f"{listed} {_SAYS[self.likeness]}{detail}"
        splits = sorted({member.split for member in self.members})
        place = self.members[1]
        if self.likeness == "nearly":
            across = f", in {' and '.join(splits)}" if len(splits) > 1 else ""
            yield place.fault("duplicate_volume_near", message + across)
            return
        yield place.fault("duplicate_volume", message)
        if self.leaks:
            patients = len({member.row.patient_id for member in self.members})
            text = f"{message}: {patients} patient ids, in {' and '.join(splits)}"
            yield place.fault("split_leak_volume", text)


def find_copies(members: Sequence[Member]) -> list[Copies]:
    """All sets of copies: exact ones, then near ones between what is left."""
    usable = [member for member in members if member.usable]
    same_file = _groups("file", usable, [member.facts.sha256 for member in usable])
    hidden = _all_but_first(same_file)
    distinct = [member for member in usable if id(member) not in hidden]
    same_voxels = _groups("voxels", distinct, [member.facts.voxels for member in distinct])
    hidden = _all_but_first(same_voxels)
    distinct = [member for member in distinct if id(member) not in hidden]
    return [*same_file, *same_voxels, *_near(distinct)]


def _groups(likeness: Likeness, members: Sequence[Member], keys: Iterable[str]) -> list[Copies]:
    found: dict[str, list[Member]] = {}
    for member, key in zip(members, keys, strict=True):
        found.setdefault(key, []).append(member)
    return [
        Copies(likeness=likeness, members=tuple(group))
        for group in found.values()
        if len(group) > 1
    ]


def _all_but_first(groups: Sequence[Copies]) -> set[int]:
    return {id(member) for group in groups for member in group.members[1:]}


def _near(members: Sequence[Member]) -> Iterator[Copies]:
    known = [member for member in members if member.facts.fingerprint is not None]
    if len(known) < 2:
        return
    prints = np.stack([member.facts.fingerprint for member in known])  # type: ignore[misc]
    for first, second, cosine, mirrored in near_pairs(prints):
        one, other = known[first], known[second]
        if one.row.study_id == other.row.study_id:
            continue
        axes = f", mirrored along {' and '.join(mirrored)}" if mirrored else ""
        yield Copies(likeness="nearly", members=(one, other), detail=f"likeness {cosine:.4f}{axes}")
