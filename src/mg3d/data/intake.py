"""One scan on its way into the store: read, check, resample, write. Runs in a worker process.

The outcome says what happened; only the parent process writes the index.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mg3d.data.grid import GridConfig
from mg3d.data.hounsfield import check_hu
from mg3d.data.scan import ScanSource, read_scan
from mg3d.data.scan_error import ScanError
from mg3d.data.store import STORE_FILE, decode_volume, encode_volume, volume_path
from mg3d.data.volume import Volume
from mg3d.errors import DataError
from mg3d.files import sha256, write_atomic

_INTAKE_VERSION = 1
"""Raise it whenever the same scan would give other voxels; stored volumes are then made again."""


@dataclass(frozen=True, kw_only=True)
class ScanJob:
    """One scan to take in."""

    volume_id: str
    image: str
    """Relative to the manifest, for messages and provenance."""
    source: ScanSource
    store: Path
    geometry: GridConfig


@dataclass(frozen=True, kw_only=True)
class ScanOutcome:
    """What became of a scan; `problem` is "" when it is in the store."""

    volume_id: str
    image: str
    source_sha256: str = ""
    volume_sha256: str = ""
    warnings: tuple[str, ...] = ()
    problem: str = ""
    """A `ScanProblem`."""
    message: str = ""


def take_in(job: ScanJob) -> ScanOutcome:
    """Bring one scan into the store, or say why not.

    A volume that is there already, made from the same source with the same grid, is kept.

    Args:
        job: The scan.

    Returns:
        The outcome; an unusable scan is an outcome, not an exception.

    Raises:
        StorageError: If the store cannot be written; that concerns every scan.
    """
    try:
        kept = _existing(job)
        return kept if kept is not None else _make(job)
    except ScanError as error:
        return set_aside(job, error)
    except MemoryError:
        return set_aside(job, ScanError("too large for the memory at hand", "memory"))


def set_aside(job: ScanJob, error: ScanError) -> ScanOutcome:
    """The outcome of a scan that cannot be used; a volume made from it earlier is removed."""
    if volume_path(job.store, job.volume_id).exists():
        (job.store / STORE_FILE).unlink(missing_ok=True)
        volume_path(job.store, job.volume_id).unlink()
    return ScanOutcome(
        volume_id=job.volume_id, image=job.image, problem=error.kind, message=str(error)
    )


def _existing(job: ScanJob) -> ScanOutcome | None:
    """The outcome of an earlier run, if its volume still holds.

    As in make, a source older than the volume is taken for unchanged when its size agrees (the
    inode's change time counts too, so an old file moved into place is noticed); else its hash
    decides. Where the source is gone, an archive not mounted say, the volume stays.
    """
    path = volume_path(job.store, job.volume_id)
    try:
        content, made = path.read_bytes(), path.stat()
        _, facts = decode_volume(content, job.volume_id)
    except (OSError, DataError):
        return None
    if (facts.get("recipe"), facts.get("image")) != (_recipe(job), job.image):
        return None
    try:
        return (
            _taken(job, facts, content)
            if _holds(job.source.path, facts, made.st_mtime_ns)
            else None
        )
    except OSError as error:
        raise ScanError.from_os(error) from error


def _holds(source: Path, facts: dict[str, Any], made_ns: int) -> bool:
    """Whether a source still is what the volume was made from, or is gone."""
    if not source.exists():
        return True
    found = source.stat()
    if facts["source_bytes"] != found.st_size:
        return False
    untouched = max(found.st_mtime_ns, found.st_ctime_ns) < made_ns
    return untouched or _hash_file(source) == facts["source_sha256"]


def _make(job: ScanJob) -> ScanOutcome:
    scan = read_scan(job.source).volume
    warnings = [message for _, message in check_hu(scan.array)]
    volume = scan.to_grid(job.geometry)
    limits = np.iinfo(np.int16)
    hu = np.rint(volume.array).clip(limits.min, limits.max).astype(np.int16)
    facts = {
        "recipe": _recipe(job),
        "affine": volume.affine.tolist(),
        "image": job.image,
        "warnings": warnings,
        **_source_identity(job.source.path),
        **_source_geometry(scan),
    }
    content = encode_volume(hu, facts)
    # From here on the store's content changes, so it stops being whole until the index is new.
    (job.store / STORE_FILE).unlink(missing_ok=True)
    write_atomic(volume_path(job.store, job.volume_id), content)
    return _taken(job, facts, content)


def _taken(job: ScanJob, facts: dict[str, Any], content: bytes) -> ScanOutcome:
    return ScanOutcome(
        volume_id=job.volume_id,
        image=job.image,
        source_sha256=facts["source_sha256"],
        volume_sha256=sha256(content),
        warnings=tuple(facts["warnings"]),
    )


def _recipe(job: ScanJob) -> dict[str, Any]:
    """All that decides the voxels, besides the source."""
    geometry = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(job.geometry).items()
    }
    return {"intake": _INTAKE_VERSION, "geometry": geometry}


def _source_identity(source: Path) -> dict[str, Any]:
    try:
        return {"source_bytes": source.stat().st_size, "source_sha256": _hash_file(source)}
    except OSError as error:
        raise ScanError.from_os(error) from error


def _source_geometry(scan: Volume) -> dict[str, Any]:
    return {
        "source_shape": list(scan.shape),
        "source_spacing_mm": list(scan.spacing_mm),
        "source_affine": scan.affine.tolist(),
    }


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
