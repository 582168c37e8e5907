"""From the store to batches, against raw NIfTI and against MONAI's PersistentDataset.

    python benchmarks/loader.py [--volumes 12] [--items 10000] [--repeats 15] [--quick]

All sides give batches of 4 volumes on the model grid, scaled to [0, 1], from the same NIfTI files,
on one thread of torch; PersistentDataset's cache is filled before it is timed. Rows of one process
are measured in turns there. Rows of four workers are threads on our side, and on MONAI's processes
that are started by fork (which PyTorch does by default on Linux) or by forkserver; each side lives
in a process of its own, and they are asked for batches in turns, so that one works while the others
stand still. Memory is the unique set size (USS: what ends if the process ends) of MONAI's four
processes; of ours, what that of the one process grew by. ``--items`` items point to the few
files again and again: item lists as a site with so many studies has them, reports included.
Writes benchmarks/results/loader.json.
"""

import argparse
import dataclasses
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import monai.data
import monai.transforms as mt
import nibabel
import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader

from comparison import Comparison, interleaved_medians
from mg3d.data.dataset import StudyDataset, collate
from mg3d.data.grid import GridConfig
from mg3d.data.hounsfield import scale_hu
from mg3d.data.preparation.prepare import PrepareConfig, prepare
from mg3d.data.reading import read_volume
from mg3d.data.store import VolumeStore
from mg3d.data.text.reports import Report
from mg3d.data.text.tokens import ReportTokenizer
from mg3d.training.batches import AHEAD, read_batches
from mg3d.training.heap import keep_freed_memory
from turns import side

BATCH, WORKERS = 4, 4
READY = WORKERS * AHEAD + WORKERS
"""Batches that were read before a side was asked; they are not timed."""
BLOCK = 60
"""Batches that are timed when a side is asked."""
PRELOADED = ["monai.data", "monai.transforms", "nibabel"]
"""What MONAI's workers need: those of forkserver share what was there before them."""
SCAN = (320, 320, 160)
QUICK_GRID = GridConfig(grid=(16, 16, 16), spacing_mm=(9, 9, 9))
REPORT = "The heart is normal in size. There is no pleural effusion. A nodule of 4 mm is seen. " * 8


class Reading(NamedTuple):
    """What a side did when it was asked."""

    ms: float
    """Of a volume."""
    megabytes: float
    """Of memory that reading takes."""


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=12)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=15)
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
    grid = QUICK_GRID if given.quick else GridConfig()
    paths = write_scans(folder / "site", given.volumes, shape)
    make_store(folder, paths, grid)
    persistent = make_persistent(folder, [{"image": str(path)} for path in paths], grid)
    for number in range(len(paths)):
        _ = persistent[number]  # fills the cache
    compare_workers(folder, grid, given, table)
    compare_alone(folder, paths, grid, given, table)


def compare_alone(
    folder: Path, paths: list[Path], grid: GridConfig, given: Any, table: Comparison
) -> None:
    """Without workers: reading when a batch is wanted."""
    store = VolumeStore.open(folder / "store")
    dataset = StudyDataset(store, store.rows, ReportTokenizer.train([REPORT], 300))
    persistent = make_persistent(folder, [{"image": str(path)} for path in paths], grid)
    order = [list(range(i, i + BATCH)) for i in range(0, len(paths) - BATCH + 1, BATCH)]

    def from_store() -> None:
        for rows in order:
            collate([dataset[row] for row in rows]).to("cpu")

    def from_cache() -> None:
        for rows in order:
            monai.data.list_data_collate([persistent[row] for row in rows])

    def from_nifti() -> None:
        for path in paths[:BATCH]:
            torch.from_numpy(scale_hu(read_volume(path).to_grid(grid).array))

    keep_freed_memory()  # as `mg3d pretrain` does
    num = len(order) * BATCH
    mine, cached = interleaved_medians([from_store, from_cache], given.repeats * 5)
    mine, cached = 1000 * mine / num, 1000 * cached / num
    (raw,) = interleaved_medians([from_nifti], 5)
    facts = {"grid": list(grid.grid), "batch": BATCH}
    table.add("one process, PersistentDataset", mine, cached, "ms/volume", **facts)
    table.add("one process, raw NIfTI", mine, 1000 * raw / BATCH, "ms/volume", **facts)


def compare_workers(folder: Path, grid: GridConfig, given: Any, table: Comparison) -> None:
    """Rate and memory of four workers on each side."""
    cases: dict[str, tuple[Any, ...]] = {
        "ours": (read_store, folder, given.items),
        "fork": (read_cache, folder, given.items, grid, "fork"),
        "forkserver": (read_cache, folder, given.items, grid, "forkserver"),
    }
    with ExitStack() as stack:
        sides = {name: stack.enter_context(side(*case)) for name, case in cases.items()}
        found: dict[str, list[Reading]] = {name: [] for name in sides}
        for _ in range(given.repeats):
            for name, ask in sides.items():
                found[name].append(ask())
    ms = {name: statistics.median(reading.ms for reading in found[name]) for name in found}
    megabytes = {name: found[name][-1].megabytes for name in found}
    facts = {"items": given.items, "workers": WORKERS, "runs": given.repeats}
    for start in ("fork", "forkserver"):
        where = f"4 workers, PersistentDataset's by {start}"
        table.add(where, ms["ours"], ms[start], "ms/volume", **facts)
        table.add(f"{where}: USS", megabytes["ours"], megabytes[start], "MB", **facts)


def read_store(folder: Path, num_items: int) -> Callable[[], Reading]:
    """Our side: batches as a step gets them."""
    torch.set_num_threads(1)
    store = grow(VolumeStore.open(folder / "store"), num_items)
    dataset = StudyDataset(store, store.rows, ReportTokenizer.train([REPORT], 300))
    keep_freed_memory()
    before = used_megabytes([os.getpid()])
    reading = read_batches(dataset, epochs(num_items), num_workers=WORKERS, pin_memory=False)
    return asked_for(
        lambda: next(reading).to("cpu"), lambda: used_megabytes([os.getpid()]) - before
    )


def read_cache(folder: Path, num_items: int, grid: GridConfig, start: str) -> Callable[[], Reading]:
    """MONAI's side."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    store = grow(VolumeStore.open(folder / "store"), num_items)
    paths = sorted((folder / "site").iterdir())
    items = [
        {
            "image": str(paths[n % len(paths)]), "report": store.report(row.study_id).findings,
            **{name: value for name, value in row.to_json().items() if name != "image"},
        }
        for n, row in enumerate(store.rows)
    ]  # fmt: skip
    context = multiprocessing.get_context(start)
    if start == "forkserver":
        context.set_forkserver_preload(PRELOADED)
    loader = DataLoader(
        make_persistent(folder, items, grid), batch_sampler=list(itertools.islice(
            epochs(num_items), 10 * num_items // BATCH
        )), collate_fn=monai.data.list_data_collate, num_workers=WORKERS, prefetch_factor=AHEAD,
        multiprocessing_context=context,
    )  # fmt: skip
    reading: Any = iter(loader)
    keep_freed_memory()  # here as on our side; the workers are there already, and do not
    workers = [worker.pid for worker in reading._workers]
    return asked_for(lambda: next(reading), lambda: used_megabytes(workers))


def epochs(num_items: int) -> Iterator[list[int]]:
    """Rows of one batch after another, without end."""
    rows = itertools.cycle(range(num_items))
    while True:
        yield list(itertools.islice(rows, BATCH))


def asked_for(take: Callable[[], Any], megabytes: Callable[[], float]) -> Callable[[], Reading]:
    """What a side does when it is its turn."""

    def ask() -> Reading:
        for _ in range(READY):
            take()
        began = time.perf_counter()
        for _ in range(BLOCK):
            take()
        ms = 1000 * (time.perf_counter() - began) / BLOCK / BATCH
        used = megabytes()
        time.sleep(0.5)  # until all that is read ahead is there, and the side stands still
        return Reading(ms, used)

    return ask


def used_megabytes(pids: Iterable[int]) -> float:
    """Unique set size of processes."""
    return sum(psutil.Process(pid).memory_full_info().uss for pid in pids) / 1e6


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


def make_store(folder: Path, paths: list[Path], grid: GridConfig) -> None:
    """Their store."""
    lines = ["study_id,patient_id,image,findings"]
    lines += [f"{p.name[:4]},{p.name[:4]},site/{p.name},{REPORT}" for p in paths]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    settings = PrepareConfig(
        data=folder / "manifest.csv", out=folder / "store", geometry=grid, num_workers=1,
        layout="manifest",
    )  # fmt: skip
    prepare(settings)


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
    return monai.data.PersistentDataset(items, transform, folder / "cache", hash_func=_name_of_file)


def _name_of_file(item: dict[str, Any]) -> bytes:
    return Path(item["image"]).name.encode().hex().encode()


if __name__ == "__main__":
    main()
