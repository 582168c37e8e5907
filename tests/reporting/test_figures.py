"""What the charts draw, read back from their axes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mg3d.reporting.figures import (
    finding_dots,
    loss_curves,
    metric_curves,
    retrieval_curves,
    roc_curves,
)
from mg3d.reporting.results import Estimate
from mg3d.reporting.run_folder import LoggedStep, RunFolder, read_run
from mg3d.reporting.verdict import results_of


@pytest.fixture
def run(run_folder: Path) -> RunFolder:
    return read_run(run_folder)


def _steps(losses: list[dict[str, float]]) -> list[LoggedStep]:
    return [
        LoggedStep(
            step=index + 1, epoch=0, total_steps=None, seconds=None, losses=loss, metrics={},
            volumes_per_second=None,
        )
        for index, loss in enumerate(losses)
    ]  # fmt: skip


def test_each_objective_has_a_panel_and_the_total_comes_first(run: RunFolder) -> None:
    titles = [axes.get_title("left") for axes in loss_curves(run.steps).axes if axes.lines]
    assert titles[0] == "total"
    assert titles[1:] == sorted(set(run.steps[0].losses) - {"total"})


def test_a_flat_loss_stays_flat_up_to_both_ends_when_smoothed_and_binned() -> None:
    figure = loss_curves(_steps([{"total": 2.5}] * 3001))
    raw, smooth = figure.axes[0].lines
    assert len(raw.get_xdata()) == 400
    np.testing.assert_allclose(smooth.get_ydata(), 2.5, rtol=1e-12)  # measured 4e-16


def test_an_objective_that_joins_later_is_drawn_from_there() -> None:
    figure = loss_curves(_steps([{"total": 1.0}, {"total": 1.0, "clip": 3.0}]))
    assert list(figure.axes[1].lines[0].get_xdata()) == [2]


def test_shares_of_an_objective_stand_together_and_other_metrics_alone(run: RunFolder) -> None:
    figure = metric_curves(run.steps)
    assert figure is not None
    panels = {axes.get_title("left"): axes for axes in figure.axes if axes.lines}
    legends = {
        title: [text.get_text() for text in legend.get_texts()]
        for title, axes in panels.items()
        if (legend := axes.get_legend())
    }
    assert legends["plain_alignment"] == ["top1", "top1_image_blanked"]
    assert legends["masked_report"] == ["accuracy"]
    assert set(panels) - set(legends) == {"grad_norm", "masked_report.token_loss"}
    assert metric_curves(_steps([{"total": 1.0}])) is None


def test_dots_stand_at_their_score_with_their_interval(run: RunFolder) -> None:
    results = results_of(run, "strict")
    assert run.baselines is not None
    axes = finding_dots(results, run.baselines.baselines).axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    ordered = sorted(results[0].findings, key=lambda f: f.auroc.value if f.auroc else 0)
    assert rows == ["macro average", *(f.name for f in reversed(ordered))]
    drawn = {
        (round(float(x), 9), round(float(y)))
        for line in axes.lines
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }
    for result in results:
        for finding in result.findings:
            assert finding.auroc is not None
            for value in (finding.auroc.value, finding.auroc.low, finding.auroc.high):
                assert value is not None
                assert (round(value, 9), rows.index(finding.name)) in drawn


def test_a_finding_without_score_keeps_its_row_and_gets_no_dot(run: RunFolder) -> None:
    result = results_of(run, "strict")[0]
    without = tuple(replace(f, auroc=None) for f in result.findings[:1]) + result.findings[1:]
    axes = finding_dots([replace(result, findings=without)], []).axes[0]
    row = [label.get_text() for label in axes.get_yticklabels()].index(result.findings[0].name)
    assert row == 18
    heights = {round(float(y)) for line in axes.lines[1:] for y in line.get_ydata()}
    assert row not in heights


def test_roc_panels_show_the_points_and_are_absent_without_points(run: RunFolder) -> None:
    results = results_of(run, "strict")
    figure = roc_curves(results)
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 18
    np.testing.assert_array_equal(
        panels[0].lines[1].get_ydata(), results[0].findings[0].true_positive_rates
    )
    bare = tuple(replace(f, false_positive_rates=()) for f in results[0].findings)
    assert roc_curves([replace(results[0], findings=bare)]) is None


def test_retrieval_is_drawn_against_chance(run: RunFolder) -> None:
    assert run.retrieval is not None
    strict = [result for result in run.retrieval.retrieval if result.protocol == "strict"]
    figure = retrieval_curves(strict)
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 4  # two directions, and Jaccard and MAP of the third
    by_label = {line.get_label(): line for line in panels[0].lines}
    points = strict[0].measures["recall"]
    assert list(by_label["model"].get_ydata()) == [p.score.value for p in points]
    assert list(by_label["chance"].get_ydata()) == [p.chance.value for p in points if p.chance]
    assert [text.get_text() for text in panels[0].get_xticklabels()] == ["1", "5", "10", "50"]


def test_retrieval_without_chance_or_interval(run: RunFolder) -> None:
    assert run.retrieval is not None
    first = run.retrieval.retrieval[0]
    points = tuple(
        replace(p, chance=None, score=Estimate(p.score.value, None, None))
        for p in first.measures["recall"]
    )
    figure = retrieval_curves([replace(first, measures={"recall": points})])
    assert [line.get_label() for line in figure.axes[0].lines] == ["model"]
