"""Is it learning, and is it luck? The same recipe with several seeds, and on shuffled reports.

A run on reports that belong to other patients has nothing to learn: its zero-shot AUROC must lie
around 0.5 and its recall within the range of permuted pairs, or the evaluation leaks. Every run is
an ordinary run directory; a killed script goes on when it is started again.

    python benchmarks/controls.py STORE OUT --seeds 1 2 3 --shuffled 11 12 13 14 15

Writes OUT/controls.json (settings of the phantom, one entry a run with its own commit, seed and
hashes) and prints a table. Every run is opened and evaluated again, which is quick where it is
finished and refuses a folder that holds another recipe's or another store's run.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mg3d import cli
from mg3d.evaluation.evaluate import EvaluateConfig, evaluate
from mg3d.files import write_json
from mg3d.training.pretrain import PretrainConfig, pretrain
from mg3d.training.recorder import source_commit


def main() -> None:
    """Run what is missing, then write and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="store written by mg3d prepare")
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--recipe", default="phantom-tiny")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--shuffled", type=int, nargs="*", default=[11, 12, 13, 14, 15])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument(
        "--phantom", type=Path, help="folder of the phantom; default: `phantom` beside the store"
    )
    given = parser.parse_args()
    plans = [(seed, False) for seed in given.seeds] + [(seed, True) for seed in given.shuffled]
    rows = [run_one(given, seed, shuffled=shuffled) for seed, shuffled in plans]
    document = {
        "schema": "mg3d.controls/1",
        "commit": source_commit(),  # of this summary; each run has that of its training
        "phantom": read_phantom(given.phantom or given.store.resolve().parent / "phantom"),
        "recipe": given.recipe,
        "runs": rows,
        "summary": {
            name: summarise([row for row in rows if row["shuffled"] == shuffled])
            for name, shuffled in (("paired", False), ("shuffled", True))
        },
    }
    write_json(given.out / "controls.json", document)
    show(rows)


def run_one(given: argparse.Namespace, seed: int, *, shuffled: bool) -> dict[str, Any]:
    """Train and evaluate one run, or what is left to do of it."""
    run = given.out / f"{'shuffled' if shuffled else 'seed'}-{seed}"
    earlier = read_origin(run)  # read first: going on writes it anew
    words = [given.recipe, str(given.store), str(run), "--seed", str(seed)]
    words += ["--threads", str(given.threads)]
    words += ["--shuffle_reports", "true"] if shuffled else []
    if code := pretrain(cli.parse(PretrainConfig, "pretrain", words)):
        raise SystemExit(code)  # asked to stop, the state is saved
    words = [str(run), "--recipe", given.recipe, "--examples", "0"]
    words += ["--tasks", '["zero_shot","retrieval"]', "--threads", str(given.threads)]
    evaluate(cli.parse(EvaluateConfig, "evaluate", words))
    return (earlier or read_origin(run) or {}) | read_results(run)


def read_origin(run: Path) -> dict[str, Any] | None:
    """Seed, commit and pairing as the run itself tells them; None before it has begun."""
    path = run / "provenance.json"
    if not path.is_file():
        return None
    told = json.loads(path.read_text())
    return {
        "seed": told["seed"],
        "shuffled": told["shuffled_reports"],
        "commit": told["commit"],
    }


def read_phantom(folder: Path) -> dict[str, Any] | None:
    """Settings and seed of the phantom in ``folder``; None where there is none."""
    path = folder / "phantom.json"
    if not path.is_file():
        return None
    settings: dict[str, Any] = json.loads(path.read_text())["settings"]
    return settings


def read_results(run: Path) -> dict[str, Any]:
    """Strict results of one run."""
    findings = json.loads((run / "evaluation" / "zero_shot.json").read_text())
    pairs = json.loads((run / "evaluation" / "retrieval.json").read_text())
    macro = {
        result["prompts"]: result["macro_auroc"]
        for result in findings["results"]
        if result["protocol"] == "strict"
    }
    recall = next(
        result["recall"]
        for result in pairs["results"]
        if result["protocol"] == "strict" and result["direction"] == "report_to_volume"
    )
    return {
        "store_hash": findings["store_hash"],
        "checkpoint_hash": findings["checkpoint_hash"],
        "macro_auroc": macro,
        "other_scoring": findings["other_scoring"],
        "recall_at_10": recall["10"],
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over runs."""
    if not rows:
        return {}
    aurocs = [row["macro_auroc"]["report"]["value"] for row in rows]
    recalls = [row["recall_at_10"]["value"] for row in rows]
    return {
        "runs": len(rows),
        "macro_auroc_mean": float(np.mean(aurocs)),
        "macro_auroc_sd": float(np.std(aurocs, ddof=1)) if len(rows) > 1 else None,
        "recall_at_10_mean": float(np.mean(recalls)),
        "recall_at_10_over_chance": float(
            np.mean([row["recall_at_10"]["value"] / row["recall_at_10"]["chance"] for row in rows])
        ),
        "recall_within_permutation_range": [
            row["recall_at_10"]["chance_low"]
            <= row["recall_at_10"]["value"]
            <= row["recall_at_10"]["chance_high"]
            for row in rows
        ],
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print one line a run."""
    table = Table(title="Zero-shot macro AUROC and report -> volume R@10, strict protocol")
    for column in ("reports", "seed", "report wording", "plain", "unseen", "R@10", "chance"):
        table.add_column(column)
    for row in rows:
        macro, recall = row["macro_auroc"], row["recall_at_10"]
        report = macro["report"]
        table.add_row(
            "shuffled" if row["shuffled"] else "paired",
            str(row["seed"]),
            f"{report['value']:.3f} ({report['low']:.3f} to {report['high']:.3f})",
            f"{macro['plain']['value']:.3f}",
            f"{macro['unseen']['value']:.3f}",
            f"{recall['value']:.3f}",
            f"{recall['chance']:.3f} ({recall['chance_low']:.3f} to {recall['chance_high']:.3f})",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
