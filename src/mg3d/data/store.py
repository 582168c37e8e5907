"""The store: volumes on the model grid with their reports, as files that any tool can read.

``store.json`` is written last and removed first, so a store that has it is whole. Nothing in it
depends on when, where or with how many workers it was made.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mg3d.data.grid import GridConfig
from mg3d.data.splits import Split, SplitConfig
from mg3d.data.text.clauses import ClauseRule
from mg3d.data.text.reports import Report
from mg3d.data.volume import Volume
from mg3d.data.volume_file import VolumeHeader, map_voxels, read_header, read_voxels
from mg3d.errors import DataError
from mg3d.files import sha256

SCHEMA = "mg3d.store/3"
STORE_FILE = "store.json"
PREPARING_FILE = "preparing.json"
REMOVING_FILE = "removing.json"
INDEX_FILE = "index.jsonl"
REPORTS_FILE = "reports.jsonl"
QUARANTINE_FILE = "quarantine.jsonl"
VOLUME_FOLDER = "volumes"
_LABELS = {None: math.nan, 0: 0.0, 1: 1.0}
"""What an index says of a label -> the number, one object for all rows."""


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """What shaped a store; two stores with equal settings and sources have equal bytes."""

    geometry: GridConfig = field(default_factory=GridConfig)
    """The model grid."""
    clauses: ClauseRule = "sentence"
    """Clause rule that training and prompts must follow."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Used where the manifest names no split."""
    keep_without_report: bool = False
    """Whether volumes without a report are in the store."""
    mask_identifiers: bool = False
    """Whether names, numbers and dates in the reports were masked."""

    def to_json(self) -> dict[str, Any]:
        """Nested dictionaries and lists."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            geometry=GridConfig(**content["geometry"]),
            clauses=content["clauses"],
            split=SplitConfig(**content["split"]),
            keep_without_report=content["keep_without_report"],
            mask_identifiers=content.get("mask_identifiers", False),  # stores made before masking
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreRow:
    """One volume of the index."""

    volume_id: str
    study_id: str
    patient_id: str
    report_id: str
    """Hash of the normalised report; "" without one."""
    split: Split
    image: str
    """Source file, relative to the manifest it came from."""
    source_sha256: str
    volume_sha256: str
    """Of the file's header, which holds the hash of the voxels (`mg3d.data.volume_file`)."""
    faults: tuple[tuple[str, str], ...] = ()
    """(kind, message) of what was noticed about scan and report; kinds are those of
    `mg3d.data.faults.FAULTS`."""
    labels: tuple[float, ...] = ()
    """1, 0 or NaN for unknown, in the order of the store's label names."""

    def to_json(self) -> dict[str, Any]:
        """As a line of the index; unknown labels are null."""
        labels = [None if math.isnan(value) else value for value in self.labels]
        faults = [{"kind": kind, "message": message} for kind, message in self.faults]
        return {**asdict(self), "labels": labels, "faults": faults}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        labels = tuple(_LABELS[value] for value in content["labels"])
        faults = tuple((fault["kind"], fault["message"]) for fault in content["faults"])
        return cls(**{**content, "labels": labels, "faults": faults})


class VolumeStore:
    """A whole store, opened for reading; volumes are read from the disk when asked for.

    Open it with `VolumeStore.open`.
    """

    def __init__(
        self, path: Path, settings: StoreSettings, rows: tuple[StoreRow, ...],
        reports: dict[str, Report], label_names: tuple[str, ...], content_hash: str,
    ) -> None:  # fmt: skip
        self.path = path
        self.settings = settings
        self.rows = rows
        self.label_names = label_names
        self.content_hash = content_hash
        self._reports = reports
        self._by_volume = {row.volume_id: row for row in rows}

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a store.

        Args:
            path: The folder that `mg3d prepare` wrote.

        Raises:
            DataError: No store, half-written, of another schema, or changed since.
        """
        path = Path(path)
        description = read_description(path)
        try:
            index = (path / INDEX_FILE).read_bytes()
            reports = (path / REPORTS_FILE).read_bytes()
        except FileNotFoundError as error:
            missing = Path(error.filename).name
            raise DataError(f"{path}: {missing} is missing; copy the whole store again") from error
        settings, label_names = description["settings"], description["label_names"]
        if hash_content(settings, label_names, index, reports) != description["content_hash"]:
            raise DataError(
                f"{path}: {INDEX_FILE}, {REPORTS_FILE} and {STORE_FILE} do not belong together; "
                "the store was edited or copied in part. Run `mg3d prepare` with the same options "
                "again, or copy it again."
            )
        return cls(
            path,
            StoreSettings.from_json(settings),
            tuple(StoreRow.from_json(json.loads(line)) for line in index.splitlines()),
            {
                row["study_id"]: Report(row["findings"], row["impression"])
                for row in map(json.loads, reports.splitlines())
            },
            tuple(label_names),
            description["content_hash"],
        )

    def __len__(self) -> int:
        return len(self.rows)

    def without_tables(self) -> "VolumeStore":
        """The same store for reading volumes alone: light enough for every worker process."""
        return VolumeStore(self.path, self.settings, (), {}, self.label_names, self.content_hash)

    def select(self, *splits: Split) -> tuple[StoreRow, ...]:
        """Rows of the given splits, in the order of the index."""
        return tuple(row for row in self.rows if row.split in splits)

    def row(self, volume_id: str) -> StoreRow:
        """The row of one volume.

        Raises:
            DataError: If the store does not hold it.
        """
        if volume_id not in self._by_volume:
            raise DataError(f"{self.path}: no volume {volume_id!r} in this store")
        return self._by_volume[volume_id]

    def report(self, study_id: str) -> Report:
        """The report of a study, empty where it has none."""
        return self._reports.get(study_id, Report())

    def read_hu(self, volume_id: str) -> npt.NDArray[np.int16]:
        """Voxels of one volume, (X, Y, Z) HU in RAS+ order on the store's grid.

        They are mapped, not loaded: read-only, and read from the disk where they are touched.

        Raises:
            DataError: If the file is missing or damaged.
        """
        return map_voxels(volume_path(self.path, volume_id), self._header(volume_id))

    def read_hu_into(self, out: npt.NDArray[np.int16], volume_id: str) -> None:
        """Read the same voxels into a contiguous array of the store's grid.

        Raises:
            DataError: If the file is missing or damaged.
        """
        read_voxels(volume_path(self.path, volume_id), self._place(volume_id), out)

    def read_volume(self, volume_id: str) -> Volume:
        """The same voxels with the affine from grid index to patient mm.

        Raises:
            DataError: If the file is missing or damaged.
        """
        header = self._header(volume_id)
        hu = map_voxels(volume_path(self.path, volume_id), header)
        return Volume(hu, np.array(header.facts["affine"]))

    def facts(self, volume_id: str) -> dict[str, Any]:
        """Geometry and source of a volume: affine, source shape, spacing, affine, hash.

        Raises:
            DataError: If the file is missing or damaged.
        """
        return self._header(volume_id).facts

    def _header(self, volume_id: str) -> VolumeHeader:
        return read_header(volume_path(self.path, volume_id), self._place(volume_id))

    def _place(self, volume_id: str) -> str:
        return f"{self.path}, volume {volume_id!r}"


def volume_path(store: Path, volume_id: str) -> Path:
    """Where a store keeps a volume."""
    return store / VOLUME_FOLDER / f"{volume_id}.safetensors"


def stored_volumes(store: Path) -> set[str]:
    """Ids of all volumes whose file is in a store, whether its index names them or not."""
    ending = ".safetensors"
    files = (store / VOLUME_FOLDER).glob(f"[!.]*{ending}")
    return {path.name.removesuffix(ending) for path in files}


def hash_content(
    settings: dict[str, Any], label_names: Sequence[str], index: bytes, reports: bytes
) -> str:
    """One hash for all that a store holds: the index names the hash of every volume.

    The names of the labels count, because the index holds labels by their place alone.
    """
    facts = {"settings": settings, "label_names": list(label_names)}
    parts = [json.dumps(facts, sort_keys=True).encode(), index, reports]
    return sha256("".join(sha256(part) for part in parts).encode())


def read_description(path: Path) -> dict[str, Any]:
    """What `store.json` says.

    Raises:
        DataError: No store, half-written, or of another schema.
    """
    try:
        content: dict[str, Any] = json.loads((path / STORE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (path / REMOVING_FILE).is_file():
            raise DataError(
                f"{path}: removing a patient was interrupted here; run the same `mg3d remove` again"
            ) from None
        if (path / PREPARING_FILE).is_file():
            raise DataError(
                f"{path}: this store is half-written; `mg3d prepare` was stopped or is still "
                "running. Run the same command again, it goes on where it stopped."
            ) from None
        raise DataError(
            f"{path}: no store here ({STORE_FILE} is missing). Give the folder that `mg3d prepare` "
            "wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}/{STORE_FILE}: not readable ({type(error).__name__})") from error
    if content.get("schema") != SCHEMA:
        raise DataError(
            f"{path}: schema {content.get('schema')!r}, this version reads {SCHEMA!r}. Run "
            "`mg3d prepare` with the same options again; volumes that still hold are kept."
        )
    return content


def to_jsonl(rows: Iterable[dict[str, Any]]) -> bytes:
    """One compact JSON document a line, keys sorted."""
    lines = (json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
    return "".join(lines).encode()
