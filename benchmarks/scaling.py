"""What grows with the work, and with nothing else: batch, voxels, clauses, number of studies.

    python benchmarks/scaling.py [--parts batch wide voxels reports coupled stores] [--rounds 5]
        [--threads 1]

`batch` and `wide`: seconds a volume of whole optimiser steps, as `mg3d pretrain` takes them, of
phantom-tiny and of phantom-base with an encoder twice and a model of twice the width. `voxels`:
forward and backward of a Swin-B with windows that divide the grid. `reports`: all of a step but the
encoder and decoder of volumes. `coupled`: the losses that compare studies, on features. `stores`:
everything before the first step, on stores of made-up reports, and memory in it.
Every size has a process of its own, which is warmed up; processes are measured in turns, and rows
are medians. The reference of a row is the last size of its kind, of `stores` the smallest; the rows
"largest / smallest" say how flat it is. Writes benchmarks/results/scaling.json; parts that are not
measured stay.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import scaling_step
import scaling_store
from comparison import Comparison
from turns import medians_in_turns, side

WIDE = ("phantom-base", "--model.image.embed_dim", "48", "--model.dim", "384",
        "--model.image.recompute", "true")  # fmt: skip
BATCHES = (4, 8, 16, 32, 64)
WIDE_BATCHES = (4, 16, 64)
GRIDS = ((48, 48, 48), (96, 48, 48), (96, 96, 48), (96, 96, 96), (192, 96, 96))
WINDOW = 6
"""Divides 48, 24, 12 and 6 tokens: all stages of every grid, or covers them."""
REPORT_BATCH = 16
CLAUSES, MAX_TOKENS = (8, 16, 32, 44), 250
TOKENS, TYPICAL_CLAUSES = (64, 128, 250, 500), 22
COUPLED = (4, 16, 64, 256, 512)
STUDIES = (10, 100, 1000, 10000)
TINY = ("phantom-tiny",)
Case = tuple[Any, ...]


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each size")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    table = Comparison("scaling")
    for part in given.parts:
        PARTS[part](table, given.rounds, given.threads)
    table.print()
    table.save()


def batch(table: Comparison, rounds: int, threads: int) -> None:
    """A volume of phantom-tiny in batches of several sizes."""
    steps(table, "phantom-tiny", TINY, BATCHES, rounds, threads)


def wide(table: Comparison, rounds: int, threads: int) -> None:
    """The same of a wider recipe."""
    steps(table, "phantom-base at twice the width", WIDE, WIDE_BATCHES, rounds, threads)


def steps(
    table: Comparison, name: str, options: Sequence[str], sizes: Sequence[int], rounds: int,
    threads: int,
) -> None:  # fmt: skip
    """Every size takes as many volumes at a time as the largest batch has."""
    cases = {
        f"{name}, a volume in a batch of {rows}": (
            scaling_step.whole_step, options, rows, max(sizes), threads
        )
        for rows in sizes
    }  # fmt: skip
    found = add_in_turns(table, cases, 1e3, "ms", rounds, threads)
    add_flatness(table, f"{name}, a volume, batch {sizes[0]} to {sizes[-1]}", found)
    if len(sizes) > 2:
        later = dict(list(found.items())[1:])
        add_flatness(table, f"{name}, a volume, batch {sizes[1]} to {sizes[-1]}", later)


def voxels(table: Comparison, rounds: int, threads: int) -> None:
    """A voxel at grids that windows divide."""
    name = f"Swin-B, window {WINDOW}, forward + backward, a voxel"
    cases = {
        f"{name} of {x} x {y} x {z}": (scaling_step.encoder_pass, (x, y, z), WINDOW, threads)
        for x, y, z in GRIDS
    }
    found = add_in_turns(table, cases, 1e6, "us", rounds, threads)
    add_flatness(table, f"{name}, all grids", found)
    large = dict(list(found.items())[2:])
    add_flatness(table, f"{name}, from {' x '.join(map(str, GRIDS[2]))} on", large)


def reports(table: Comparison, rounds: int, threads: int) -> None:
    """A study without its volume, over clauses and over tokens."""
    name = f"phantom-tiny without volumes, batch {REPORT_BATCH}, a study"
    made = scaling_step.report_side
    by_clauses = {
        f"{name} of {MAX_TOKENS} tokens in {clauses} clauses": (
            made, TINY, REPORT_BATCH, MAX_TOKENS, clauses, threads
        )
        for clauses in CLAUSES
    }  # fmt: skip
    found = add_in_turns(table, by_clauses, 1e3, "ms", rounds, threads)
    add_flatness(table, f"{name}, {CLAUSES[0]} to {CLAUSES[-1]} clauses", found)
    by_tokens = {
        f"{name} of {tokens} tokens in {TYPICAL_CLAUSES} clauses": (
            made, TINY, REPORT_BATCH, tokens, TYPICAL_CLAUSES, threads
        )
        for tokens in TOKENS
    }  # fmt: skip
    add_in_turns(table, by_tokens, 1e3, "ms", rounds, threads)


def coupled(table: Comparison, rounds: int, threads: int) -> None:
    """The losses that compare studies: what grows with the square of their number."""
    name = f"losses that compare studies, {TYPICAL_CLAUSES} clauses, a study"
    cases = {
        f"{name} among {rows}": (scaling_step.coupled_objectives, rows, TYPICAL_CLAUSES, threads)
        for rows in COUPLED
    }
    add_in_turns(table, cases, 1e3, "ms", rounds, threads)


def stores(table: Comparison, rounds: int, threads: int) -> None:
    """Stages before the first step and the loader, each size in a fresh process."""
    del rounds, threads  # stages are done once, on one thread
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for studies in STUDIES:
            place = Path(folder) / str(studies)
            scaling_store.write_store(place, studies)
            found[studies] = alone(place)
    add_stores(table, found)


def add_stores(table: Comparison, found: Mapping[int, Mapping[str, float]]) -> None:
    """A row a stage: the largest store against the smallest; the others stay in the file."""
    smallest, *_, largest = found
    for key in found[largest]:
        unit, _, what = key.partition(" ")
        table.add(
            f"{largest:,} studies, reference {smallest}: {what}",
            found[largest][key], found[smallest][key], unit,
            by_studies={str(studies): values[key] for studies, values in found.items()},
        )  # fmt: skip
    for what in ("before the first step", "training"):
        sizes = {str(studies): values[f"MiB {what}"] for studies, values in found.items()}
        add_flatness(table, f"memory {what}, {smallest} to {largest:,} studies", sizes)


def add_in_turns(
    table: Comparison, cases: Mapping[str, Case], factor: float, unit: str, rounds: int,
    threads: int,
) -> dict[str, float]:  # fmt: skip
    """Measure cases in turns and add a row each; the reference is the last one."""
    with ExitStack() as stack:
        sides = {name: stack.enter_context(side(*case)) for name, case in cases.items()}
        found = medians_in_turns(sides, rounds)
    *_, last = found.values()
    for name, value in found.items():
        table.add(name, factor * value, factor * last, unit, threads=threads, runs=rounds)
    return found


def add_flatness(table: Comparison, name: str, found: Mapping[str, float]) -> None:
    """How much the dearest size costs over the cheapest."""
    table.add(f"{name}: largest / smallest", flatness(found), None, "times")


def flatness(found: Mapping[str, float]) -> float:
    """Largest over smallest, 1 where all cost the same."""
    return max(found.values()) / min(found.values())


def alone(store: Path) -> dict[str, float]:
    """`before_the_first_step` in a fresh process whose workers import what `mg3d pretrain`'s do."""
    program = (
        "import json, pathlib, sys, scaling_store as benchmark; store = pathlib.Path(sys.argv[1]); "
        "print(json.dumps(benchmark.before_the_first_step(store)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, store], cwd=Path(__file__).parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


PARTS: dict[str, Callable[[Comparison, int, int], None]] = {
    "batch": batch, "wide": wide, "voxels": voxels, "reports": reports, "coupled": coupled,
    "stores": stores,
}  # fmt: skip


if __name__ == "__main__":
    main()
