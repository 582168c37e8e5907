"""The tables that `mg3d evaluate` prints: protocols side by side, chance beside every score.

Laid out for 80 columns; everything else is in the result files.
"""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

NOTICE = "Research use only, not a medical device: nothing here is for the care of a patient."
BASELINES = {
    "random_encoder_probe": "labels, random encoder",
    "pooled_voxels_linear": "labels, mean voxels",
    "trained_encoder_probe": "labels, this encoder",
    "prevalence": "prevalence",
}
SCORINGS = {"difference": "positive - negative prompt", "positive": "positive prompt only"}
DIRECTIONS = {
    "report_to_volume": ("report -> volume", "recall"),
    "volume_to_report": ("volume -> report", "recall"),
    "volume_to_volume": ("volumes alike", "jaccard"),
}
SHOWN_CUTOFFS = ("1", "5", "10")
Document = Mapping[str, Any]


def print_summary(documents: Mapping[str, Document], console: Console) -> None:
    """Print what was measured and end with the research-use notice.

    Args:
        documents: Result files by task, at least one of zero_shot, retrieval, baselines.
        console: Where to; not the progress console, since this is the command's answer.
    """
    if documents.keys() & {"zero_shot", "baselines"}:
        console.print(_findings_table(documents))
    if "retrieval" in documents:
        console.print(_retrieval_table(documents["retrieval"]))
    first = next(iter(documents.values()))
    console.print(
        f"{first['num_patients']} patients, {first['num_studies']} studies, split "
        f"'{first['split']}'; \\[95 % interval over patients], (chance).",
        soft_wrap=True,
    )
    console.print(NOTICE, soft_wrap=True)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _findings_table(documents: Mapping[str, Document]) -> Table:
    scoring = documents.get("zero_shot", {}).get("scoring")
    told = f"; scoring: {SCORINGS[scoring]}" if scoring else ""
    table = _table(
        f"Findings (macro means{told})",
        "scored by",
        "strict AUROC",
        "legacy",
        "strict F1",
        "legacy",
    )
    by_wording: dict[str, dict[str, Document]] = {}
    for result in documents.get("zero_shot", {}).get("results", []):
        by_wording.setdefault(result["prompts"], {})[result["protocol"]] = result
    for wording, result in by_wording.items():
        strict, legacy = result["strict"], result["legacy"]
        table.add_row(
            f"prompts, {wording}",
            _with_interval(strict["macro_auroc"]),
            _value(legacy["macro_auroc"]),
            _with_interval(strict["macro_f1"]),
            _value(legacy["macro_f1"]),
        )
    for result in documents.get("zero_shot", {}).get("other_scoring", []):
        how = "positive only" if result["scoring"] == "positive" else "positive - negative"
        table.add_row(f"{result['prompts']}, {how}", _with_interval(result["macro_auroc"]))
    table.add_section()
    for result in documents.get("baselines", {}).get("results", []):
        table.add_row(BASELINES[result["name"]], _with_interval(result["macro_auroc"]))
    return table


def _retrieval_table(document: Document) -> Table:
    cutoffs = [f"@{k}" for k in SHOWN_CUTOFFS]
    table = _table(
        "Retrieval in % (Recall@k; label Jaccard@k)", "protocol", "query -> gallery of", *cutoffs
    )
    for result in document["results"]:
        name, measure = DIRECTIONS[result["direction"]]
        scores = result[measure]
        cells = [_beside_chance(scores[k]) if k in scores else "-" for k in SHOWN_CUTOFFS]
        table.add_row(result["protocol"], f"{name}, {result['gallery_size']}", *cells)
    return table


def _value(estimate: Document | None) -> str:
    return "-" if estimate is None else f"{estimate['value']:.3f}"


def _with_interval(estimate: Document | None) -> str:
    if estimate is None or estimate["low"] is None:
        return _value(estimate)
    # the backslash keeps rich from reading the bracket as a style
    return f"{_value(estimate)} \\[{estimate['low']:.2f} {estimate['high']:.2f}]"


def _beside_chance(score: Document) -> str:
    return f"{100 * score['value']:.1f} ({100 * score['chance']:.1f})"
