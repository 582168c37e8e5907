"""The collection: every volume of a site with its row, its split and what was seen of it."""

import re
from dataclasses import dataclass

from mg3d.audit.examine import facts_name
from mg3d.audit.volume_facts import VolumeFacts
from mg3d.data.faults import FAULTS, Fault
from mg3d.data.layouts.catalogue import CatalogueRow
from mg3d.data.splits import Split, SplitConfig, split_of

_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,199}")


def plain(name: str) -> str:
    """An id as the audit may show it: where columns are mixed up, an id is a report or a person."""
    return name if _PLAIN_ID.fullmatch(name) else f"({len(name)} characters)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One volume of the collection."""

    row: CatalogueRow
    facts: VolumeFacts
    split: Split

    @property
    def name(self) -> str:
        """Of its facts and thumbnail."""
        return facts_name(self.row.volume_id, self.row.image, self.row.source)

    @property
    def usable(self) -> bool:
        """Whether its voxels are CT numbers in a known place, so that comparing them is fair."""
        broken = any(FAULTS[kind].action == "set_aside" for kind, _ in self.facts.faults)
        return self.facts.hu is not None and not broken

    def fault(self, kind: str, message: str) -> Fault:
        """A fault of this volume."""
        return Fault(
            kind=kind,
            message=message,
            place=self.row.place,
            volume_id=plain(self.row.volume_id),
            study_id=plain(self.row.study_id),
            patient_id=plain(self.row.patient_id),
        )

    def own_faults(self) -> list[Fault]:
        """What this scan alone shows."""
        return [self.fault(kind, message) for kind, message in self.facts.faults]


def member(row: CatalogueRow, facts: VolumeFacts, settings: SplitConfig) -> Member:
    """A row with its facts; where the site names no split, the one that `prepare` would give."""
    return Member(row=row, facts=facts, split=row.split or split_of(row.patient_id, settings))
