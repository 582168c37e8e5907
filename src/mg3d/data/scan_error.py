"""ScanError: why one scan cannot be used, with the name of its fault."""

from collections.abc import Callable
from typing import Self

from mg3d.data.faults import FAULTS
from mg3d.errors import DataError


class ScanError(DataError):
    """One scan or its report is unusable; a batch job sets it aside and goes on."""

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        if kind not in FAULTS:
            raise ValueError(f"fault {kind!r} is not in the table")
        self.kind = kind

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (str(self), self.kind)

    @classmethod
    def from_os(cls, error: OSError) -> Self:
        """What the system says about a source that it does not let us read."""
        return cls(
            f"{error.strerror or type(error).__name__} while reading the file. Check its rights "
            "and the disk, then run the same command again."
        )


def ask(question: Callable[[], bool]) -> bool:
    """The answer of the file system, which may refuse one: no rights, a disk that fails."""
    try:
        return question()
    except OSError as error:
        raise ScanError.from_os(error) from error
