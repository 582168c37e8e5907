"""Labels: a table of findings, one row a volume or a study, matched to what a site has."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import shown
from mg3d.data.layouts.matching import match_faults
from mg3d.data.layouts.table import Record, Table
from mg3d.data.layouts.table_error import TableError

VALUES = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "": math.nan, "nan": math.nan}
"""What a cell may hold; NaN: not known."""


@dataclass(frozen=True)
class LabelTable:
    """Findings of volumes or studies."""

    place: str
    """The file's name, for messages."""
    names: tuple[str, ...]
    values: dict[str, tuple[float, ...]]
    """Key -> 1, 0 or NaN for each name."""
    places: dict[str, str]
    """Key -> file and line."""

    def of(self, key: str) -> tuple[float, ...]:
        """The labels of a key, NaN where it has none."""
        return self.values.get(key, (math.nan,) * len(self.names))

    def renamed(self, rename: Callable[[str], str]) -> Self:
        """The same labels under other keys."""
        return replace(
            self,
            values={rename(key): value for key, value in self.values.items()},
            places={rename(key): place for key, place in self.places.items()},
        )

    def only(self, keep: Callable[[str], bool]) -> Self:
        """The labels of some keys."""
        return replace(
            self,
            values={key: value for key, value in self.values.items() if keep(key)},
            places={key: place for key, place in self.places.items() if keep(key)},
        )

    def joined(self, other: Self, faults: list[Fault]) -> Self:
        """The rows of two tables of the same findings.

        Args:
            other: Another table; the order of its columns may differ.
            faults: Keys that both have are added here.

        Raises:
            TableError: If the findings differ.
        """
        if set(other.names) != set(self.names):
            raise TableError(
                f"{other.place}: its {len(other.names)} findings are not the {len(self.names)} of "
                f"{self.place}",
                "table_columns",
            )
        for key in self.values.keys() & other.values.keys():
            message = f"{shown(key)} has labels already in {self.places[key]}"
            faults.append(Fault(kind="label_twice", message=message, place=other.places[key]))
        order = [other.names.index(name) for name in self.names]
        values = {key: tuple(row[i] for i in order) for key, row in other.values.items()}
        return replace(
            self,
            place=f"{self.place}, {other.place}",
            values=values | self.values,
            places=other.places | self.places,
        )

    def match(self, keys: Collection[str], what: str) -> list[Fault]:
        """What of the table, and what of a site, has no counterpart.

        Args:
            keys: Studies or volumes of the site.
            what: "study" or "volume", for messages.
        """
        faults = match_faults(
            self.place, self.places, keys, none="label_no_match", orphan="label_orphan", what=what
        )
        missing = len(set(keys).difference(self.values))
        if missing and len(self.values) and missing < len(set(keys)):
            message = f"{missing} of {len(set(keys))} {what} ids have no labels"
            faults.append(Fault(kind="label_missing", message=message, place=self.place))
        return faults


def read_labels(
    table: Table,
    key: str,
    faults: list[Fault],
    *,
    values: Mapping[str, float] = VALUES,
    private: bool = False,
) -> LabelTable:
    """The labels of a table.

    Args:
        table: One column ``key`` and one column a finding.
        key: Column of the study or volume.
        faults: Cells and rows that cannot be right are added here.
        values: Meaning of a cell.
        private: Whether keys are personal, so that no message may hold one.

    Raises:
        TableError: If a column is missing.
    """
    taken = tuple(column for column in table.columns if column != key)
    if key not in table.columns or not taken:
        raise TableError(
            f"{table.path}: a label table has {key} and one column a finding, named by its first "
            "line",
            "table_columns",
        )
    found: dict[str, tuple[float, ...]] = {}
    places: dict[str, str] = {}
    for record in table.records:
        name = record.text(key)
        if name in found:
            who = "its study" if private else shown(name)
            message = f"{who} has labels already in {places[name]}"
            faults.append(Fault(kind="label_twice", message=message, place=record.place))
            continue
        found[name] = row_labels(record, taken, faults, values=values)
        places[name] = record.place
    return LabelTable(table.path.name, taken, found, places)


def row_labels(
    record: Record,
    columns: Iterable[str],
    faults: list[Fault],
    *,
    values: Mapping[str, float] = VALUES,
    prefix: str = "",
) -> tuple[float, ...]:
    """The labels of one row: the cells of ``prefix + column``."""
    return tuple(
        _label(record.text(prefix + column), f"{record.place}, label {column!r}", faults, values)
        for column in columns
    )


def _label(text: str, place: str, faults: list[Fault], values: Mapping[str, Any]) -> float:
    value = values.get(text.lower())
    if value is None:
        allowed = ", ".join(key for key in values if key and key != "nan" and "." not in key)
        message = f"a label is {allowed} or empty, not {len(text)} characters"
        faults.append(Fault(kind="label_value", message=message, place=place))
        return math.nan
    return float(value)
