"""One scan on its way into the store: read, check, resample, write. Runs in a worker process.

The outcome says what happened; only the parent process writes the index.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mg3d.data.examination import examine
from mg3d.data.faults import FAULTS
from mg3d.data.grid import GridConfig
from mg3d.data.preparation.identity import holds, identify
from mg3d.data.reading import read_scan
from mg3d.data.scan import Scan, ScanSource, Stated
from mg3d.data.scan_error import ScanError
from mg3d.data.store import STORE_FILE, volume_path
from mg3d.data.volume import Volume
from mg3d.data.volume_file import VolumeHeader, encode_volume, header_of, is_intact, read_header
from mg3d.errors import DataError
from mg3d.files import write_atomic

_INTAKE_VERSION = 2
"""Raise it whenever the same scan would give other voxels or other faults; stored volumes are then
made again."""


@dataclass(frozen=True, kw_only=True)
class ScanJob:
    """One scan to take in."""

    volume_id: str
    image: str
    """Relative to the manifest, for messages and provenance."""
    source: ScanSource
    store: Path
    geometry: GridConfig
    verify: bool = False
    """Read the voxels of a volume that is there already, and make it again if they are damaged."""


@dataclass(frozen=True, kw_only=True)
class ScanOutcome:
    """What became of a scan; `problem` is "" when it is in the store."""

    volume_id: str
    image: str
    source_sha256: str = ""
    volume_sha256: str = ""
    faults: tuple[tuple[str, str], ...] = ()
    """(kind, message) of what was noticed about a scan that is in the store."""
    problem: str = ""
    """Kind of the fault for which the scan is not in the store."""
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
    _break_index(job)
    volume_path(job.store, job.volume_id).unlink(missing_ok=True)
    return ScanOutcome(
        volume_id=job.volume_id, image=job.image, problem=error.kind, message=str(error)
    )


def encode_scan(job: ScanJob) -> bytes:
    """The volume file of a scan: what `take_in` writes.

    Raises:
        ScanError: If the scan cannot be used.
    """
    identity = identify(job.source)
    scan = read_scan(job.source)
    faults = _faults(scan)
    volume = scan.volume.to_grid(job.geometry)
    limits = np.iinfo(np.int16)
    hu = np.rint(volume.array).clip(limits.min, limits.max).astype(np.int16)
    facts = {
        "recipe": _recipe(job),
        "affine": volume.affine.tolist(),
        "image": job.image,
        "faults": [list(fault) for fault in faults],
        **identity.to_json(),
        **_source_geometry(scan.volume),
    }
    return encode_volume(hu, facts)


def _existing(job: ScanJob) -> ScanOutcome | None:
    """The outcome of an earlier run, if its volume still holds."""
    path = volume_path(job.store, job.volume_id)
    try:
        header, made_ns = read_header(path, job.volume_id), path.stat().st_mtime_ns
        damaged = job.verify and not is_intact(path, header)
    except (OSError, DataError):
        return None
    if damaged or (header.facts.get("recipe"), header.facts.get("image")) != (
        _recipe(job),
        job.image,
    ):
        return None
    return _taken(job, header) if holds(job.source, header.facts, made_ns) else None


def _make(job: ScanJob) -> ScanOutcome:
    content = encode_scan(job)
    _break_index(job)
    write_atomic(volume_path(job.store, job.volume_id), content)
    return _taken(job, header_of(content, job.volume_id))


def _break_index(job: ScanJob) -> None:
    """Before a volume changes that an index may name, the store stops being whole; a volume that is
    new leaves it whole, so that a store can be read while it grows."""
    if volume_path(job.store, job.volume_id).exists():
        (job.store / STORE_FILE).unlink(missing_ok=True)


def _taken(job: ScanJob, header: VolumeHeader) -> ScanOutcome:
    return ScanOutcome(
        volume_id=job.volume_id,
        image=job.image,
        source_sha256=header.facts["source_sha256"],
        volume_sha256=header.sha256,
        faults=tuple((kind, message) for kind, message in header.facts["faults"]),
    )


def _faults(scan: Scan) -> tuple[tuple[str, str], ...]:
    """Everything noticed about a scan, if nothing of it is a reason to set it aside."""
    faults = examine(scan).faults
    for kind, message in faults:
        if FAULTS[kind].action != "keep":
            raise ScanError(message, kind)
    return faults


def _recipe(job: ScanJob) -> dict[str, Any]:
    """All that decides the voxels, besides the files."""
    recipe: dict[str, Any] = {"intake": _INTAKE_VERSION, "geometry": _plain(asdict(job.geometry))}
    if job.source.stated != Stated():
        recipe["stated"] = _plain(asdict(job.source.stated))
    return recipe


def _plain(value: Any) -> Any:
    """Tuples as lists, as they come back from JSON."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _source_geometry(scan: Volume) -> dict[str, Any]:
    return {
        "source_shape": list(scan.shape),
        "source_spacing_mm": list(scan.spacing_mm),
        "source_affine": scan.affine.tolist(),
    }
