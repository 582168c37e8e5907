"""Notices: what the tables of a site have wrong that does not stop `mg3d prepare`."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from mg3d.data.faults import FAULTS, Fault
from mg3d.progress import console

_MOST_PLACES = 3
_ORDER = ("error", "warning", "note")


def show_notices(faults: Sequence[Fault]) -> None:
    """Print one line a kind: how often, the first in full, and where the next ones are.

    Args:
        faults: What a layout noticed; only what `prepare` keeps is shown, since it stops on some of
            the rest and sets volumes aside for the others.
    """
    by_kind: dict[str, list[Fault]] = {}
    for fault in faults:
        if fault.action == "keep":
            by_kind.setdefault(fault.kind, []).append(fault)
    if not by_kind:
        return
    table = Table(title="noticed in the tables", title_justify="left")
    for name in ("severity", "fault", "count", "first", "what to do"):
        table.add_column(name, overflow="fold", no_wrap=name == "fault")
    for kind in sorted(by_kind, key=lambda kind: (_ORDER.index(FAULTS[kind].severity), kind)):
        found = by_kind[kind]
        cells = (FAULTS[kind].severity, kind, str(len(found)), _first(found), FAULTS[kind].remedy)
        table.add_row(*map(escape, cells))
    console.print(table)


def _first(faults: Sequence[Fault]) -> str:
    """The first fault, and the places of the next."""
    first = f"{faults[0].place}: {faults[0].message}" if faults[0].place else faults[0].message
    places = list(dict.fromkeys(fault.place for fault in faults[1:] if fault.place))
    if not places:
        return first
    more = ", ..." if len(places) > _MOST_PLACES else ""
    return f"{first}; also {', '.join(places[:_MOST_PLACES])}{more}"
