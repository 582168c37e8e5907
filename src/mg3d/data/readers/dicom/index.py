"""Which DICOM series lie below a folder: one pass over headers, no pixels.

For layouts that match series with reports. Patient ids and accession numbers are given as they
are, because reports are found by them; they are personal, and do not show in an entry's text.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import joblib

from mg3d.data.readers.dicom.files import find_files
from mg3d.data.readers.dicom.header import FileHeader, read_file_header
from mg3d.data.scan_error import ScanError


@dataclass(frozen=True, kw_only=True)
class SeriesEntry:
    """One series, or the files of one that holds no images."""

    path: Path
    """The deepest folder that holds all its files."""
    series_uid: str = field(repr=False)
    """For `ScanSource.series_uid`; "" where the files carry none."""
    study_uid: str = field(repr=False)
    accession_number: str = field(repr=False)
    patient_id: str = field(repr=False)
    files: tuple[Path, ...]
    modality: str
    """Code of one of the usual modalities, e.g. CT, MR, PT, SR, SEG; "" for any other text."""
    is_image: bool
    """Whether it has slices of a CT: neither only localizers or captures, nor another modality."""
    num_slices: int
    """Of a CT; 0 unless ``is_image``."""


def index_dicom(
    folder: Path,
    *,
    num_workers: int = 1,
    on_damage: Callable[[Path, ScanError], None] | None = None,
) -> tuple[SeriesEntry, ...]:
    """List the series below a folder, sorted by folder and UID.

    Args:
        folder: Looked into with all its sub-folders.
        num_workers: Processes that read headers; 1 = this one.
        on_damage: Told of each file that begins as DICOM and cannot be read; the file is then in
            no entry.

    Raises:
        ScanError: If the file system refuses to list a folder.
    """
    paths = list(find_files(folder))
    found = joblib.Parallel(n_jobs=num_workers)(joblib.delayed(_header)(path) for path in paths)
    groups: dict[tuple[str, ...], list[FileHeader]] = {}
    for path, header in zip(paths, found, strict=True):
        if isinstance(header, ScanError):
            if on_damage is not None:
                on_damage(path, header)
        elif header is not None:
            groups.setdefault(header.series_key, []).append(header)
    entries = [_entry(headers) for headers in groups.values()]
    return tuple(sorted(entries, key=lambda entry: (entry.path.as_posix(), entry.series_uid)))


def _header(path: Path) -> FileHeader | ScanError | None:
    try:
        return read_file_header(path)
    except ScanError as error:
        return error


def _entry(headers: list[FileHeader]) -> SeriesEntry:
    num_slices = sum(
        frame.role in ("original", "derived") for header in headers for frame in header.frames
    )
    return SeriesEntry(
        path=Path(os.path.commonpath([header.path.parent for header in headers])),
        series_uid=headers[0].series_uid,
        study_uid=headers[0].study_uid,
        accession_number=_most(header.accession_number for header in headers),
        patient_id=_most(header.patient_id for header in headers),
        files=tuple(header.path for header in headers),
        modality=_most(header.modality for header in headers),
        is_image=num_slices > 0,
        num_slices=num_slices,
    )


def _most(values: Iterable[str]) -> str:
    """What most files say; at a tie, what the first of them says."""
    return Counter(values).most_common(1)[0][0]
