"""Memory and time of a step in micro-batches, against the same step undivided.

    .venv/bin/python benchmarks/accumulation.py [--recipe phantom-tiny] [--micro 4] [--most 64]

Forward and backward of the recipe's full method on random volumes and reports, on one CPU thread,
each size in a fresh process. Memory is the peak of the resident set over what was resident before
the step, batch and weights included there. Prints a table and writes
benchmarks/results/accumulation.json: `ours` is accumulated, `reference` undivided (none beyond
--undivided volumes).
"""

import argparse
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mg3d.batch import StudyBatch
from mg3d.cli import parse
from mg3d.files import write_json
from mg3d.model.vlm import VisionLanguageModel
from mg3d.objectives.base import StepContext
from mg3d.objectives.registry import build_objectives
from mg3d.training.accumulate import accumulate
from mg3d.training.engine import launch
from mg3d.training.pretrain import PretrainConfig, _model_config
from mg3d.training.recorder import source_commit
from mg3d.training.task import TrainingTask, Vocabulary

RESULTS = Path(__file__).parent / "results"
NUM_CLAUSES, CLAUSE_TOKENS = 8, 8
STEP = StepContext(seed=0, epoch=0, step=0)
MIB = 2**20


class Words:
    """What `_model_config` asks of a tokenizer."""

    vocab_size, start_token_id, end_token_id = 2000, 2, 3


def make_task(recipe: str) -> TrainingTask:
    """The recipe's model with random weights."""
    settings = parse(PretrainConfig, "pretrain", [recipe, "store", "run"])
    objectives = build_objectives(settings.objectives)
    torch.manual_seed(0)
    parts = tuple(term.objective.name for term in objectives)
    model = VisionLanguageModel(_model_config(settings.model, Words(), parts))  # type: ignore[arg-type]
    model.set_reference(torch.zeros(model.config.text.hidden_size), (0.0, 0.3))
    return TrainingTask(model, objectives, Vocabulary(Words.vocab_size, 4, (0, 1, 2, 3, 4)))


def make_batch(rows: int, grid: tuple[int, int, int]) -> StudyBatch:
    """Studies of as many patients, with reports of the same shape and different words."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.arange(NUM_CLAUSES * CLAUSE_TOKENS).expand(rows, -1)
    words = torch.randint(5, Words.vocab_size, numbers.shape, generator=generator)
    names = tuple(f"s{row}" for row in range(rows))
    return StudyBatch(
        image=torch.rand(rows, 1, *grid, generator=generator),
        token_ids=words,
        token_mask=torch.ones_like(words, dtype=torch.bool),
        clause_ids=1 + numbers // CLAUSE_TOKENS,
        word_ids=1 + numbers,
        volume_ids=names,
        study_ids=names,
        patient_ids=names,
        report_ids=names,
    )


def measure(recipe: str, rows: int, micro: int) -> dict[str, float]:
    """Peak memory and time of one step, after a small one; ``micro`` 0 = undivided."""
    torch.set_num_threads(1)
    fabric = launch("cpu", "32-true")
    task = make_task(recipe)
    wrapped = fabric.setup_module(task)
    grid = task.model.config.grid

    def step(batch: StudyBatch) -> None:
        if micro:
            accumulate(fabric, wrapped, task, batch, STEP, micro)
        else:
            fabric.backward(wrapped(batch, STEP).loss)

    step(make_batch(2, grid))  # gradients and caches exist from now on
    batch = make_batch(rows, grid)
    before = _status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    began = time.perf_counter()
    step(batch)
    seconds = time.perf_counter() - began
    return {"peak_mib": (_status_bytes("VmHWM") - before) / MIB, "seconds": seconds}


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(kib)


def _in_fresh_process(work: Callable[..., Any], *given: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, given)


def main() -> None:
    """Measure batch sizes from the micro-batch on, doubling."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="phantom-tiny")
    parser.add_argument("--micro", type=int, default=4)
    parser.add_argument("--most", type=int, default=64, help="largest batch in micro-batches")
    parser.add_argument("--undivided", type=int, default=64, help="largest undivided batch")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    size = 2 * given.micro
    while size <= given.most:
        ours = _in_fresh_process(measure, given.recipe, size, given.micro)
        fits = size <= given.undivided
        reference = _in_fresh_process(measure, given.recipe, size, 0) if fits else {}
        for key, unit in (("peak_mib", "MiB"), ("seconds", "s")):
            other = reference.get(key)
            rows.append(
                {
                    "case": f"{size} volumes in parts of {given.micro}, {key}",
                    "ours": ours[key],
                    "reference": other,
                    "ratio": other / ours[key] if other else None,
                    "unit": unit,
                }
            )
        size *= 2
    document = {
        "schema": "mg3d.accumulation/1",
        "commit": source_commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("mg3d", "torch")},
        "recipe": given.recipe,
        "rows": rows,
    }
    write_json(RESULTS / "accumulation.json", document)
    table = Table("case", "accumulated", "undivided", "ratio", title=given.recipe)
    for row in rows:
        numbers = (row["ours"], row["reference"], row["ratio"])
        table.add_row(row["case"], *("" if n is None else f"{n:.2f}" for n in numbers))
    Console().print(table)


if __name__ == "__main__":
    main()
