"""What a run leaves behind to be read: metrics.jsonl, TensorBoard, environment.json.

Only the first process writes. After a resume, rows beyond the checkpoint are dropped first, so
that the file never tells a step twice.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

import mg3d
from mg3d.files import append_line, write_json, write_jsonl
from mg3d.progress import console

_PACKAGES = ("torch", "monai", "transformers", "tokenizers", "lightning-fabric", "numpy")


class Recorder:
    """Appends one row a logged step to ``metrics.jsonl`` and to TensorBoard."""

    def __init__(self, run: Path, first_step: int) -> None:
        """Open the log of ``run`` and drop rows after ``first_step``."""
        self._path = run / "metrics.jsonl"
        rows = [row for row in read_metrics(self._path) if row["step"] <= first_step]
        write_jsonl(self._path, rows)
        self._board: TensorBoardLogger | None = TensorBoardLogger(
            root_dir=run, name="tensorboard", version=""
        )

    def log(self, row: dict[str, Any]) -> None:
        """Record one row; its ``step`` counts optimiser steps done."""
        append_line(self._path, json.dumps(row, sort_keys=True))
        scalars = {f"loss/{name}": value for name, value in row["loss"].items()}
        scalars |= {f"metrics/{name}": value for name, value in row["metrics"].items()}
        scalars |= {"lr": row["lr"], "volumes_per_second": row["volumes_per_second"]}
        self._draw(lambda board: board.log_metrics(scalars, step=row["step"]))

    def close(self) -> None:
        """Flush the TensorBoard file."""
        self._draw(lambda board: board.finalize("success"))

    def _draw(self, write: Callable[[TensorBoardLogger], None]) -> None:
        """Write to TensorBoard; a disk that refuses it ends the curves, not the training."""
        if self._board is None:
            return
        try:
            write(self._board)
        except OSError as error:
            console.print(f"[yellow]TensorBoard stopped ({error.strerror}); metrics.jsonl goes on")
            self._board = None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; a last line torn by a crash is left out."""
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break  # only the last line of an interrupted append can be torn
    return rows


def write_environment(run: Path) -> None:
    """Store versions and machine, without names of hosts, users or folders."""
    write_json(
        run / "environment.json",
        {
            "mg3d": mg3d.__version__,
            "commit": source_commit(),
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "cpu_count": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "packages": {  # of those that are installed: monai is only tested against
                found.name: found.version
                for found in importlib.metadata.distributions()
                if found.name in _PACKAGES
            },
        },
    )


def source_commit() -> str | None:
    """Commit of the source this package runs from, "+changes" if it differs; None outside git."""
    folder = Path(mg3d.__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()
