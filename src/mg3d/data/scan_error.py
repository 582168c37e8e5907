"""ScanError: why one scan cannot be used, with a word that groups such reasons in a table."""

from typing import Literal, Self

from mg3d.errors import DataError

ScanProblem = Literal[
    "missing_file", "missing_report", "unreadable", "geometry", "not_hu", "memory", "worker_killed"
]


class ScanError(DataError):
    """One scan or its report is unusable; a batch job sets it aside and goes on."""

    def __init__(self, message: str, kind: ScanProblem = "unreadable") -> None:
        super().__init__(message)
        self.kind: ScanProblem = kind

    @classmethod
    def from_os(cls, error: OSError) -> Self:
        """What the system says about a source that it does not let us read."""
        return cls(
            f"{error.strerror or type(error).__name__} while reading the file. Check its rights "
            "and the disk, then run the same command again."
        )
