"""Does any reader, layout or check of reports crash, hang or stumble over damaged input?

Damages small sound files and texts, one input a number: the same seed, target and number give the
same input for good. Each is read in a worker process with limits on memory (4 GiB of addresses)
and on the processor time of one input (10 s), so that a crash or hang costs one worker and names
its input. An input may be read, or refused with a DataError that repeats no planted word; anything
else is a finding.

    python benchmarks/fuzz.py [--inputs 20000] [--seed 0] [--only nifti ...]
    python benchmarks/fuzz.py --replay nifti:1234 [--seed 0] [--keep FOLDER]

Prints the findings, writes benchmarks/results/fuzz.json, exits 1 if there is one.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fuzz_seeds import PLANTED, make_seeds
from fuzz_targets import TARGETS, check_targets
from mg3d.errors import DataError
from mg3d.files import write_json

SCRIPT = Path(__file__)
RESULTS = SCRIPT.parent / "results"
MOST_CPU_S = 10
"""Processor time of one input; the kernel counts whole seconds and ends the worker soon after."""
MOST_MEMORY = 4 << 30
"""Bytes of addresses of a worker; libraries alone map more than 1 GiB."""
_SILENCE_S = 1800
"""Time on the clock after which a worker that says nothing is ended: it waits for nobody."""


def main(arguments: list[str] | None = None) -> int:
    """Run the inputs, or one again."""
    options = _options(arguments)
    check_targets()
    if options.worker:
        return _work(options)
    with tempfile.TemporaryDirectory() as scratch:
        seeds = Path(scratch) / "seeds"
        make_seeds(seeds)
        if options.replay:
            name, number = options.replay.split(":")
            return _replay(name, int(number), options.seed, seeds, options.keep or Path(scratch))
        began = time.monotonic()
        plan = _plan(options.inputs, options.only)
        with ThreadPoolExecutor(options.jobs) as pool:  # each waits for a worker process
            outcomes = pool.map(
                lambda name: _run(name, plan[name], options.seed, seeds, Path(scratch)), plan
            )
            results = {
                name: _summary(name, each) for name, each in zip(plan, outcomes, strict=True)
            }
    report = {
        "schema": "mg3d.fuzz/1",
        "seed": options.seed,
        "inputs": sum(plan.values()),
        "findings": sum(len(each["findings"]) for each in results.values()),
        "most_cpu_s": MOST_CPU_S,
        "most_memory_bytes": MOST_MEMORY,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "targets": results,
    }
    _show(report)
    write_json(options.out, report)
    return 1 if report["findings"] else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--only", nargs="*", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--replay", help="target:number of one input")
    parser.add_argument("--keep", type=Path, help="folder for the input that is replayed")
    parser.add_argument("--out", type=Path, default=RESULTS / "fuzz.json")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _plan(inputs: int, only: list[str]) -> dict[str, int]:
    """Inputs a target, by weight, ``inputs`` or a few more in all."""
    total = sum(TARGETS[name].weight for name in only)
    return {name: -(-inputs * TARGETS[name].weight // total) for name in only}


def _run(
    name: str, inputs: int, seed: int, seeds: Path, scratch: Path
) -> list[tuple[int, dict[str, Any]]]:
    """Outcome of every input of a target; a worker that dies is followed by another."""
    outcomes: list[tuple[int, dict[str, Any]]] = []
    start = 0
    while start < inputs:
        numbers = (str(start), str(inputs))
        command = [sys.executable, str(SCRIPT), "--seed", str(seed), "--worker", name, *numbers]
        worker = subprocess.run(
            [*command, str(seeds), str(scratch)],
            capture_output=True,
            text=True,
            timeout=_SILENCE_S,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        lines = [json.loads(line) for line in worker.stdout.splitlines() if line.startswith("{")]
        outcomes += [(line.pop("number"), line) for line in lines if "read" in line]
        done = {number for number, _ in outcomes}
        begun = [line["begin"] for line in lines if "begin" in line]
        if worker.returncode == 0:
            break
        if worker.returncode > 0 or begun[-1] in done:  # our own mistake, not a reader's
            raise RuntimeError(f"{name}: the worker failed by itself:\n{worker.stderr[-2000:]}")
        kind = "hang" if worker.returncode == -24 else f"crash {worker.returncode}"  # SIGXCPU
        outcomes.append((begun[-1], {"read": False, "finding": kind, "cpu_s": 0.0}))
        start = begun[-1] + 1
    return outcomes


def _work(options: argparse.Namespace) -> int:
    """Read inputs one after another, saying before and after each how it went."""
    name, start, stop, seeds, scratch = options.worker
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in range(int(start), int(stop)):
        print(json.dumps({"begin": number}), flush=True)
        used = resource.getrusage(resource.RUSAGE_SELF)
        began = used.ru_utime + used.ru_stime
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(began) + MOST_CPU_S + 2, hard))
        outcome = read_one(name, number, options.seed, Path(seeds), Path(scratch) / f"input_{name}")
        used = resource.getrusage(resource.RUSAGE_SELF)
        outcome["cpu_s"] = round(used.ru_utime + used.ru_stime - began, 3)
        print(json.dumps({"number": number, **outcome}), flush=True)
    return 0


def read_one(name: str, number: int, seed: int, seeds: Path, folder: Path) -> dict[str, Any]:
    """Make one input, read it, and say how it went.

    Returns:
        "read": whether it was; "refused": the kind of a DataError; "finding": what must not be,
        with the place in the code but without the message, which may quote the input.
    """
    target = TARGETS[name]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = random.Random(f"{seed}/{name}/{number}")
    path = target.make(seeds / name, folder, source)
    try:
        target.call(path)
    except DataError as error:
        outcome: dict[str, Any] = {"read": False, "refused": getattr(error, "kind", "table")}
        if any(word in str(error).lower() for word in PLANTED):
            outcome["finding"] = "message repeats a planted word"
        return outcome
    except BaseException as error:  # any other exception is what we look for
        if isinstance(error, KeyboardInterrupt):
            raise
        return {"read": False, "finding": f"{type(error).__name__} at {_place(error)}"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"read": True}


def _place(error: BaseException) -> str:
    """File and line of ours where an exception came through last, and where it began."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "mg3d" in frame.filename] or frames
    shown = [ours[-1], frames[-1]] if ours[-1] != frames[-1] else [ours[-1]]
    return " from ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in shown)


def _replay(name: str, number: int, seed: int, seeds: Path, keep: Path) -> int:
    """Make one input again, keep it, and read it without a net."""
    folder = keep / "input"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = TARGETS[name].make(seeds / name, folder, random.Random(f"{seed}/{name}/{number}"))
    print(f"input {name}:{number} is {path}")
    try:
        TARGETS[name].call(path)
    except DataError as error:
        print(f"refused: {error}")
    else:
        print("read")
    return 0


def _summary(name: str, outcomes: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    refused = Counter(each["refused"] for _, each in outcomes if "refused" in each)
    return {
        "inputs": len(outcomes),
        "read": sum(each["read"] for _, each in outcomes),
        "refused": dict(sorted(refused.items())),
        "slowest_cpu_s": max((each["cpu_s"] for _, each in outcomes), default=0.0),
        "findings": [
            {"input": f"{name}:{number}", "what": each["finding"]}
            for number, each in outcomes
            if "finding" in each
        ],
    }


def _show(report: dict[str, Any]) -> None:
    for name, each in report["targets"].items():
        refused = sum(each["refused"].values())
        print(
            f"{name:22} {each['inputs']:6} inputs, {each['read']:6} read, {refused:6} refused, "
            f"{len(each['findings']):3} findings, slowest {each['slowest_cpu_s']:.2f} s"
        )
    findings = [found for each in report["targets"].values() for found in each["findings"]]
    for found in findings:
        print(f"{found['input']}: {found['what']}")
    print(f"{report['inputs']} inputs in {report['minutes']} min: {len(findings)} findings")


if __name__ == "__main__":
    sys.exit(main())
