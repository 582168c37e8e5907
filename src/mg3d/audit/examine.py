"""One scan under the audit's eyes: hash, read, check, measure. Runs in a worker process.

What was found goes into a cache at once, so an audit stopped anywhere goes on where it was. A
file is read from the disk once: it is decoded right after it was hashed.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mg3d.audit.checksums import cached_checksums
from mg3d.audit.thumbnail import thumbnail
from mg3d.audit.volume_facts import Geometry, VolumeFacts, content_facts
from mg3d.data import examination
from mg3d.data.scan import ScanSource, read_scan, source_files
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

    Returns:
        Its facts; an unusable scan has a fault, it is not an exception.

    Raises:
        StorageError: If the cache cannot be written; that concerns every scan.
    """
    path = job.out / FACTS_FOLDER / f"{job.volume_id}.json"
    known = _known(path)
    try:
        paths = source_files(job.source)
        stamp = _stamp(job, paths)
        if known.get("stamp") == stamp:
            return Examined(volume_id=job.volume_id, facts=VolumeFacts.from_json(known["facts"]))
        sums = [_hash_file(file) for file in paths]
        num_bytes = sum(file.stat().st_size for file in paths)
    except OSError as error:
        return failed(job, ScanError.from_os(error))
    except ScanError as error:
        return failed(job, error)
    base = VolumeFacts(
        num_files=len(paths),
        num_bytes=num_bytes,
        sha256=sums[0] if len(sums) == 1 else sha256("".join(sums).encode()),
        faults=_compare_checksums(job, paths, sums),
    )
    facts, picture = _look(job.source, base)
    if picture:
        write_atomic(job.out / THUMBNAIL_FOLDER / f"{job.volume_id}.png", picture)
    volume_id, study_id, patient_id = job.ids
    write_json(
        path,
        {
            "stamp": stamp,
            "volume_id": volume_id,
            "study_id": study_id,
            "patient_id": patient_id,
            "facts": facts.to_json(),
        },
    )
    return Examined(volume_id=job.volume_id, facts=facts)


def failed(job: AuditJob, error: ScanError) -> Examined:
    """The facts of a scan that could not even be opened; not cached, since that may change."""
    return Examined(volume_id=job.volume_id, facts=VolumeFacts(faults=((error.kind, str(error)),)))


def _known(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        VolumeFacts.from_json(document["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return document if isinstance(document, dict) else {}


def _stamp(job: AuditJob, paths: Sequence[Path]) -> str:
    """Hash of all that decides the facts, with the files' sizes and times instead of content.

    Without their paths: data that moves as a whole, times kept, need not be looked at again.
    """
    stats = [path.stat() for path in paths]
    files = [
        [str(path), stat.st_size, stat.st_mtime_ns] for path, stat in zip(paths, stats, strict=True)
    ]
    stated = asdict(job.source.stated)
    listed = None if job.checksums is None else cached_checksums(job.checksums)
    sums = None if listed is None else [listed.get(path.resolve()) for path in paths]
    document = [_AUDIT_VERSION, job.ids, job.source.series_uid, stated, files, sums]
    return sha256(json.dumps(document, sort_keys=True).encode())


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
        scan = read_scan(source)
    except ScanError as error:
        return _with(base, ((error.kind, str(error)),)), b""
    except MemoryError:
        return _with(base, (("memory", "too large for the memory at hand"),)), b""
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
