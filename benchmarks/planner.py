"""How near `mg3d plan` comes: calibrated on one recipe, held against measured steps of others.

    python benchmarks/planner.py [--calibrate phantom-tiny] [--threads 1]

Each prediction and each measurement runs in a process of its own, in float32 on the CPU, with as
many volumes a step as a small machine holds. A measurement is the shortest of three whole optimiser
steps and the peak of the process's memory. Writes benchmarks/results/planner.json, where ours is
the prediction and reference the measurement.
"""

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from comparison import Comparison
from mg3d import cli
from mg3d.training.calibration import GB, Calibration
from mg3d.training.planner import PlanConfig, plan, predict
from mg3d.training.trial import Trial, peak_bytes

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # text encoders that are not here are planned alike
STEPS = 5
REPORT_TOKENS = {"phantom-tiny": 96, "phantom-base": 96}
BATCH = {"phantom-tiny": 16, "phantom-base": 16, "clip": 2, "siglip": 3, "mg3d": 1}


def main() -> None:
    """Calibrate, predict, measure; print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calibrate", default="phantom-tiny")
    parser.add_argument("--recipes", nargs="*", default=["phantom-base", "clip", "siglip", "mg3d"])
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    table = Comparison("planner")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "calibration.json"
        alone(calibrate, given.calibrate, given.threads, file)
        for recipe in given.recipes:
            seconds, memory = alone(foresee, recipe, given.threads, file)
            true_seconds, true_memory = alone(measure, recipe, given.threads)
            name = f"{recipe}, batch {BATCH[recipe]}, calibrated on {given.calibrate}"
            facts = {"threads": given.threads, "runs": STEPS}
            table.add(f"{name}: a step", seconds, true_seconds, "s", **facts)
            table.add(f"{name}: memory", memory, true_memory, "GB", **facts)
    table.print()
    table.save()


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def settings_of(recipe: str, threads: int) -> PlanConfig:
    """The recipe in float32 with a batch for a small machine."""
    words = [recipe, "--precision", "32-true", "--accelerator", "cpu", "--threads", str(threads)]
    settings: PlanConfig = cli.parse(PlanConfig, "plan", words)
    return replace(
        settings,
        report_tokens=REPORT_TOKENS.get(recipe, 0),
        loop=replace(settings.loop, batch_size=BATCH[recipe]),
    )


def calibrate(recipe: str, threads: int, file: Path) -> None:
    """Write the calibration."""
    plan(replace(settings_of(recipe, threads), calibrate=True, calibration=file))


def foresee(recipe: str, threads: int, file: Path) -> tuple[float, float]:
    """Seconds and gigabytes, as `mg3d plan` predicts them."""
    settings = settings_of(recipe, threads)
    torch.set_num_threads(threads)
    step = Trial(settings, settings.report_tokens).work
    predicted = predict(settings, step, Calibration.load(file))
    return predicted.step_seconds, predicted.memory_gb


def measure(recipe: str, threads: int) -> tuple[float, float]:
    """Seconds and gigabytes of real steps."""
    settings = settings_of(recipe, threads)
    torch.set_num_threads(threads)
    trial = Trial(settings, settings.report_tokens)
    seconds = trial.time(settings.loop.batch_size, STEPS)
    return seconds, peak_bytes(trial.device) / GB


if __name__ == "__main__":
    main()
