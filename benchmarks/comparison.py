"""Two sides measured in turns, and the table that all benchmarks write.

Rows are ``case, ours, reference, ratio, unit``; ratio is reference / ours, so above 1 ours needs
less. `Comparison.save` keeps rows of other cases that the file already holds, so that a long table
can be measured in several sittings; every row says of which code and when it was measured.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mg3d.files import write_json
from mg3d.training.recorder import source_commit

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "monai", "numpy", "mg3d")


class Comparison:
    """The rows of one benchmark."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: list[dict[str, Any]] = []
        self._commit = source_commit()

    def add(self, case: str, ours: float, reference: float | None, unit: str, **facts: Any) -> None:
        """Append a row; ``reference`` is None where there is nothing to compare with."""
        ratio = None if reference is None or ours == 0 else reference / ours
        row = {"case": case, "ours": ours, "reference": reference, "ratio": ratio, "unit": unit}
        when = {"measured": f"{datetime.now(UTC):%Y-%m-%d}", "commit": self._commit}
        self.rows.append(row | facts | when)

    def print(self) -> None:
        """Show the table."""
        table = Table("case", "ours", "reference", "ratio", "unit")
        for row in self.rows:
            numbers = (row[name] for name in ("ours", "reference", "ratio"))
            shown = ("" if number is None else f"{number:.3g}" for number in numbers)
            table.add_row(row["case"], *shown, row["unit"])
        Console().print(table)

    def save(self, folder: Path = RESULTS) -> Path:
        """Write ``<name>.json``; rows of cases that were not measured now stay."""
        path = folder / f"{self.name}.json"
        measured = {row["case"] for row in self.rows}
        kept = json.loads(path.read_text())["rows"] if path.is_file() else []
        rows = [row for row in kept if row["case"] not in measured] + self.rows
        write_json(path, {"machine": machine(), "rows": rows})
        return path


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "threads": torch.get_num_threads(),
    }


def interleaved_medians(sides: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Median wall seconds of each side after one warm-up, measured in turns."""
    for side in sides:
        side()
    seconds: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, times in zip(sides, seconds, strict=True):
            began = time.perf_counter()
            side()
            times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in seconds]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
