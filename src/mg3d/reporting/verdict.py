"""What a run showed, in plain sentences computed from its results and from nothing else.

The rule: a score counts as learned when the lower end of its interval is above chance.
"""

from dataclasses import dataclass

from mg3d.reporting.results import Baseline, Estimate, RetrievalPoint, ZeroShotResult
from mg3d.reporting.run_folder import RunFolder

CHANCE_AUROC = 0.5
OWN_PROBE = "trained_encoder_probe"
HEADLINE_K = 10
"""Recall@10 is the retrieval figure named in a verdict, or the largest k below it."""


@dataclass(frozen=True)
class Verdict:
    """A run in a line, and the sentences that qualify it."""

    line: str
    learned: bool | None
    """None where nothing was evaluated."""
    remarks: tuple[str, ...]


def judge(run: RunFolder) -> Verdict:
    """The verdict on a run, from the strict protocol with prompts in report wording."""
    result = headline_result(run)
    if result is None or result.macro_auroc is None:
        return Verdict(
            f"Trained for {run.steps[-1].step:,} steps; zero-shot findings are not evaluated yet.",
            None,
            tuple(_retrieval_remarks(run)),
        )
    score = result.macro_auroc
    learned = score.low is not None and score.low > CHANCE_AUROC
    line = (
        "The model learned to read findings from volumes"
        if learned
        else "No evidence that the model learned to read findings"
    )
    head = run.zero_shot.head if run.zero_shot else None
    patients = f", {head.num_patients:,} {head.split} patients" if head else ""
    return Verdict(
        f"{line}: zero-shot macro AUROC {describe(score)}{patients}; chance is 0.5.",
        learned,
        (*_baseline_remarks(run, score), *_wording_remarks(run, score), *_retrieval_remarks(run)),
    )


def headline_result(run: RunFolder) -> ZeroShotResult | None:
    """The result a run is judged by: strict protocol, prompts in report wording when there."""
    results = results_of(run, "strict")
    return results[0] if results else None


def results_of(run: RunFolder, protocol: str) -> tuple[ZeroShotResult, ...]:
    """Zero-shot results of a protocol; prompts in report wording first, never-seen wording last."""
    if run.zero_shot is None:
        return ()
    order = {"report": 0, "plain": 1, "unseen": 3}
    own = (result for result in run.zero_shot.zero_shot if result.protocol == protocol)
    return tuple(sorted(own, key=lambda result: order.get(result.prompts, 2)))


def headline_retrieval(run: RunFolder) -> RetrievalPoint | None:
    """Report -> volume recall under the strict protocol at `HEADLINE_K`."""
    if run.retrieval is None:
        return None
    for result in run.retrieval.retrieval:
        if (result.protocol, result.direction) == ("strict", "report_to_volume"):
            known = [point for point in result.measures.get("recall", ()) if point.k <= HEADLINE_K]
            return known[-1] if known else None
    return None


def best_baseline(run: RunFolder) -> Baseline | None:
    """The foreign model with the highest macro AUROC; a probe of the own encoder is none."""
    known = [] if run.baselines is None else run.baselines.baselines
    scored = [
        (baseline.macro_auroc.value, baseline)
        for baseline in known
        if baseline.macro_auroc and baseline.name != OWN_PROBE
    ]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def describe(score: Estimate | None) -> str:
    """``0.78 (0.74 to 0.81)``, without brackets where there is no interval, a dash for None."""
    if score is None:
        return "-"
    if score.low is None or score.high is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"


def brief(score: Estimate | None) -> str:
    """``0.78 (0.74-0.81)``, for tables with many columns."""
    if score is None:
        return "-"
    if score.low is None or score.high is None:
        return f"{score.value:.2f}"
    return f"{score.value:.2f} ({score.low:.2f}-{score.high:.2f})"


def _baseline_remarks(run: RunFolder, score: Estimate) -> list[str]:
    baseline = best_baseline(run)
    if baseline is None or baseline.macro_auroc is None:
        return ["No baseline was computed, so the score has nothing to be compared with."]
    value = baseline.macro_auroc.value
    relation = "above" if score.value > value else "not above"
    name = {
        "random_encoder_probe": "a linear probe on a random encoder",
        "pooled_voxels_linear": "a linear model on pooled voxels",
    }.get(baseline.name, baseline.name)
    return [
        f"The strongest baseline, {name} trained with labels, reaches {value:.3f}; the model, "
        f"which saw no labels, is {relation} it."
    ]


def _wording_remarks(run: RunFolder, score: Estimate) -> list[str]:
    for result in results_of(run, "strict"):
        if result.prompts == "unseen" and result.macro_auroc is not None:
            change = result.macro_auroc.value - score.value
            return [
                "With wording never seen in training the macro AUROC is "
                f"{describe(result.macro_auroc)}, a change of {change:+.3f}."
            ]
    return []


def _retrieval_remarks(run: RunFolder) -> list[str]:
    point = headline_retrieval(run)
    if point is None:
        return []
    against = ""
    if point.chance is not None and point.chance.value > 0:
        times = point.score.value / point.chance.value
        against = f", {times:.1f} times chance ({point.chance.value:.3f})"
    return [f"Finding the volume of a report: Recall@{point.k} {describe(point.score)}{against}."]
