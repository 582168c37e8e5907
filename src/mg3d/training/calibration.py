"""Calibration: how long one machine takes for each kind of operator, and what a process needs.

Measured on one recipe, used for others: a kind's seconds are so many a call, so many an operation
and so many a byte, found by non-negative least squares over single calls of all sizes. A kind that
the recipe does not have takes the rates of all operators of its class.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from mg3d.errors import DataError
from mg3d.files import write_json
from mg3d.training.trial import StepWork, Trial, peak_bytes
from mg3d.training.work import VIEW, Load, Operation, Work

SCHEMA = "mg3d.calibration/2"
GB = 1e9
_SHORTEST = 1e-6  # seconds; shorter calls are as exact as the clock, and no more
_FLOAT = 4  # bytes of a weight, a gradient or a moment
_REPEATS = 3
_LONGEST_STEP = 5.0  # seconds; steps of more volumes than that many take are not tried
_ROOM = 0.8  # share of a device's memory that the largest step tried may take
_CUDA_CONTEXT_GB = 0.6

Rate = tuple[float, float, float]
"""Seconds a call, a floating-point operation and a byte."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Rates of one machine, with one number of threads and one precision."""

    device: str
    """Name of the processor or GPU."""
    precision: str
    threads: int
    rates: dict[str, Rate]
    """By kind of operator, and by class for kinds that were not measured."""
    step_factor: float
    """Seconds of a whole step for each second of its operators."""
    process_gb: float
    """What the process holds before a model is built."""
    held_factor: float
    """Peak memory beyond that and the weights, for each byte that tensors hold: the allocator's
    gaps and the libraries' scratch are in it."""

    def seconds(self, work: Work) -> float:
        """Time of a pass."""
        return self.step_factor * seconds_of(work, self.rates)

    def unknown_share(self, work: Work) -> float:
        """Share of `seconds` in kinds that were not measured, 0 to 1."""
        unknown = {kind: load for kind, load in work.loads.items() if kind not in self.rates}
        whole = seconds_of(work, self.rates)
        return seconds_of(Work(unknown, 0), self.rates) / whole if whole else 0.0

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, {"schema": SCHEMA, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read what `save` wrote.

        Raises:
            DataError: If there is none, or it is no calibration.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("schema") != SCHEMA:
                raise KeyError("schema")
            rates = {kind: _rate(values) for kind, values in content.pop("rates").items()}
            return cls(rates=rates, **content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: no calibration of this version ({type(error).__name__}); make one with "
                "`mg3d plan RECIPE --calibrate true --calibration FILE`."
            ) from error


def _rate(values: Sequence[float]) -> Rate:
    call, operation, byte = (float(value) for value in values)
    return call, operation, byte


def calibrate(trial: Trial, precision: str, most_rows: int) -> Calibration:
    """Measure this machine with a recipe: whole steps, their operators, and their peak memory.

    Args:
        trial: The recipe, ready to step.
        precision: Its arithmetic.
        most_rows: Volumes of the largest step tried; fewer where time or memory end sooner.
    """
    seconds = _try_sizes(trial, most_rows)
    peak = peak_bytes(trial.device)  # before notes of operators take memory, too
    tensors = peak - trial.process_bytes - state_bytes(trial.work)
    rows = max(seconds)
    half, whole = (trial.trace(number) for number in (max(1, rows // 2), rows))
    rates = fit_rates([note for part in half + whole for note in part.operations])
    foreseen = sum(seconds_of(part.work, rates) for part in whole)
    return Calibration(
        device=torch.cuda.get_device_name(trial.device) if trial.device.type == "cuda" else "cpu",
        precision=precision,
        threads=torch.get_num_threads(),
        rates=rates,
        step_factor=seconds[rows] / foreseen,
        process_gb=trial.process_bytes / GB
        + (_CUDA_CONTEXT_GB if trial.device.type == "cuda" else 0.0),
        held_factor=max(1.0, tensors / held_bytes(trial.work, rows)),
    )


def _try_sizes(trial: Trial, most_rows: int) -> dict[int, float]:
    """Seconds of a step by its number of volumes: 1, 2 and as many as time and memory allow.

    Nothing is tried in between, for the allocator's gaps grow with every other size.
    """
    seconds, peaks = {}, {}
    for rows in (1, 2):
        seconds[rows] = trial.time(rows, _REPEATS)
        peaks[rows] = peak_bytes(trial.device)
    more = (_LONGEST_STEP - seconds[2]) / max(seconds[2] - seconds[1], seconds[2] / 4)
    if trial.device.type == "cuda":
        room = _ROOM * torch.cuda.get_device_properties(trial.device).total_memory
        more = min(more, (room - peaks[2]) / max(peaks[2] - peaks[1], peaks[2] / 4))
    rows = min(most_rows, 2 + int(more))
    if rows > 2:
        seconds[rows] = trial.time(rows, _REPEATS)
    return seconds


def held_bytes(step: StepWork, rows: int) -> float:
    """What tensors take at the peak of a step, besides weights and moments."""
    return max(step.of(rows).held_bytes, _FLOAT * step.trained + step.update.held_bytes)


def state_bytes(step: StepWork) -> float:
    """Weights, and two moments of each that learns."""
    return _FLOAT * (step.weights + 2.0 * step.trained)


def seconds_of(work: Work, rates: dict[str, Rate]) -> float:
    """Time of a pass's operators, one after the other."""
    return sum(
        amount * rate
        for kind, load in work.loads.items()
        for amount, rate in zip(load, _rate_of(kind, load, rates), strict=True)
    )


def fit_rates(operations: Sequence[Operation]) -> dict[str, Rate]:
    """Rates of every kind and every class of operator, none negative.

    Every call counts alike, short or long: relative errors are squared. Afterwards each rate is
    scaled so that all calls together take what they took.
    """
    groups: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        for name in {operation.kind, _class_of(operation.kind, operation.flops)}:
            groups[name].append(operation)
    return {kind: _fit(calls) for kind, calls in groups.items()}


def _fit(calls: list[Operation]) -> Rate:
    amounts = np.array([(1.0, call.flops, call.moved_bytes) for call in calls])
    seconds = np.array([max(call.seconds, _SHORTEST) for call in calls])
    scale = np.maximum(amounts.max(axis=0), 1.0)
    found, _ = nnls(amounts / scale / seconds[:, None], np.ones(len(calls)))
    found *= seconds.sum() / (amounts / scale @ found).sum() / scale
    return _rate(found.tolist())


def _rate_of(kind: str, load: Load, rates: dict[str, Rate]) -> Rate:
    for name in (kind, _class_of(kind, load.flops)):
        if name in rates:
            return rates[name]
    return rates.get("other", (0.0, 0.0, 0.0))


def _class_of(kind: str, flops: float) -> str:
    if kind == VIEW or not flops:
        return VIEW if kind == VIEW else "other"
    return "convolution" if "convolution" in kind else "product"
