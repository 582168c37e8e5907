"""Write reference/benchmarks.md from benchmarks/results: ``python docs/generate_benchmarks.py``.

Every file of results becomes a section: the question from the benchmark's docstring, what the
numbers were measured on, and tables. A test fails when the page is out of date.
"""

import ast
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mg3d.files import write_atomic

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "results"
PAGE = Path(__file__).parent / "reference" / "benchmarks.md"
START = "<!-- tables: written by docs/generate_benchmarks.py -->"
WHOLE_FROM = 1000
"""Numbers of this size and above are written without decimals."""

Content = Mapping[str, Any]
Row = Mapping[str, Any]


def updated(page: str) -> str:
    """``page`` with everything below the mark replaced."""
    head, mark, _ = page.partition(START)
    if not mark:
        raise SystemExit(f"{PAGE} lacks the line {START}")
    return f"{head}{START}\n\n" + "\n".join(section(path) for path in result_files())


def result_files() -> list[Path]:
    """The files of results, by name."""
    return sorted(RESULTS.glob("*.json"))


def section(path: Path) -> str:
    """Heading, question, circumstances and tables of one file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    script = script_of(path)
    facts = circumstances(content)
    return (
        f"## {path.stem}\n\n{question(script)}\n\n"
        f"`benchmarks/{script.name}`{': ' if facts else ''}{facts}.\n\n"
        f"{VIEWS.get(script.stem, tables)(content)}"
    )


def script_of(path: Path) -> Path:
    """The benchmark that wrote a file: the longest name that the file's name begins with."""
    names = [script for script in BENCHMARKS.glob("*.py") if path.stem.startswith(script.stem)]
    if not names:
        raise SystemExit(f"no benchmark of the name of {path}")
    return max(names, key=lambda script: len(script.stem))


def question(script: Path) -> str:
    """First paragraph of a benchmark's docstring."""
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def circumstances(content: Content) -> str:
    """Where, when and on what a benchmark ran, as far as its file says."""
    machine = content.get("machine", {})
    parts = [machine] if isinstance(machine, str) else [_flat(machine)]
    if "versions" in content:
        parts.append(_flat(content["versions"]))
    days = sorted({row["measured"] for row in _rows_of(content) if "measured" in row})
    parts += [" to ".join(dict.fromkeys((days[0], days[-1])))] if days else []
    rows = (row["commit"] for row in _rows_of(content) if "commit" in row)
    commits = dict.fromkeys([content["commit"]] if "commit" in content else rows)
    if commits:
        parts.append(f"commit {', '.join(map(_short_commit, commits))}")
    return "; ".join(part for part in parts if part)


def _short_commit(commit: str) -> str:
    number, changed, _ = str(commit).partition("+")
    return f"{number[:7]}{' with changes' if changed else number[40:]}"


def tables(content: Content) -> str:
    """Any file: single values, then one table a list or mapping of rows."""
    known = {"machine", "commit", "versions", "schema"}
    rest = {name: value for name, value in content.items() if name not in known}
    single = {name: value for name, value in rest.items() if not isinstance(value, dict | list)}
    parts = [f"{_words(_flat(single))}.\n"] if single else []
    for name, value in rest.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            parts.append(comparison(value) if "ours" in value[0] else table(value))
        elif isinstance(value, dict):
            whole = {key: each for key, each in value.items() if isinstance(each, dict)}
            if whole:
                rows = [{"": key, **each} for key, each in whole.items()]
                parts.append(f"{_words(name)}:\n\n{table(rows)}")
            if len(whole) < len(value):
                plain = {key: each for key, each in value.items() if key not in whole}
                parts.append(f"{_words(name)}: {_words(_flat(plain))}.\n")
    return "\n".join(parts)


def comparison(rows: Sequence[Row]) -> str:
    """Rows of ``case, ours, reference, ratio, unit``; columns that are empty are left out."""
    names = ["case", "ours", "reference", "ratio", "unit"]
    if all(row["reference"] is None for row in rows):
        names = ["case", "ours", "unit"]
    return table([{name: row[name] for name in names} for row in rows])


def table(rows: Sequence[Row]) -> str:
    """Any rows as a table; the columns are all keys in their first order."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "| " + " | ".join(_words(name) for name in names) + " |\n" + "|---" * len(names) + "|\n"
    cells = ([_cell(row.get(name), name) for name in names] for row in rows)
    return head + "".join("| " + " | ".join(line) + " |\n" for line in cells)


def audit(content: Content) -> str:
    """Clean studies, and planted faults by what `prepare` does about them."""
    planted = content.get("planted", [])
    counts = Counter((row["action"], row["named"]) for row in planted)
    missed = [row["change"] for row in planted if not row["named"]]
    rows = [
        {
            "prepare must": action,
            "planted": counts[action, True] + counts[action, False],
            "named": counts[action, True],
        }
        for action in sorted({row["action"] for row in planted})
    ]
    clean = dict(content["clean"])
    named = clean.pop("kinds")
    return (
        f"Clean studies: {_words(_flat(clean))}; named: {_flat(named) or 'nothing'}.\n\n"
        f"{table(rows)}\nPlanted and not named: {', '.join(missed) or 'none'}.\n"
    )


def controls(content: Content) -> str:
    """A row a run; the summary over runs."""
    rows = [
        {
            "reports": "shuffled" if run["shuffled"] else "paired",
            "seed": run["seed"],
            **{f"AUROC, {name}": _interval(each) for name, each in run["macro_auroc"].items()},
            "recall at 10": _interval(run["recall_at_10"]),
            "chance": run["recall_at_10"]["chance"],
        }
        for run in content["runs"]
    ]
    summary = [
        {"reports": name, **{key: v for key, v in each.items() if not isinstance(v, list)}}
        for name, each in content["summary"].items()
    ]
    return f"Recipe `{content['recipe']}`.\n\n{table(rows)}\n{table(summary)}"


def crashes(content: Content) -> str:
    """Points that ended bit-equal."""
    rows = [
        {"case": row["case"], "ended bit-equal": row["ours"], "of": row["reference"]}
        for row in content["rows"]
    ]
    return f"Seed {content['seed']}.\n\n{table(rows)}"


def fuzz(content: Content) -> str:
    """A row a target; what was found."""
    rows = [
        {
            "target": name,
            "inputs": target["inputs"],
            "read": target["read"],
            "refused by name": sum(target["refused"].values()),
            "findings": len(target["findings"]),
            "slowest, CPU seconds": target["slowest_cpu_s"],
        }
        for name, target in content["targets"].items()
    ]
    found = [each for target in content["targets"].values() for each in target["findings"]]
    text = f"{content['inputs']:,} inputs, seed {content['seed']}; {len(found)} findings.\n\n"
    return text + table(rows) + (f"\n{table(found)}" if found else "")


def phantom_shortcuts(content: Content) -> str:
    """For each finding the predictor that is farthest from chance."""
    rows = []
    for finding, scores in content["auroc"].items():
        worst = max(scores, key=lambda name: abs(scores[name] - 0.5))
        rows.append({"finding": finding, "farthest from 0.5": worst, "AUROC": scores[worst]})
    single = {name: value for name, value in content.items() if name != "auroc"}
    return f"{_words(_flat(single))}.\n\n{table(rows)}"


VIEWS: dict[str, Callable[[Content], str]] = {
    view.__name__: view for view in (audit, controls, crashes, fuzz, phantom_shortcuts)
}
"""Benchmark -> what is shown of it, where that is not simply all."""


def _rows_of(content: Content) -> Iterable[Row]:
    return (row for row in content.get("rows", []) if isinstance(row, dict))


def _interval(estimate: Content) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _cell(value: Any, name: str = "") -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "seed":
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return _flat(value)
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return "" if value is None else str(value).replace("|", "\\|")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= WHOLE_FROM else f"{value:.3g}"


def _flat(values: Content) -> str:
    """A mapping as ``name value, name value``."""
    return ", ".join(
        f"{name or 'nothing'} {_cell(value, name)}".strip() for name, value in values.items()
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


if __name__ == "__main__":
    write_atomic(PAGE, updated(PAGE.read_text(encoding="utf-8")))
