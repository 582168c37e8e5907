"""Rad-ChestCT's arrays and label tables.

HU are clipped to -1000 .. 1000 and resampled to 0.8 mm, as the data set was published; reports are
lost, and so is the position in the scanner. Labels stand at a location: here the right lung, with a
column for the left one that is always 0.
"""

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from mg3d.data.grid import GridConfig
from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.rad_chestct import KEY, STATED
from mg3d.data.volume import Volume
from mg3d.files import write_atomic
from mg3d.phantom.export.exporter import Exporter, label_cells, volumes, write_csv
from mg3d.phantom.export.storage_order import stored_as

CLIP_HU = 1000
_PREFIX = {"train": ("trn", "train"), "val": ("val", "valid"), "test": ("tst", "test")}
"""Split -> prefix of volumes, word in the name of the table."""


def as_published(volume: Volume) -> Volume:
    """Clipped to 1000 HU, 0.8 mm isotropic over the same field of view, int16."""
    assert STATED.spacing_mm is not None
    spacing = STATED.spacing_mm
    ras = volume.reorient_ras()
    extent = (size * mm for size, mm in zip(ras.shape, ras.spacing_mm, strict=True))
    x, y, z = (math.ceil(mm / step) for mm, step in zip(extent, spacing, strict=True))
    clipped = Volume(ras.array.clip(-CLIP_HU, CLIP_HU), ras.affine)
    fine = clipped.to_grid(GridConfig(grid=(x, y, z), spacing_mm=spacing))
    return Volume(np.rint(fine.array).astype(np.int16), fine.affine)


def _write(catalogue: Catalogue, out: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    metadata, tables = [], {side: list[dict[str, str]]() for side in _PREFIX}
    for number, (row, volume) in enumerate(volumes(catalogue.rows), start=1):
        split = row.split or "train"
        name = f"{_PREFIX[split][0]}{number:05d}"
        names[row.volume_id] = name
        metadata.append({KEY: name, "MRN_DEID": row.patient_id})
        stored = stored_as(as_published(volume), STATED.axes)
        write_atomic(out / f"{name}.npz", npz_bytes({STATED.array_name: stored.array}))
        cells = label_cells(catalogue, row)
        right = {f"{finding}*right_lung": cell for finding, cell in cells.items()}
        left = {f"{finding}*left_lung": "0" for finding in cells}
        tables[split].append({KEY: name} | left | right)
    write_csv(out / "CT_Scan_Metadata_Complete.csv", metadata)
    for side, rows in tables.items():
        if rows and catalogue.label_names:
            table = f"img{_PREFIX[side][1]}_Abnormality_and_Location_Labels.csv"
            write_csv(out / table, rows)
    return names


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed NPZ file; the same arrays give the same bytes (no times in the archive)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = zipfile.ZIP_DEFLATED
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(member, content.getvalue())
    return stream.getvalue()


EXPORTERS = (
    Exporter(
        name="rad_chestct",
        layout="rad_chestct",
        keeps="HU within 1000, resampled to 0.8 mm; neither position nor reports",
        write=_write,
    ),
)
