"""What the demonstration costs: wall time and peak memory of every stage of `make demo`.

    .venv/bin/python benchmarks/demo.py FOLDER [--interval 0.5]

FOLDER must be empty, since a stage that finds its work done takes no time. Memory is the summed
proportional set size (PSS) of all processes below make, so pages that workers share count once.
It is sampled, and a peak shorter than the interval may be missed. Prints a table and writes
benchmarks/results/demo.json with commit, machine and versions.
"""

import argparse
import os
import platform
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from mg3d.files import write_json
from mg3d.training.recorder import source_commit

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("mg3d", "torch", "numpy", "transformers", "joblib")
COMMAND_LINE = re.compile(r"^\S*mg3d (\w+) ")
"""How make announces a stage before it begins."""


def main() -> None:
    """Run the demonstration, print and store what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the demonstration goes; empty or absent")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between samples")
    given = parser.parse_args()
    folder = given.folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{given.folder} is not empty; a finished stage would take no time")
    command = ["make", "-C", str(ROOT), "demo", f"DEMO={folder}"]
    stages = measure(command, given.interval)
    document = {
        "schema": "mg3d.demo/1",
        "commit": source_commit(),
        "machine": machine(),
        "versions": {name: version(name) for name in PACKAGES},
        "sample_interval_s": given.interval,
        "wall_s": sum(stage["wall_s"] for stage in stages),
        "peak_pss_bytes": max(stage["peak_pss_bytes"] for stage in stages),
        "stages": stages,
    }
    write_json(RESULTS / "demo.json", document)
    show(stages)


def measure(command: Sequence[str], interval_s: float) -> list[dict[str, Any]]:
    """Run a command that announces its stages on standard output, and watch its processes.

    Args:
        command: Program and arguments.
        interval_s: Seconds between two samples of the memory.

    Returns:
        One entry a stage, the first of which (``setup``) lasts until the first announcement:
        ``name``, ``wall_s`` and ``peak_pss_bytes``.

    Raises:
        SystemExit: If the command fails, with its exit code.
    """
    stages: list[dict[str, Any]] = []
    began = time.perf_counter()

    def turn_to(name: str) -> None:
        nonlocal began
        now = time.perf_counter()
        if stages:
            stages[-1]["wall_s"] = now - began
        began = now
        stages.append({"name": name, "wall_s": 0.0, "peak_pss_bytes": 0})

    turn_to("setup")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, stages, interval_s, done))
        watcher.start()
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if announced := COMMAND_LINE.match(line):
                turn_to(announced[1])
        code = process.wait()
        done.set()
        watcher.join()
    stages[-1]["wall_s"] = time.perf_counter() - began
    if code:
        raise SystemExit(code)
    return stages


def _watch(
    pid: int, stages: list[dict[str, Any]], interval_s: float, done: threading.Event
) -> None:
    """Keep the peak of the stage that runs; a sample belongs to the stage in which it began."""
    while not done.is_set():
        stage = stages[-1]
        stage["peak_pss_bytes"] = max(stage["peak_pss_bytes"], tree_pss_bytes(pid))
        done.wait(interval_s)


def tree_pss_bytes(pid: int) -> int:
    """Summed proportional set size of a process and all below it, in bytes; Linux only.

    A process that ends meanwhile counts nothing: between listing and reading there is always one.
    """
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def machine() -> dict[str, Any]:
    """What the times depend on, without names of hosts or users."""
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def show(stages: Sequence[dict[str, Any]]) -> None:
    """Print one line a stage."""
    table = Table("stage", "wall s", "peak PSS MiB", title="make demo")
    for stage in stages:
        peak = stage["peak_pss_bytes"] / 2**20
        table.add_row(stage["name"], f"{stage['wall_s']:.1f}", f"{peak:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
