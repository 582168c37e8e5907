"""The charts of the report: what was trained, what was found, against what chance gives.

Each function takes typed results and returns a figure; none knows files or HTML.
"""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mg3d.reporting.results import (
    Baseline,
    Estimate,
    RetrievalPoint,
    RetrievalResult,
    ZeroShotResult,
)
from mg3d.reporting.run_folder import LoggedStep
from mg3d.reporting.theme import COLOURS, SERIES, add_grid, style

PROMPT_LABELS = {
    "report": "prompts in report wording",
    "plain": "plain prompts",
    "unseen": "wording never seen in training",
}
BASELINE_LABELS = {
    "random_encoder_probe": "random encoder + linear probe (uses labels)",
    "pooled_voxels_linear": "linear model on pooled voxels (uses labels)",
    "trained_encoder_probe": "this encoder + linear probe (uses labels)",
}
PREVALENCE = "prevalence"
SHORT_LABELS = {
    "report": "report wording",
    "plain": "plain prompts",
    "unseen": "never-seen wording",
    "random_encoder_probe": "random encoder",
    "pooled_voxels_linear": "pooled voxels",
    "trained_encoder_probe": "this encoder, probed",
}
DIRECTION_LABELS = {
    "report_to_volume": "report → volume",
    "volume_to_report": "volume → report",
    "volume_to_volume": "volume → volume",
}
MEASURE_LABELS = {"recall": "Recall", "jaccard": "mean Jaccard", "map": "MAP"}
_PROMPT_LOOKS = {
    "report": (COLOURS["blue"], "o", 6.0),
    "plain": (COLOURS["vermilion"], "D", 4.4),
    "unseen": (COLOURS["green"], "^", 5.4),
}
_BASELINE_LOOKS = {
    "random_encoder_probe": (COLOURS["muted"], "s", 4.6),
    "pooled_voxels_linear": (COLOURS["ink"], "x", 4.6),
    "trained_encoder_probe": (COLOURS["purple"], "s", 4.6),
}
_MAX_POINTS = 400
_FEW_POINTS = 12
"""Up to here each logged value is marked: rare checks would not be seen as a line."""
_SMOOTHING_SHARE = 25
"""A smoothed curve averages over 1/25 of the run."""


def loss_curves(steps: Sequence[LoggedStep]) -> Figure:
    """Small multiples: the total and each objective, every logged value and a running mean."""
    names = ["total", *sorted({name for step in steps for name in step.losses} - {"total"})]
    curves = {
        name: [(step.step, step.losses[name]) for step in steps if name in step.losses]
        for name in names
    }
    curves = {name: points for name, points in curves.items() if points}
    with style():
        figure, panels = _panels(len(curves), columns=3, height=1.75)
        colours = ("ink", *SERIES)
        for index, (name, points) in enumerate(curves.items()):
            axes = panels[index]
            _draw_curve(axes, points, colour=COLOURS[colours[index % len(colours)]])
            axes.set_title(name)
            axes.margins(x=0.01)
    return figure


def metric_curves(steps: Sequence[LoggedStep]) -> Figure | None:
    """Small multiples of what the objectives log beside their loss."""
    panels_wanted = _group_metrics(steps)
    if not panels_wanted:
        return None
    with style():
        figure, panels = _panels(len(panels_wanted), columns=3, height=1.9)
        for (title, metrics), axes in zip(sorted(panels_wanted.items()), panels, strict=False):
            for index, (metric, points) in enumerate(sorted(metrics.items())):
                look = COLOURS[SERIES[index % len(SERIES)]]
                _draw_curve(axes, points, colour=look, label=metric)
            axes.set_title(title)
            axes.margins(x=0.01)
            if title.rpartition(".")[2] not in metrics:
                axes.legend(loc="best", fontsize=7, handlelength=1.2)
    return figure


def _group_metrics(
    steps: Sequence[LoggedStep],
) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Title of a panel -> metric -> points: shares of an objective together, the rest alone."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for step in steps:
        for key, value in step.metrics.items():
            curves.setdefault(key, []).append((step.step, value))
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for key, points in curves.items():
        objective, _, metric = key.rpartition(".")
        is_share = objective and all(0 <= value <= 1 for _, value in points)
        panels.setdefault(objective if is_share else key, {})[metric] = points
    return panels


def finding_dots(results: Sequence[ZeroShotResult], baselines: Sequence[Baseline]) -> Figure:
    """AUROC of each finding with its interval, wordings and baselines side by side.

    Args:
        results: One protocol, one entry a wording of the prompts; the first sets the order.
        baselines: Drawn as open grey marks.
    """
    first = sorted(
        results[0].findings,
        key=lambda finding: -math.inf if finding.auroc is None else finding.auroc.value,
        reverse=True,
    )
    names = ["macro average", *(finding.name for finding in first)]
    with style():
        figure = Figure(figsize=(8.2, 0.36 * len(names) + 1.5), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0.5, color=COLOURS["muted"], linewidth=0.9, linestyle=(0, (4, 3)))
        for index, result in enumerate(results):
            scores = {finding.name: finding.auroc for finding in result.findings}
            scores["macro average"] = result.macro_auroc
            colour, marker, size = _PROMPT_LOOKS.get(result.prompts, (COLOURS["purple"], "v", 5.0))
            offset = 0.24 * (index - (len(results) - 1) / 2)
            label = PROMPT_LABELS.get(result.prompts, result.prompts)
            _draw_estimates(
                axes, names, scores, offset, label, colour=colour, marker=marker, size=size
            )
        for baseline in baselines:
            if baseline.name == PREVALENCE:  # 0.5 by construction: the line of chance
                continue
            scores = {**baseline.aurocs, "macro average": baseline.macro_auroc}
            colour, marker, size = _BASELINE_LOOKS.get(baseline.name, (COLOURS["muted"], "P", 5.0))
            _draw_marks(axes, names, scores, baseline.name, colour=colour, marker=marker, size=size)
        _finish_dots(axes, names)
        figure.legend(loc="outside upper left", ncols=2, handletextpad=0.5, columnspacing=1.6)
    return figure


def roc_curves(results: Sequence[ZeroShotResult]) -> Figure | None:
    """Small multiples: the ROC curve of each finding, one line a wording of the prompts."""
    drawable = [f for f in results[0].findings if f.false_positive_rates]
    if not drawable:
        return None
    with style():
        figure, panels = _panels(len(drawable), columns=6, height=1.7, width=9.6)
        for finding, axes in zip(drawable, panels, strict=False):
            axes.plot([0, 1], [0, 1], color=COLOURS["line"], linewidth=0.8)
            for index, result in enumerate(results):
                own = next((f for f in result.findings if f.name == finding.name), None)
                if own is None or not own.false_positive_rates:
                    continue
                colour = _PROMPT_LOOKS.get(result.prompts, (COLOURS["purple"], "", 0.0))[0]
                width = 1.7 if index == 0 else 0.8
                axes.plot(
                    own.false_positive_rates, own.true_positive_rates, color=colour, linewidth=width
                )
            _finish_roc(axes, finding.name, finding.auroc)
        figure.supxlabel("1 - specificity", fontsize=8.5, color=COLOURS["muted"])
        figure.supylabel("sensitivity", fontsize=8.5, color=COLOURS["muted"])
    return figure


def retrieval_curves(results: Sequence[RetrievalResult]) -> Figure:
    """Score at each k against the band that random ranks give; one panel a direction and measure.

    Args:
        results: One protocol.
    """
    panels_wanted = [
        (result, measure, points)
        for result in results
        for measure, points in result.measures.items()
    ]
    with style():
        figure, panels = _panels(len(panels_wanted), columns=2, height=2.3)
        for (result, measure, points), axes in zip(panels_wanted, panels, strict=False):
            direction = DIRECTION_LABELS.get(result.direction, result.direction)
            axes.set_title(f"{direction}, {MEASURE_LABELS[measure]}@k")
            _draw_retrieval(axes, points)
            axes.set_xlabel(f"k   ({result.num_queries} queries, gallery of {result.gallery_size})")
    return figure


def _panels(
    count: int, *, columns: int, height: float, width: float = 8.2
) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width, rows * height + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    panels = [axes for row in grid for axes in row]
    for unused in panels[count:]:
        unused.set_axis_off()
    for axes in panels[:count]:
        add_grid(axes, axis="y")
    return figure, panels[:count]


def _draw_curve(
    axes: Axes, points: Sequence[tuple[int, float]], *, colour: str, label: str | None = None
) -> None:
    steps, values = (np.asarray(column, dtype=float) for column in zip(*points, strict=True))
    if len(steps) > _MAX_POINTS:
        parts = np.array_split(np.arange(len(steps)), _MAX_POINTS)
        steps = np.array([steps[part].mean() for part in parts])
        values = np.array([values[part].mean() for part in parts])
    axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.7)
    marker = "o" if len(steps) <= _FEW_POINTS else ""
    axes.plot(steps, _running_mean(values), color=colour, label=label, marker=marker, markersize=3)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a centred window, over what there is of it at both ends."""
    half = len(values) // (2 * _SMOOTHING_SHARE)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - half, 0)
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    means: NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)
    return means


def _draw_estimates(
    axes: Axes,
    names: Sequence[str],
    scores: Mapping[str, Estimate | None],
    offset: float,
    label: str,
    *,
    colour: str,
    marker: str,
    size: float,
) -> None:
    for row, name in enumerate(names):
        score = scores.get(name)
        if score is None:
            continue
        if score.low is not None and score.high is not None:
            axes.plot(
                [score.low, score.high], [row + offset] * 2, color=colour, linewidth=1.2, alpha=0.55
            )
        axes.plot(
            score.value,
            row + offset,
            marker,
            color=colour,
            markersize=size,
            label=label if row == 0 else None,
        )


def _draw_marks(
    axes: Axes,
    names: Sequence[str],
    scores: Mapping[str, Estimate | None],
    baseline: str,
    *,
    colour: str,
    marker: str,
    size: float,
) -> None:
    known = [(score.value, row) for row, name in enumerate(names) if (score := scores.get(name))]
    if known:
        values, rows = zip(*known, strict=True)
        axes.plot(
            values,
            rows,
            marker,
            color=colour,
            markersize=size,
            markerfacecolor="none",
            markeredgewidth=1.1,
            label=BASELINE_LABELS.get(baseline, baseline),
            linestyle="none",
        )


def _finish_dots(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=9, labelcolor=COLOURS["ink"])
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.axhline(0.5, color=COLOURS["muted"], linewidth=0.7)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(right=1.01)  # room for half a mark
    add_grid(axes, axis="both")
    axes.set_xlabel("AUROC with 95 % interval over patients; the dashed line is chance")


def _finish_roc(axes: Axes, name: str, auroc: Estimate | None) -> None:
    axes.set_title(fill(name, width=20), fontsize=7.5, pad=3)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xticks([0, 1])
    axes.set_yticks([0, 1])
    axes.grid(False)
    if auroc is not None:
        axes.text(0.96, 0.06, f"{auroc.value:.2f}", ha="right", fontsize=8)


def _draw_retrieval(axes: Axes, points: Sequence[RetrievalPoint]) -> None:
    places = np.arange(len(points))
    chances = [(place, p.chance) for place, p in zip(places, points, strict=True) if p.chance]
    if chances:
        at, estimates = zip(*chances, strict=True)
        axes.plot(
            at,
            [e.value for e in estimates],
            "s--",
            color=COLOURS["muted"],
            markersize=3.5,
            label="chance",
        )
        lows = [e.value if e.low is None else e.low for e in estimates]
        highs = [e.value if e.high is None else e.high for e in estimates]
        axes.fill_between(at, lows, highs, color=COLOURS["muted"], alpha=0.25, linewidth=0)
    for place, point in zip(places, points, strict=True):
        score = point.score
        if score.low is not None and score.high is not None:
            axes.plot([place, place], [score.low, score.high], color=COLOURS["blue"], alpha=0.55)
    axes.plot(
        places,
        [p.score.value for p in points],
        "o-",
        color=COLOURS["blue"],
        markersize=5,
        label="model",
    )
    axes.set_xticks(places, [str(point.k) for point in points])
    axes.set_ylim(0, 1.02)
    axes.legend(loc="upper left")
