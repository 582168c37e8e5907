"""From the store to batches, against raw NIfTI and against MONAI's PersistentDataset.

    python benchmarks/loader.py [--volumes 12] [--items 10000] [--repeats 5] [--quick]

All sides give batches of 4 volumes on the model grid, scaled to [0, 1], from the same NIfTI files,
in turns in one process and on one thread; PersistentDataset's cache is filled before it is timed.
Memory is the unique set size (USS: what ends if the process ends) of four worker processes after
each has given its share of an epoch of ``--items`` items, which point to the few files again and
again: item lists as a site with so many studies has them, reports included. Worker processes are
started alike on both sides, by fork (which PyTorch does by default on Linux) and by forkserver.
Writes benchmarks/results/loader.json.
"""

import argparse
import dataclasses
import gc
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.data
import monai.transforms as mt
import nibabel
import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader, Dataset

from comparison import Comparison, interleaved_medians
from mg3d.data.dataset import StudyDataset, collate
from mg3d.data.grid import GridConfig
from mg3d.data.hounsfield import scale_hu
from mg3d.data.preparation.prepare import PrepareConfig, prepare
from mg3d.data.reading import read_volume
from mg3d.data.store import VolumeStore
from mg3d.data.text.reports import Report
from mg3d.data.text.tokens import ReportTokenizer

BATCH, WORKERS = 4, 4
PRELOADED = [
    "mg3d.data.dataset",
    "mg3d.data.preparation.prepare",
    "mg3d.training.recorder",
    "monai.data",
    "monai.transforms",
]
"""What this file imports: its workers import it again, and share what was there before them."""
SCAN = (320, 320, 160)
REPORT = "The heart is normal in size. There is no pleural effusion. A nodule of 4 mm is seen. " * 8


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=12)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small scans; nothing is stored")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="monai")
    table = Comparison("loader")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), given, table)
    table.print()
    if not given.quick:
        table.save()


def measure(folder: Path, given: Any, table: Comparison) -> None:
    """All rows."""
    shape = (48, 48, 24) if given.quick else SCAN
    grid = GridConfig(grid=(16, 16, 16), spacing_mm=(9, 9, 9)) if given.quick else GridConfig()
    paths = write_scans(folder / "site", given.volumes, shape)
    store = make_store(folder, paths, grid)
    tokenizer = ReportTokenizer.train([REPORT], 300)
    ours = StudyDataset(store, store.rows, tokenizer)
    persistent = make_persistent(folder / "cache", [{"image": str(p)} for p in paths], grid)
    for number in range(len(paths)):
        _ = persistent[number]  # fills the cache
    order = [list(range(i, i + BATCH)) for i in range(0, len(paths) - BATCH + 1, BATCH)]
    facts = {"scan": list(shape), "grid": list(grid.grid), "batch": BATCH}

    def from_store() -> None:
        for rows in order:
            collate([ours[row] for row in rows]).to("cpu")

    def from_cache() -> None:
        for rows in order:
            monai.data.list_data_collate([persistent[row] for row in rows])

    def from_nifti() -> None:
        for path in paths[:BATCH]:
            torch.from_numpy(scale_hu(read_volume(path).to_grid(grid).array))

    num = len(order) * BATCH
    mine, cached = interleaved_medians([from_store, from_cache], max(3, given.repeats * 5))
    mine, cached = 1000 * mine / num, 1000 * cached / num
    (raw,) = interleaved_medians([from_nifti], given.repeats)
    table.add("one process, PersistentDataset", mine, cached, "ms/volume", **facts)
    table.add("one process, raw NIfTI", mine, 1000 * raw / BATCH, "ms/volume", **facts)
    for context in ("fork", "forkserver"):
        compare_workers(folder, paths, store, tokenizer, grid, given, context, table)


def compare_workers(
    folder: Path, paths: list[Path], store: VolumeStore, tokenizer: ReportTokenizer,
    grid: GridConfig, given: Any, context: str, table: Comparison,
) -> None:  # fmt: skip
    """Rate and memory of four workers on each side."""
    many = grow(store, given.items)
    ours = StudyDataset(many, many.rows, tokenizer)
    items = [
        {
            "image": str(paths[n % len(paths)]), "report": many.report(row.study_id).findings,
            **{name: value for name, value in row.to_json().items() if name != "image"},
        }
        for n, row in enumerate(many.rows)
    ]  # fmt: skip
    persistent = make_persistent(folder / "cache", items, grid)
    our_rate, our_uss = run_workers(ours, collate, context)
    cache_rate, cache_uss = run_workers(persistent, monai.data.list_data_collate, context)
    facts = {"items": given.items, "workers": WORKERS, "start": context}
    table.add(f"USS of 4 workers, {context}", our_uss / 1e6, cache_uss / 1e6, "MB", **facts)
    table.add(f"4 workers, {context}", 1000 / our_rate, 1000 / cache_rate, "ms/volume", **facts)


def run_workers(
    dataset: Dataset[Any], joined: Callable[..., Any], context: str
) -> tuple[float, float]:
    """Volumes a second over an epoch, and the workers' summed USS near its end."""
    gc.collect()
    processes = multiprocessing.get_context(context)
    if context == "forkserver":
        processes.set_forkserver_preload(PRELOADED)
    loader = DataLoader(
        dataset, batch_size=BATCH, collate_fn=joined, num_workers=WORKERS, prefetch_factor=2,
        multiprocessing_context=processes,
    )  # fmt: skip
    iterator: Any = iter(loader)
    pids = [worker.pid for worker in iterator._workers]
    seen, uss, began = 0, 0.0, 0.0
    for number, _ in enumerate(iterator):
        if number == WORKERS:  # the workers are up
            began, seen = time.perf_counter(), 0
        seen += BATCH
        if number == len(loader) - 2 * WORKERS:
            uss = sum(_uss(pid) for pid in pids)
    return seen / (time.perf_counter() - began), uss


def _uss(pid: int) -> float:
    return float(psutil.Process(pid).memory_full_info().uss)


def write_scans(folder: Path, num: int, shape: tuple[int, int, int]) -> list[Path]:
    """Scans with noise, which compress as CT does."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    paths = []
    for number in range(num):
        array = np.full(shape, -1000, dtype=np.int16)
        x, y, z = (size // 5 for size in shape)
        array[x:-x, y:-y, z:-z] = 40
        array += generator.normal(0, 15, shape).astype(np.int16)
        affine = np.diag([-0.75 * SCAN[0] / shape[0], 0.75 * SCAN[1] / shape[1], 1.5, 1])
        path = folder / f"s{number:03d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
        paths.append(path)
    return paths


def make_store(folder: Path, paths: list[Path], grid: GridConfig) -> VolumeStore:
    """Their store."""
    lines = ["study_id,patient_id,image,findings"]
    lines += [f"{p.name[:4]},{p.name[:4]},site/{p.name},{REPORT}" for p in paths]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    settings = PrepareConfig(
        data=folder / "manifest.csv", out=folder / "store", geometry=grid, num_workers=1,
        layout="manifest",
    )  # fmt: skip
    store = prepare(settings)
    assert store is not None
    return store


def grow(store: VolumeStore, num: int) -> VolumeStore:
    """The store with many rows, each a study of its own; files are used again and again.

    ``volume_id`` names the file and stays.
    """
    rows = tuple(
        dataclasses.replace(
            store.rows[n % len(store)], study_id=f"study{n:06d}", patient_id=f"patient{n:06d}",
            labels=(1.0, 0.0, float("nan")) * 6,
        )
        for n in range(num)
    )  # fmt: skip
    reports = {row.study_id: Report(f"{REPORT} Study {n}.") for n, row in enumerate(rows)}
    names = tuple(f"finding{n}" for n in range(18))
    return VolumeStore(store.path, store.settings, rows, reports, names, "")


def make_persistent(folder: Path, items: list[dict[str, Any]], grid: GridConfig) -> Any:
    """MONAI's cached pipeline of the same steps; the file alone names an item of the cache."""
    transform = mt.Compose(
        [
            mt.LoadImaged("image", image_only=True),
            mt.EnsureChannelFirstd("image"),
            mt.Orientationd("image", axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
            mt.Spacingd("image", pixdim=grid.spacing_mm),
            mt.ResizeWithPadOrCropd("image", grid.grid, constant_values=-1000),
            mt.ScaleIntensityRanged("image", -1000, 1000, 0, 1, clip=True),
            mt.EnsureTyped("image", dtype=torch.float32, track_meta=False),
        ]
    )
    return monai.data.PersistentDataset(items, transform, folder, hash_func=_name_of_file)


def _name_of_file(item: dict[str, Any]) -> bytes:
    return Path(item["image"]).name.encode().hex().encode()


if __name__ == "__main__":
    main()
