"""One scan under the audit's eyes: hash, read, check, measure. Runs in a worker process.

What was found goes into a cache at once, so an audit stopped anywhere goes on where it was. A
file is read from the disk once: it is decoded right after it was hashed.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mg3d.audit.checksums import cached_checksums
from mg3d.audit.thumbnail import thumbnail
from mg3d.audit.volume_facts import Geometry, VolumeFacts, content_facts
from mg3d.data import examination
from mg3d.data.reading import read_scan, source_files
from mg3d.data.scan import Scan, ScanSource
from mg3d.data.scan_error import ScanError
from mg3d.files import sha256, write_atomic, write_json

FACTS_FOLDER = "facts"
THUMBNAIL_FOLDER = "thumbnails"
_AUDIT_VERSION = 1
"""Raise it whenever the same scan would give other facts; scans are then looked at again."""


@dataclass(frozen=True, kw_only=True)
class AuditJob:
    """One scan to look at."""

    volume_id: str
    """Name of its facts and of its thumbnail: see `facts_name`."""
    ids: tuple[str, str, str]
    """Volume, study and patient as the audit shows them; in the cache, so that a patient can be
    removed from it."""
    source: ScanSource
    out: Path
    checksums: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What came of a job."""

    volume_id: str
    facts: VolumeFacts


def facts_name(volume_id: str, image: str, source: ScanSource) -> str:
    """A name for a row of the catalogue that is safe as a file's, even where its ids are not."""
    return sha256("\x1f".join((volume_id, image, source.series_uid)).encode())[:24]


def examine(job: AuditJob) -> Examined:
    """Look at one scan, unless the cache knows it.

    As in make, files of the same sizes and times are taken for unchanged; else their hash decides.

    Returns:
        Its facts; an unusable scan has a fault, it is not an exception.

    Raises:
        StorageError: If the cache cannot be written; that concerns every scan.
    """
    known = _known(job)
    try:
        paths = source_files(job.source)
        key, times = _key(job, paths), _times(paths)
        if known is not None and (known.key, known.times) == (key, times):
            return Examined(volume_id=job.volume_id, facts=known.facts)
        sums = [_hash_file(path) for path in paths]
    except OSError as error:
        return failed(job, ScanError.from_os(error))
    except ScanError as error:
        return failed(job, error)
    content = sums[0] if len(sums) == 1 else sha256("".join(sums).encode())
    if known is not None and (known.key, known.facts.sha256) == (key, content):
        _remember(job, _Known(key, times, known.facts))
        return Examined(volume_id=job.volume_id, facts=known.facts)
    base = VolumeFacts(
        num_files=len(paths),
        num_bytes=sum(size for size, _ in times),
        sha256=content,
        faults=_compare_checksums(job, paths, sums),
    )
    facts, picture = _look(job.source, base)
    _remember(job, _Known(key, times, facts))
    if picture:  # after the facts, which say whose it is: no picture is ever nobody's
        write_atomic(_picture_path(job), picture)
    else:
        _picture_path(job).unlink(missing_ok=True)
    return Examined(volume_id=job.volume_id, facts=facts)


def failed(job: AuditJob, error: ScanError) -> Examined:
    """The facts of a scan that could not even be opened; not cached, since that may change."""
    return Examined(volume_id=job.volume_id, facts=VolumeFacts(faults=((error.kind, str(error)),)))


class _Known(NamedTuple):
    """What the cache holds of a scan."""

    key: str
    times: list[list[int]]
    facts: VolumeFacts


def _known(job: AuditJob) -> _Known | None:
    """What the cache knows; None for nothing, or for what a killed run left half written."""
    try:
        document = json.loads(_facts_path(job).read_text(encoding="utf-8"))
        facts = VolumeFacts.from_json(document["facts"])
        known = _Known(document["key"], document["times"], facts)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known if facts.hu is None or _picture_path(job).exists() else None


def _remember(job: AuditJob, known: _Known) -> None:
    volume_id, study_id, patient_id = job.ids
    document = {
        "key": known.key,
        "times": known.times,
        "volume_id": volume_id,
        "study_id": study_id,
        "patient_id": patient_id,
        "facts": known.facts.to_json(),
    }
    write_json(_facts_path(job), document)


def _facts_path(job: AuditJob) -> Path:
    return job.out / FACTS_FOLDER / f"{job.volume_id}.json"


def _picture_path(job: AuditJob) -> Path:
    return job.out / THUMBNAIL_FOLDER / f"{job.volume_id}.png"


def _key(job: AuditJob, paths: Sequence[Path]) -> str:
    """Hash of all that decides the facts besides the content of the files.

    Without their paths: data that moves as a whole need not be looked at again.
    """
    listed = None if job.checksums is None else cached_checksums(job.checksums)
    sums = None if listed is None else [listed.get(path.resolve()) for path in paths]
    source = [job.source.series_uid, asdict(job.source.stated)]
    document = [version("mg3d"), _AUDIT_VERSION, job.ids, source, sums]
    return sha256(json.dumps(document, sort_keys=True).encode())


def _times(paths: Sequence[Path]) -> list[list[int]]:
    """Size and time of change of each file."""
    return [[status.st_size, status.st_mtime_ns] for status in map(os.stat, paths)]


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _compare_checksums(
    job: AuditJob, paths: Sequence[Path], sums: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    if job.checksums is None:
        return ()
    listed = cached_checksums(job.checksums)
    wrong = sum(
        listed.get(path.resolve(), found) != found for path, found in zip(paths, sums, strict=True)
    )
    if not wrong:
        return ()
    message = f"{wrong} of {len(paths)} file(s) differ from the SHA-256 in the list of checksums"
    return (("file_checksum", message),)


def _look(source: ScanSource, base: VolumeFacts) -> tuple[VolumeFacts, bytes]:
    """Read, check and measure; facts and thumbnail as far as the scan lets us."""
    try:
        return _measure(read_scan(source), base)
    except ScanError as error:
        return _with(base, ((error.kind, str(error)),)), b""
    except MemoryError:
        return _with(base, (("memory", "too large for the memory at hand"),)), b""


def _measure(scan: Scan, base: VolumeFacts) -> tuple[VolumeFacts, bytes]:
    try:
        seen = examination.examine(scan)
        litres = seen.facts.lung_litres
        facts = replace(
            _with(base, seen.faults), lung_litres=None if litres is None else round(litres, 3)
        )
    except ScanError as error:  # not HU: what prepare would say
        facts = _with(base, (*scan.faults, (error.kind, str(error))))
    values = scan.volume.array
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return replace(facts, geometry=Geometry.of(scan.volume)), b""
    return replace(facts, **content_facts(scan.volume)), thumbnail(scan.volume)


def _with(facts: VolumeFacts, faults: tuple[tuple[str, str], ...]) -> VolumeFacts:
    return replace(facts, faults=(*facts.faults, *faults))
