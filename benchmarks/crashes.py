"""Stop `mg3d prepare` and `mg3d pretrain` at random moments, go on, and compare every byte.

    .venv/bin/python benchmarks/crashes.py [--points 100] [--seed 0]

Each point: a command runs in a process of its own, is stopped in one of four ways, and is given
again until it is done. What it leaves must equal what an undisturbed run leaves: every byte of the
store; weights, optimiser state, release and logged losses of the training. Ways to stop:

- kill -9 at a random moment,
- kill -9 in the middle of a random write, half of which is then on the disk,
- SIGTERM at a random moment, to all processes of the command, as schedulers do,
- a disk that is full from a random byte on (every later write fails too, until the next start).

A moment is a share of the CPU time of the undisturbed run, so that a busy machine shifts nothing.
Processes are forked from one that has imported everything: about two seconds a point.
Prints a table and writes benchmarks/results/crashes.json.
"""

import argparse
import contextlib
import errno
import json
import multiprocessing
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from mg3d import files
from mg3d.cli import main as mg3d
from mg3d.files import sha256, write_json
from mg3d.training.recorder import read_metrics, source_commit

RESULTS = Path(__file__).parent / "results"
WAYS = ("kill -9", "kill -9 in a write", "SIGTERM", "full disk")
OUTPUTS = {"prepare": "store", "pretrain": "run"}
KINDS = [(command, way) for way in WAYS for command in OUTPUTS]
TIMES = ("seconds", "volumes_per_second")
POLL_S = 0.002
LIMIT_S = 600  # of one command; only a deadlock takes that long
MOST_TRIES = 10  # draws of a moment until one falls before the end of the run
STEPS = 9
RECIPE: dict[str, Any] = {
    "phantom": {"num_train": 10, "num_val": 1, "num_test": 1, "grid": [40, 36, 32], "seed": 7},
    "prepare": {"geometry": {"grid": [32, 16, 32], "spacing_mm": [11.0, 15.0, 10.0]}},
    "pretrain": {
        "model": {
            "grid": [32, 16, 32],
            "dim": 16,
            "embedding_dim": 12,
            "clause_dim": 8,
            "image": {
                "patch_size": 4,
                "embed_dim": 8,
                "depths": [1, 1],
                "num_heads": [2, 2],
                "window": [4, 2, 4],
            },
            "text": {
                "hidden_size": 16,
                "num_layers": 1,
                "num_heads": 2,
                "intermediate_size": 16,
                "clause_scope": "clause",
            },
            "fusion": {"layers": 1, "heads": 2},
            "pooling": {"heads": 2, "token_channels": 4},
            "decoder_channels": [8, 8, 4, 4],
        },
        "objectives": {"masked_volume": {"block": [8, 8, 8]}},
        "start": {"whitening_studies": 8, "canonical_components": 8},
        "corpus": {"steps": 2, "batch_size": 8, "section_reports": 4},
        "optimizer": {"lr": 0.001, "warmup_steps": 1},
        "loop": {
            "steps": STEPS,
            "batch_size": 4,
            "checkpoint_every": 2,
            "log_every": 1,
            "shortcut_every": 0,
        },
        "vocabulary_size": 200,
        "accelerator": "cpu",
        "threads": 1,
    },
}
"""The smallest run that has every part of the method: an epoch is 2 steps, a checkpoint 2."""


@dataclass(frozen=True)
class Extent:
    """What an undisturbed run took."""

    cpu_s: float
    num_writes: int
    num_bytes: int


@dataclass(frozen=True)
class Point:
    """One stop and its outcome."""

    command: str
    way: str
    moment: float
    """Share of the CPU time, of the writes or of the bytes of the undisturbed run, in (0, 1)."""
    exit_code: int
    """Of the stopped command; negative = died of that signal."""
    equal: bool
    """Whether the same command, given again, ended with the undisturbed run's results."""


class Harness:
    """A phantom, the two commands on it, and what they leave when nothing stops them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recipe = folder / "recipe.yaml"
        self._recipe.write_text(yaml.safe_dump(RECIPE))
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(
            ["mg3d.training.pretrain", "mg3d.data.preparation.prepare"]
        )
        phantom = ["phantom", "--recipe", str(self._recipe), "--num_workers", "1"]
        self._measure([*phantom, "--out", str(folder / "phantom")])
        self._extents = {
            command: self._measure(self._words(command, folder / OUTPUTS[command]))
            for command in OUTPUTS
        }
        self._expected = {
            command: CONTENTS[command](folder / OUTPUTS[command]) for command in OUTPUTS
        }

    def try_point(self, command: str, way: str, seed: str) -> Point:
        """Stop a command once, let it finish, and compare."""
        draw, out = random.Random(seed), self._folder / f"tried-{seed}"
        words = self._words(command, out)
        for _ in range(MOST_TRIES):
            shutil.rmtree(out, ignore_errors=True)
            moment = draw.uniform(0.0, 1.0)
            stopped = self._stop(words, way, moment, self._extents[command])
            if stopped:
                break
        else:
            raise SystemExit(f"{command} always ended before it could be stopped")
        again = self._wait(words, self._start(words, None))
        if again:
            print(self._log(words).read_text(), file=sys.stderr)
        found, expected = CONTENTS[command](out), self._expected[command]
        equal = again == 0 and found == expected
        if not equal:
            names = sorted(found.keys() | expected.keys())
            different = [name for name in names if found.get(name) != expected.get(name)]
            print(f"{command} {seed}: {different} differ", file=sys.stderr)
        shutil.rmtree(out)
        return Point(command, way, round(moment, 6), stopped, equal)

    def _words(self, command: str, out: Path) -> list[str]:
        phantom, recipe = self._folder / "phantom", str(self._recipe)
        if command == "prepare":
            given = ["--labels", str(phantom / "labels.csv"), "--num_workers", "1"]
            data = ["--data", str(phantom / "reports.csv")]
            return ["prepare", *data, "--recipe", recipe, *given, "--out", str(out)]
        store = str(self._folder / OUTPUTS["prepare"])
        return ["pretrain", recipe, "--store", store, "--run", str(out)]

    def _log(self, words: Sequence[str]) -> Path:
        """What a command prints, beside what it writes."""
        return self._folder / f"{Path(words[-1]).name}.log"

    def _measure(self, words: Sequence[str]) -> Extent:
        """What a command takes when it is left alone."""
        counts = self._folder / "writes.json"
        process = self._start(words, _count_writes, counts)
        spent = 0.0
        while process.is_alive():
            spent = max(spent, _cpu_s(process.pid))
            time.sleep(POLL_S)
        if process.exitcode:
            raise SystemExit(
                f"{words[0]} exits with {process.exitcode}:\n{self._log(words).read_text()}"
            )
        num_writes, num_bytes = json.loads(counts.read_text())
        return Extent(spent, num_writes, num_bytes)

    def _stop(self, words: Sequence[str], way: str, moment: float, extent: Extent) -> int:
        """Exit code of a command that is stopped at a moment; 0 if it was done before."""
        if way == "kill -9 in a write":
            number = 1 + int(moment * extent.num_writes)
            return self._wait(words, self._start(words, _die_in_write, number))
        if way == "full disk":
            return self._wait(words, self._start(words, _fill_disk, int(moment * extent.num_bytes)))
        process = self._start(words, None)
        while process.is_alive() and _cpu_s(process.pid) < moment * extent.cpu_s:
            time.sleep(POLL_S)
        kind = signal.SIGTERM if way == "SIGTERM" else signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):  # it may have ended
            try:
                os.killpg(process.pid, kind)
            except ProcessLookupError:  # it has no group yet
                os.kill(process.pid, kind)
        return self._wait(words, process)

    def _start(self, words: Sequence[str], change: Callable[..., None] | None, *given: Any) -> Any:
        arguments = (list(words), str(self._log(words)), change, given)
        process = self._processes.Process(target=_run, args=arguments)
        process.start()
        return process

    def _wait(self, words: Sequence[str], process: Any) -> int:
        process.join(LIMIT_S)
        if process.exitcode is None:
            process.kill()
            raise SystemExit(f"a command hangs for {LIMIT_S} s:\n{self._log(words).read_text()}")
        return int(process.exitcode)


def _run(words: list[str], log: str, change: Callable[..., None] | None, given: Any) -> None:
    """What a process does: one command, on a disk that `change` may have made worse."""
    os.setsid()  # a group of its own, which can be signalled as a whole
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    if change is not None:
        change(*given)
    sys.exit(mg3d(words))


def _count_writes(counts: Path) -> None:
    """Note the number of writes and bytes in a file."""
    original, num_writes, num_bytes = files._write_all, 0, 0

    def counted(stream: Any, payload: bytes) -> None:
        nonlocal num_writes, num_bytes
        original(stream, payload)
        num_writes, num_bytes = num_writes + 1, num_bytes + len(payload)
        counts.write_text(json.dumps([num_writes, num_bytes]))

    files._write_all = counted


def _die_in_write(number: int) -> None:
    """Be killed when half of a write is on the disk."""
    original, done = files._write_all, 0

    def deadly(stream: Any, payload: bytes) -> None:
        nonlocal done
        done += 1
        if done == number:
            original(stream, payload[: len(payload) // 2])
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        original(stream, payload)

    files._write_all = deadly


def _fill_disk(left: int) -> None:
    """Let the disk be full once ``left`` more bytes were written."""
    original = files._write_all

    def limited(stream: Any, payload: bytes) -> None:
        nonlocal left
        fitting = payload[:left]
        left -= len(fitting)
        original(stream, fitting)
        if len(fitting) < len(payload):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files._write_all = limited


def _cpu_s(pid: int) -> float:
    """CPU time that a process has used; 0 when it has gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def store_content(store: Path) -> dict[str, str]:
    """Every file of a store, by its hash."""
    return _hashes(store, "**/*")


def run_content(run: Path) -> dict[str, Any]:
    """What a run is worth: weights, optimiser, release, tokenizer, and its log but for times.

    The checkpoints before the last may be others, since SIGTERM adds one.
    """
    rows = [
        {name: value for name, value in row.items() if name not in TIMES}
        for row in read_metrics(run / "metrics.jsonl")
    ]
    patterns = (f"checkpoints/step-{STEPS:08d}/*.safetensors", "release/**/*", "tokenizer/**/*")
    hashes = {name: code for pattern in patterns for name, code in _hashes(run, pattern).items()}
    leftovers = [str(path.relative_to(run)) for path in sorted(run.rglob(".*.????????"))]
    return {"log": rows, "leftovers": leftovers, **hashes}


def _hashes(folder: Path, pattern: str) -> dict[str, str]:
    found = (path for path in sorted(folder.glob(pattern)) if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()) for path in found}


CONTENTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "prepare": store_content,
    "pretrain": run_content,
}


def try_points(indices: Sequence[int], seed: int) -> list[Point]:
    """Try the ways to stop in turn, on both commands, with a phantom of its own."""
    points = []
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(Path(folder))
        for index in indices:
            kind = KINDS[index % len(KINDS)]
            points.append(harness.try_point(*kind, f"{seed}-{index}"))
            print(index, points[-1], flush=True)
    return points


def summary(points: Sequence[Point]) -> list[dict[str, Any]]:
    """One row a command and way: how many points, and how many of them ended equal."""
    rows = []
    for command, way in sorted(KINDS, key=lambda kind: list(OUTPUTS).index(kind[0])):
        chosen = [p for p in points if (p.command, p.way) == (command, way)]
        equal = sum(point.equal for point in chosen)
        rows.append(
            {
                "case": f"{command}, {way}",
                "ours": equal,
                "reference": len(chosen),
                "ratio": equal / len(chosen) if chosen else None,
                "unit": "points that ended bit-equal, of all tried",
            }
        )
    return rows


def main() -> None:
    """Try the points, print and store the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--jobs", type=int, default=2, help="points tried at a time")
    given = parser.parse_args()
    commit = source_commit()  # of the code that is loaded now
    context = multiprocessing.get_context("spawn")
    shares = [range(job, given.points, given.jobs) for job in range(given.jobs)]
    with ProcessPoolExecutor(given.jobs, context) as pool:
        tried = pool.map(try_points, shares, [given.seed] * given.jobs)
        points = [point for share in tried for point in share]
    rows = summary(points)
    document = {
        "schema": "mg3d.crashes/1",
        "commit": commit,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("mg3d", "torch", "numpy")},
        "seed": given.seed,
        "rows": rows,
        "points": [asdict(point) for point in points],
    }
    write_json(RESULTS / "crashes.json", document)
    table = Table("stopped", "bit-equal", "tried", title="stopped at random, then run again")
    for row in rows:
        table.add_row(row["case"], str(row["ours"]), str(row["reference"]))
    Console().print(table)
    if not all(point.equal for point in points):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
