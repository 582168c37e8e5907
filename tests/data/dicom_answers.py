"""What the DICOM reader answers: a scan, the kinds of its faults, the kind of its refusal."""

from pathlib import Path

import pytest

from mg3d.data.reading import read_scan
from mg3d.data.scan import Scan, ScanSource
from mg3d.data.scan_error import ScanError


def read(path: Path, **facts: object) -> Scan:
    """Read a file or folder; ``facts`` are what a manifest may say of it."""
    return read_scan(ScanSource(path=path, **facts))


def kinds(scan: Scan) -> list[str]:
    """Of the faults of a scan, in their order."""
    return [kind for kind, _ in scan.faults]


def refused(path: Path, **facts: object) -> str:
    """The kind of the error that reading ends with."""
    with pytest.raises(ScanError) as caught:
        read(path, **facts)
    return caught.value.kind
