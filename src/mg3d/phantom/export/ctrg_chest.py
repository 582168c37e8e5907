"""CTRG-Chest's folders of 8-bit JPG slices and its JSON file.

The window is -1000 to 1000 HU, so a grey level is 7.8 HU wide; JPG adds its own error. Spacing and
window are stated in the entries, which the published file does not do.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.ctrg_chest import AXES, WINDOW_HU
from mg3d.files import write_atomic, write_json
from mg3d.phantom.export.exporter import Exporter, short_decimals, volumes
from mg3d.phantom.export.storage_order import stored_as

_QUALITY = 95


def _write(catalogue: Catalogue, out: Path) -> dict[str, str]:
    entries: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    for row, scan in volumes(catalogue.rows):
        volume = stored_as(scan, AXES)
        folder = f"chest/{row.volume_id}"
        for number in range(volume.shape[2]):
            picture = _jpg(volume.array[:, :, number].T)
            write_atomic(out / folder / f"{row.volume_id}_{number + 1:04d}.jpg", picture)
        entries[row.split or "train"].append(
            {
                "id": row.volume_id,
                "image_path": folder,
                "report": row.report.findings,
                "result": row.report.impression,
                "spacing_mm": short_decimals(volume.spacing_mm),
                "window_hu": list(WINDOW_HU),
            }
        )
    write_json(out / "chest_ctrg_jpg.json", entries)
    return {row.volume_id: row.volume_id for row in catalogue.rows}


def _jpg(hu: npt.NDArray[Any]) -> bytes:
    """(rows, columns) HU as an 8-bit picture."""
    low, high = WINDOW_HU
    grey = np.rint((hu.astype(np.float64) - low) / (high - low) * 255).clip(0, 255)
    stream = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


EXPORTERS = (
    Exporter(
        name="ctrg_chest",
        layout="ctrg_chest",
        keeps="HU in 256 steps of 7.8 with the error of JPG; neither position, labels nor patients",
        write=_write,
    ),
)
