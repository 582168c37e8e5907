"""What each form of a data set keeps of a phantom, and how long a large catalogue takes to read.

``python benchmarks/layouts.py`` writes phantoms in every form that `mg3d export` knows, reads them
back and compares with the original: HU where the voxels are the same ones, else on the grid of the
original. Then it lays out a CT-RATE of empty files with full tables and reads its catalogue.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mg3d.data.grid import GridConfig
from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.layout import LayoutOptions, read_catalogue
from mg3d.data.reading import read_scan
from mg3d.data.volume import Volume
from mg3d.files import write_json
from mg3d.phantom.export.exporter import Exporter, exporters, write_csv
from mg3d.phantom.phantom import PhantomConfig, phantom
from mg3d.progress import console

RESULT = Path(__file__).parent / "results" / "layouts.json"
NUM_FINDINGS = 18


def main() -> None:
    """Measure, print a table and keep it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=6, help="of the phantom")
    parser.add_argument("--volumes", type=int, default=50_000, help="of the empty CT-RATE")
    options = parser.parse_args()
    console.quiet = True
    with tempfile.TemporaryDirectory() as folder:
        forms = list(compare_forms(Path(folder), options.patients))
        scale = time_catalogue(Path(folder) / "many", options.volumes)
    for row in forms:
        print(json.dumps(row))
    print(json.dumps(scale))
    write_json(RESULT, {"forms": forms, "catalogue": scale})


def compare_forms(folder: Path, num_patients: int) -> Iterator[dict[str, Any]]:
    """One row a form."""
    source = folder / "phantom"
    settings = PhantomConfig(
        out=source, num_train=num_patients - 2, num_val=1, num_test=1, seed=1, num_workers=1
    )
    phantom(settings)
    labels = LayoutOptions(labels=source / "labels.csv")
    catalogue = read_catalogue(source / "reports.csv", "manifest", labels)
    for form, exporter in exporters().items():
        yield {"form": form, **compare(catalogue, exporter, folder / form)}


def compare(catalogue: Catalogue, exporter: Exporter, out: Path) -> dict[str, Any]:
    """Write the catalogue in one form, read it back, and say what changed."""
    began = time.perf_counter()
    names = exporter.write(catalogue, out)
    written = time.perf_counter()
    back = read_catalogue(out / exporter.start, exporter.layout, LayoutOptions())
    sources = {
        row.source.series_uid if back.layout == "dicom" else row.volume_id: row.source
        for row in back.rows
    }
    errors = []
    for row in catalogue.rows:
        ours = read_scan(row.source).volume.reorient_ras()
        theirs = read_scan(sources[names[row.volume_id]]).volume.reorient_ras()
        errors.append(hu_error(ours, theirs))
    num_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "mean_hu_error": round(float(np.mean([error.mean() for error in errors])), 2),
        "largest_hu_error": float(max(error.max() for error in errors)),
        "megabytes": round(num_bytes / 1e6, 1),
        "seconds_to_write": round(written - began, 1),
        "seconds_to_read": round(time.perf_counter() - written, 1),
    }


def hu_error(ours: Volume, theirs: Volume) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Absolute differences within -1000 .. 1000 HU, on the original's voxels."""
    if theirs.shape != ours.shape:
        theirs = theirs.to_grid(GridConfig(grid=ours.shape, spacing_mm=ours.spacing_mm))
    first, second = (v.array.astype(np.float64).clip(-1000, 1000) for v in (ours, theirs))
    return np.abs(first - second)


def time_catalogue(folder: Path, num_volumes: int) -> dict[str, Any]:
    """Seconds to recognise and read CT-RATE's tables over empty files, two volumes a study."""
    names = [f"train_{n // 2}_a_{n % 2 + 1}" for n in range(num_volumes)]
    for name in names:
        patient, study = (name.rsplit("_", count)[0] for count in (2, 1))
        place = folder / "train_fixed" / patient / study
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.nii.gz").touch()
    report = "The lungs are clear. " * 20
    tables: dict[str, dict[str, Any]] = {
        "radiology_text_reports/train_reports.csv": {
            "Findings_EN": report, "Impressions_EN": report[:80],
        },
        "metadata/train_metadata.csv": {
            "XYSpacing": "[0.7, 0.7]", "ZSpacing": 1.5, "RescaleSlope": 1,
            "RescaleIntercept": -1024,
        },
        "multi_abnormality_labels/train_predicted_labels.csv": {
            f"finding {n}": n % 2 for n in range(NUM_FINDINGS)
        },
    }  # fmt: skip
    for table, cells in tables.items():
        write_csv(folder / table, ({"VolumeName": f"{n}.nii.gz", **cells} for n in names))
    began = time.perf_counter()
    catalogue = read_catalogue(folder, "auto", LayoutOptions())
    seconds = time.perf_counter() - began
    return {
        "volumes": len(catalogue.rows),
        "faults": [fault.kind for fault in catalogue.faults],
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
