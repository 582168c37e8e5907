"""What one scan costs on its way into the store, beside MONAI's loader on the same file.

    .venv/bin/python benchmarks/prepare.py FOLDER [--slices 300 600] [--repeats 3]

Ours is all that a worker of `mg3d prepare` does with a scan: hash, decompress, check HU, geometry
and anatomy, resample to 3 mm on 128 x 96 x 128 and encode. The reference is LoadImage, Orientation,
Spacing (trilinear) and ResizeWithPadOrCrop of MONAI on the same file to the same grid; it checks
nothing, and it interpolates without smoothing, so it skips voxels where ours averages them.
Both run in turns in one process, on one thread. Peak memory is that of a process of its own for
either, its interpreter and libraries included. The files are a phantom, enlarged to 512 x 512 with
noise of its own, compressed as dcm2niix does; they stay in FOLDER and are made once.
Rows go to benchmarks/results/prepare.json, ratio being reference / ours.
"""

import argparse
import gzip
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from comparison import Comparison, interleaved_medians
from mg3d.data.examination import examine
from mg3d.data.grid import GridConfig
from mg3d.data.preparation.intake import ScanJob, encode_scan
from mg3d.data.reading import read_scan
from mg3d.data.scan import ScanSource
from mg3d.data.streams import gunzip
from mg3d.phantom.phantom import nifti_bytes
from mg3d.phantom.settings import PhantomConfig
from mg3d.phantom.study import plan_study, render
from mg3d.process_memory import peak_resident_bytes
from mg3d.randomness import rng

GRID = GridConfig()
PIXELS = 512
NOISE_HU = 12
MEGABYTE = 2**20


def main() -> None:
    """Make the files, measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the made scans lie")
    parser.add_argument("--slices", type=int, nargs="+", default=[300, 600])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-of", choices=sorted(SIDES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.peak_of:  # the process of its own
        SIDES[given.peak_of](make_scan(given.folder, given.slices[0]))
        print(peak_resident_bytes() / 2**20)
        return
    table = Comparison("prepare")
    for slices in given.slices:
        measure(table, given.folder, slices, given.repeats)
        table.save()
    table.print()


def measure(table: Comparison, folder: Path, slices: int, repeats: int) -> None:
    """Add the rows of one scan: time, its parts, and memory."""
    path = make_scan(folder, slices)
    name = f"{PIXELS} x {PIXELS} x {slices} int16, nii.gz"
    facts = {"runs": repeats, "file_bytes": path.stat().st_size, "isal": _version("isal")}
    sides = [partial(side, path) for side in SIDES.values()]
    ours, reference = interleaved_medians(sides, repeats)
    rates = {"ours_per_minute": 60 / ours, "reference_per_minute": 60 / reference}
    table.add(f"{name}: to the grid", ours, reference, "s", **facts, **rates)
    fast, plain = interleaved_medians(
        [partial(decompress, path, gunzip), partial(decompress, path, _zlib)], repeats
    )
    share = {"share_of_ours": fast / ours}
    table.add(f"{name}: decompression, ISA-L and zlib", fast, plain, "s", **facts, **share)
    scan = read_scan(ScanSource(path=path))
    for part, work in (("checks", examine), ("resampling", lambda s: s.volume.to_grid(GRID))):
        (seconds,) = interleaved_medians([partial(work, scan)], repeats)
        table.add(f"{name}: {part}", seconds, None, "s", **facts, share_of_ours=seconds / ours)
    del scan
    peaks = [_peak_megabytes(folder, slices, side) for side in ("ours", "monai")]
    table.add(f"{name}: peak memory", *peaks, "MiB", **facts)


def take_ours(path: Path) -> None:
    """All that `mg3d prepare` does with one scan, up to the bytes that it writes."""
    job = ScanJob(
        volume_id="v", image=path.name, source=ScanSource(path=path), store=path.parent,
        geometry=GRID,
    )  # fmt: skip
    encode_scan(job)


def take_monai(path: Path) -> None:
    """The same grid by MONAI."""
    from monai.transforms import (  # here, so that it is not in the memory of ours
        Compose,
        EnsureChannelFirst,
        LoadImage,
        Orientation,
        ResizeWithPadOrCrop,
        Spacing,
    )

    chain = Compose(
        [
            LoadImage(image_only=True),
            EnsureChannelFirst(),
            Orientation(axcodes="RAS"),
            Spacing(pixdim=GRID.spacing_mm, mode="bilinear"),
            ResizeWithPadOrCrop(GRID.grid, value=-1000),
        ]
    )
    assert tuple(chain(path).shape[1:]) == GRID.grid


SIDES: dict[str, Callable[[Path], None]] = {"ours": take_ours, "monai": take_monai}


def decompress(path: Path, opener: Callable[[Any], Any]) -> None:
    """Read a file to its end and keep nothing."""
    buffer = memoryview(bytearray(16 * MEGABYTE))
    with path.open("rb") as stream:
        content = opener(stream)
        while content.readinto(buffer):
            pass


def _zlib(stream: Any) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=stream, mode="rb")


def make_scan(folder: Path, slices: int) -> Path:
    """A phantom of 512 x 512 voxels and so many slices, as a compressed NIfTI file."""
    path = folder / f"phantom_{PIXELS}_{slices}.nii.gz"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    rendering = render(plan_study(PhantomConfig(out=folder, difficulty="standard"), "train", 0))
    shape = (PIXELS, PIXELS, slices)
    places = [
        np.arange(size) * old // size for size, old in zip(shape, rendering.hu.shape, strict=True)
    ]
    voxels = rendering.hu[np.ix_(*places)]
    noise = rng(0, "benchmark")
    for index in range(slices):
        grain = noise.standard_normal(shape[:2], dtype=np.float32) * NOISE_HU
        voxels[:, :, index] += np.rint(grain).astype(np.int16)
    affine = rendering.affine @ np.diag([*np.array(rendering.hu.shape) / shape, 1.0])
    content = gzip.decompress(nifti_bytes(voxels, affine))
    path.write_bytes(gzip.compress(content, compresslevel=6))
    return path


def _peak_megabytes(folder: Path, slices: int, side: str) -> float:
    command = [sys.executable, __file__, str(folder), "--slices", str(slices), "--peak-of", side]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return float(done.stdout.splitlines()[-1])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
