"""What `prepare` costs besides the scans: planning, going on, opening; and how well it predicts.

    python benchmarks/planning.py [--rows 50000] [--studies 300] [--workers 2]

A manifest of ``--rows`` rows whose scans do not exist is read and planned, and a store's tables of
that size are opened. A phantom of ``--studies`` studies is forecast, prepared, and prepared again
with nothing to do. Writes benchmarks/results/planning.json.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from comparison import Comparison
from mg3d.data.grid import GridConfig
from mg3d.data.layouts.layout import LayoutOptions, read_catalogue
from mg3d.data.preparation.forecast import forecast
from mg3d.data.preparation.plan import make_plan
from mg3d.data.preparation.prepare import PrepareConfig, prepare
from mg3d.data.preparation.publication import make_tables
from mg3d.data.preparation.removed import RemovedPatients
from mg3d.data.store import StoreRow, StoreSettings, VolumeStore
from mg3d.phantom.phantom import PhantomConfig, phantom
from mg3d.process_memory import peak_resident_bytes

REPORT = "The heart is normal in size. There is no pleural effusion. A nodule of 4 mm is seen. " * 8


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    table = Comparison("planning")
    with tempfile.TemporaryDirectory() as folder:
        measure_planning(Path(folder), given.rows, table)
        measure_forecast(Path(folder), given.studies, given.workers, table)
    table.print()
    table.save()


def measure_planning(folder: Path, num: int, table: Comparison) -> None:
    """A manifest of many rows, and a store of as many."""
    manifest = folder / "many.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", "patient_id", "image", "findings", "impression"])
        for n in range(num):
            writer.writerow([f"s{n:06d}", f"p{n // 2:06d}", f"i/{n}.nii.gz", REPORT, f"No {n}."])
    facts = {"rows": num}
    catalogue, seconds = timed(lambda: read_catalogue(manifest, "manifest", LayoutOptions()))
    table.add("read a manifest", seconds, None, "s", **facts)
    out = folder / "many"
    plan, seconds = timed(
        lambda: make_plan(catalogue, out, GridConfig(), RemovedPatients.read(out))
    )
    assert len(plan.jobs) == num
    table.add("plan", seconds, None, "s", **facts)
    rows = [
        StoreRow(
            volume_id=row.volume_id, study_id=row.study_id, patient_id=row.patient_id,
            report_id="0" * 64, split="train", image=row.image, source_sha256="0" * 64,
            volume_sha256="0" * 64, labels=(1.0, 0.0) * 9,
        ).to_json()
        for row in plan.rows
    ]  # fmt: skip
    reports = [{"study_id": r["study_id"], "findings": REPORT, "impression": ""} for r in rows]
    names = [f"finding{n}" for n in range(18)]
    _, seconds = timed(
        lambda: make_tables(StoreSettings().to_json(), names, rows, reports, []).write(out)
    )
    table.add("write the tables of a store", seconds, None, "s", **facts)
    _, seconds = timed(lambda: VolumeStore.open(out))
    table.add("open a store", seconds, None, "s", **facts)
    peak = peak_resident_bytes() / 2**20
    table.add("peak memory of all this", peak, None, "MB", **facts)


def measure_forecast(folder: Path, num: int, workers: int, table: Comparison) -> None:
    """Forecast and truth of one preparation, and the same command again."""
    phantom(PhantomConfig(out=folder / "phantom", num_train=num, num_val=0, num_test=0))
    settings = PrepareConfig(
        data=folder / "phantom/reports.csv", out=folder / "store", layout="manifest",
        geometry=GridConfig(), num_workers=workers,
    )  # fmt: skip
    catalogue = read_catalogue(settings.data, settings.layout, LayoutOptions())
    plan = make_plan(catalogue, settings.out, settings.geometry, RemovedPatients.read(settings.out))
    predicted, seconds = timed(lambda: forecast(plan, settings.out, settings.workers))
    facts = {"scans": len(plan.jobs), "sampled": predicted.num_sampled, "workers": workers}
    table.add("make a forecast", seconds, None, "s", **facts)
    _, truth = timed(lambda: prepare(settings))
    table.add("time predicted, true", predicted.seconds, truth, "s", **facts)
    size = sum(path.stat().st_size for path in settings.out.rglob("*") if path.is_file())
    table.add("disk predicted, true", predicted.disk_bytes / 1e6, size / 1e6, "MB", **facts)
    _, again = timed(lambda: prepare(settings))
    table.add("nothing to do, against all to do", again, truth, "s", **facts)


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    """What an action gives, and its wall seconds."""
    began = time.perf_counter()
    result = action()
    return result, time.perf_counter() - began


if __name__ == "__main__":
    main()
