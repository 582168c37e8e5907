"""The tables that `mg3d evaluate` prints: both protocols side by side, chance beside scores."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

NOTICE = "Research use only, not a medical device: nothing here is for the care of a patient."
SHOWN_CUTOFFS = ("1", "5", "10")
DIRECTIONS = {
    "report_to_volume": ("report -> volume", "recall", "R"),
    "volume_to_report": ("volume -> report", "recall", "R"),
    "volume_to_volume": ("volume -> volume", "jaccard", "Jaccard"),
}
BASELINES = {
    "random_encoder_probe": "random encoder + labels (linear probe)",
    "pooled_voxels_linear": "mean voxels + labels (linear probe)",
    "prevalence": "prevalence of the training split",
    "trained_encoder_probe": "this encoder + labels (linear probe)",
}


def print_summary(documents: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print what was measured and end with the research-use notice.

    Args:
        documents: Result files by task: zero_shot, retrieval, baselines; any may be absent.
        console: Where to; not the progress console, since this is the command's answer.
    """
    if "zero_shot" in documents or "baselines" in documents:
        console.print(_findings_table(documents))
    if "retrieval" in documents:
        console.print(_retrieval_table(documents["retrieval"]))
    for document in documents.values():
        console.print(
            f"{document['num_patients']} patients, {document['num_studies']} studies of the split "
            f"'{document['split']}'; [low high] is the 95 % bootstrap interval over patients."
        )
        break
    console.print(NOTICE)


def _findings_table(documents: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title="Findings, macro means")
    for heading in ("protocol", "prompts or baseline", "AUROC", "AUPRC", "F1"):
        table.add_column(heading)
    for result in documents.get("zero_shot", {}).get("results", []):
        scores = [_estimate(result[f"macro_{name}"]) for name in ("auroc", "auprc", "f1")]
        table.add_row(result["protocol"], f"zero-shot, {result['prompts']}", *scores)
    table.add_section()
    for result in documents.get("baselines", {}).get("results", []):
        name = BASELINES[result["name"]]
        table.add_row("strict", name, _estimate(result["macro_auroc"]), "", "")
    return table


def _retrieval_table(document: Mapping[str, Any]) -> Table:
    table = Table(title="Retrieval, (chance) from shuffles")
    for heading in ("protocol", "direction", "gallery"):
        table.add_column(heading)
    for k in SHOWN_CUTOFFS:
        table.add_column(f"@{k}")
    for result in document["results"]:
        name, measure, short = DIRECTIONS[result["direction"]]
        scores = result[measure]
        cells = [_beside_chance(scores[k]) if k in scores else "-" for k in SHOWN_CUTOFFS]
        table.add_row(result["protocol"], f"{name}, {short}@k", str(result["gallery_size"]), *cells)
    return table


def _estimate(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return "not computed"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    # the backslash keeps rich from reading the bracket as a style
    return f"{estimate['value']:.3f} \\[{estimate['low']:.3f} {estimate['high']:.3f}]"


def _beside_chance(score: Mapping[str, Any]) -> str:
    return f"{_estimate(score)} ({score['chance']:.3f})"
