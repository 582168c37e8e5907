"""The faults that data can have: their names, how bad each is and what to do about it.

One vocabulary for readers, layouts, `mg3d audit` and `mg3d prepare`, so that the same fault has
the same name wherever it shows. A fault concerns one scan, one report or a table of them.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""error: unusable or misleading, never trained on; warning: usable, look at it; note: a fact."""
Action = Literal["stop", "set_aside", "keep"]
"""What `prepare` does: nothing is written; all but this scan is; all is, and the fault recorded."""


@dataclass(frozen=True)
class FaultKind:
    """What is common to all faults of one name."""

    severity: Severity
    action: Action
    title: str
    """A few words, as a heading of the audit."""
    remedy: str
    """What to do, one sentence."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, found at one place."""

    kind: str
    """A key of `FAULTS`."""
    message: str
    """Value and what is allowed; neither report text nor anything personal."""
    place: str = ""
    """Line or file of a table, relative to the data folder."""
    volume_id: str = ""
    study_id: str = ""
    patient_id: str = ""

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise ValueError(f"fault {self.kind!r} is not in the table")

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return FAULTS[self.kind].severity

    @property
    def action(self) -> Action:
        """What `prepare` does about it."""
        return FAULTS[self.kind].action


def _aside(title: str, remedy: str) -> FaultKind:
    return FaultKind("error", "set_aside", title, remedy)


def _stop(title: str, remedy: str) -> FaultKind:
    return FaultKind("error", "stop", title, remedy)


def _warn(title: str, remedy: str) -> FaultKind:
    return FaultKind("warning", "keep", title, remedy)


def _note(title: str, remedy: str = "Nothing, if this is what you expect.") -> FaultKind:
    return FaultKind("note", "keep", title, remedy)


_AGAIN = "Copy or export the file again."
_IN_HU = "Export the series again in Hounsfield units."

_FILES = {
    "missing_file": _aside("File missing", "Correct the path or copy the file."),
    "unreadable": _aside("Not readable", _AGAIN),
    "memory": _aside("Too large for the memory", "Use fewer workers or a larger machine."),
    "worker_killed": _aside("Killed its worker", "Look at the file with another program."),
}
_HU = {
    "not_hu": _aside("Not in Hounsfield units", _IN_HU),
}
_GEOMETRY = {
    "geometry": _aside("Geometry unusable", _AGAIN),
}
_REPORTS = {
    "missing_report": _aside("No report", "Add one, or set keep_without_report."),
}
_TABLES = {
    "table": _stop("Table inconsistent", "Correct the rows named."),
}

FAULTS: dict[str, FaultKind] = _FILES | _HU | _GEOMETRY | _REPORTS | _TABLES
"""Name -> kind. Names are stable: they stand in quarantine files, audits and indices."""
