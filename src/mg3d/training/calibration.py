"""Calibration: how fast one machine does `Work`, and what a process needs besides it.

Measured on one recipe, used for others. Seconds are the sum of what products, convolutions,
memory traffic and the number of operators take, each at a rate of its own, found by non-negative
least squares over steps of several sizes and their parts. The best of some runs counts: other
programs only make them slower.
"""

import json
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from mg3d.errors import DataError
from mg3d.files import write_json
from mg3d.training.work import Work, count_work

SCHEMA = "mg3d.calibration/1"
GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Rates of one machine, with one number of threads and one precision."""

    device: str
    """Name of the processor or GPU."""
    precision: str
    threads: int
    seconds_per_product: float
    """Of one floating-point operation in a product of matrices."""
    seconds_per_convolution: float
    """Of one floating-point operation in a convolution."""
    seconds_per_moved_byte: float
    """Of each byte that an operator reads or writes."""
    seconds_per_operator: float
    """Of an operator, whatever its size."""
    process_gb: float
    """What the process holds before a model is built."""
    kept_factor: float
    """Peak memory of a pass beyond weights and gradients, for each byte kept."""

    def seconds(self, work: Work) -> float:
        """Time of one pass."""
        return (
            work.products * self.seconds_per_product
            + work.convolutions * self.seconds_per_convolution
            + work.moved_bytes * self.seconds_per_moved_byte
            + work.operators * self.seconds_per_operator
        )

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
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: no calibration of this version ({type(error).__name__}); make one with "
                "`mg3d plan RECIPE --calibrate true`."
            ) from error


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One pass with its measured time."""

    work: Work
    seconds: float


def time_pass(function: Callable[[], Tensor], module: nn.Module, repeats: int) -> Trial:
    """Count the work of a pass and take the shortest of its times."""
    work = count_work(function, module)
    times = []
    for _ in range(repeats):
        began = perf_counter()
        function().backward()  # type: ignore[no-untyped-call]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(perf_counter() - began)
        module.zero_grad(set_to_none=True)
    return Trial(work=work, seconds=min(times))


def fit_rates(trials: Sequence[Trial]) -> tuple[float, float, float, float]:
    """Seconds an operation in products and convolutions, a byte moved, an operator; none negative.

    Every trial counts alike: relative errors are squared, not seconds.
    """
    works = [trial.work for trial in trials]
    rows = np.array([[w.products, w.convolutions, w.moved_bytes, w.operators] for w in works])
    seconds = np.array([t.seconds for t in trials])
    scale = np.maximum(rows.max(axis=0), 1.0)
    found, _ = nnls(rows / scale / seconds[:, None], np.ones(len(trials)))
    product, convolution, byte, operator = (found / scale).tolist()
    return product, convolution, byte, operator


def peak_bytes(device: torch.device) -> int:
    """Most memory so far: of the process on the CPU, of torch's allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
