"""TableError: why a table cannot be read at all, with the name of its fault."""

from typing import Self

from mg3d.data.faults import FAULTS
from mg3d.errors import DataError


class TableError(DataError):
    """A table is missing, damaged or lacks a column: nothing can be prepared from it."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        if kind not in FAULTS:
            raise ValueError(f"fault {kind!r} is not in the table")
        self.kind = kind

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (str(self), self.kind)
