"""The sections of the page, each a function from a run to HTML; order as in `SECTIONS`.

A section whose files are missing says so and names the command that writes them.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape

from mg3d.reporting import html
from mg3d.reporting.figures import (
    DIRECTION_LABELS,
    MEASURE_LABELS,
    PREVALENCE,
    PROMPT_LABELS,
    SHORT_LABELS,
    finding_dots,
    loss_curves,
    metric_curves,
    retrieval_curves,
    roc_curves,
)
from mg3d.reporting.results import Estimate, EvaluationHead, RetrievalResult, ZeroShotResult
from mg3d.reporting.run_folder import Evaluation, ExampleStudy, RunFolder
from mg3d.reporting.slices import example_figure
from mg3d.reporting.theme import to_data_uri, to_svg
from mg3d.reporting.verdict import brief, describe, results_of

PROTOCOLS = ("strict", "legacy")
EVALUATE = "`mg3d evaluate` writes it."
Section = Callable[[RunFolder], str]


def training(run: RunFolder) -> str:
    """Loss curves and what the objectives log beside them."""
    caption = (
        "Each logged value (pale) and its running mean, against the optimiser step. Losses of "
        "different objectives have different units: compare shapes, not heights."
    )
    parts = [html.chart(to_svg(loss_curves(run.steps), name="loss", title="Loss curves"), caption)]
    metrics = metric_curves(run.steps)
    if metrics is not None:
        parts.append("<h3>Measured beside the losses</h3>")
        svg = to_svg(metrics, name="metrics", title="Metrics of the objectives")
        caption = (
            "A contrastive accuracy that stays high with one modality blanked means that the "
            "objective is solved without it: a shortcut."
        )
        parts.append(html.chart(svg, caption))
    return "\n".join(parts)


def findings(run: RunFolder) -> str:
    """Zero-shot AUROC per finding, with wordings and baselines, as chart and as table."""
    results = results_of(run, "strict")
    if not results:
        return html.missing("There is no evaluation/zero_shot.json in this run.", EVALUATE)
    known = () if run.baselines is None else run.baselines.baselines
    baselines = [baseline for baseline in known if baseline.name != PREVALENCE]
    figure = finding_dots(results, baselines)
    caption = (
        "Strict protocol: one score a study, intervals from resampling patients. Filled marks saw "
        "no labels; open marks and crosses were trained with labels."
    )
    parts = [
        html.paragraph(_scope(run.zero_shot), kind="hint"),
        html.chart(to_svg(figure, name="findings", title="AUROC of each finding"), caption),
    ]
    if not baselines:
        parts.append(html.missing("There is no evaluation/baselines.json in this run.", EVALUATE))
    header = ["AUROC", *(SHORT_LABELS.get(result.prompts, result.prompts) for result in results)]
    header += [SHORT_LABELS.get(baseline.name, baseline.name) for baseline in baselines]
    header += ["AUPRC, report wording", "present", "absent"]
    rows = [
        [
            finding.name,
            *(brief(_auroc_of(result, finding.name)) for result in results),
            *(brief(baseline.aurocs.get(finding.name)) for baseline in baselines),
            brief(finding.auprc),
            _count(finding.num_positive),
            _count(finding.num_negative),
        ]
        for finding in results[0].findings
    ]
    return "\n".join([*parts, html.table(header, rows)])


def roc(run: RunFolder) -> str:
    """ROC curves as small multiples."""
    results = results_of(run, "strict")
    figure = roc_curves(results) if results else None
    if figure is None:
        return html.missing("There are no ROC points in this run.", EVALUATE)
    caption = (
        "Bold: prompts in report wording, whose AUROC is printed. Thin: the other wordings, in the "
        "colours of the chart above."
    )
    return html.chart(to_svg(figure, name="roc", title="ROC curves of each finding"), caption)


def retrieval(run: RunFolder) -> str:
    """Recall@k and its relatives against chance."""
    strict = _retrieval_of(run, "strict")
    if not strict:
        return html.missing("There is no evaluation/retrieval.json in this run.", EVALUATE)
    caption = (
        "Strict protocol: any study with the same report counts as a hit, the query is not in its "
        "own gallery. Bars are 95 % intervals over patients; the grey band holds 95 % of the same "
        "score for random ranks."
    )
    figure = retrieval_curves(strict)
    return "\n".join(
        [
            html.paragraph(_scope(run.retrieval), kind="hint"),
            html.chart(to_svg(figure, name="retrieval", title="Retrieval against chance"), caption),
        ]
    )


def protocols(run: RunFolder) -> str:
    """The strict and the legacy protocol side by side."""
    parts = [
        html.paragraph(
            "Strict is how this project measures: a study is scored once, thresholds never see "
            "test labels, intervals resample patients. Legacy repeats the habits of published "
            "tables, so that numbers can be set beside them; it tends to flatter. F1 is that of "
            "the present class with a threshold from validation (strict), or weighted over both "
            "classes with a threshold picked on the test labels (legacy)."
        )
    ]
    if run.zero_shot is None and run.retrieval is None:
        return "\n".join(
            [*parts, html.missing("Nothing has been evaluated in this run.", EVALUATE)]
        )
    return "\n".join([*parts, *_zero_shot_table(run), *_retrieval_table(run)])


def examples(run: RunFolder) -> str:
    """Three planes of a few studies with the similarity of a prompt laid over them."""
    if not run.examples:
        return html.missing("There are no example studies in this run.", EVALUATE)
    note = html.paragraph(
        "Upper row: the CT. Lower row: how much each place adds to the similarity of the volume "
        "and the prompt. The map shows what the embedding responds to; it is not a segmentation. "
        "The patient's right is on the left, as in radiology."
    )
    pictures = [
        html.picture(
            to_data_uri(example_figure(example)),
            f"Study {example.study_id} in three planes with the similarity to the prompt",
            _example_caption(example),
        )
        for example in run.examples
    ]
    return "\n".join([note, *pictures])


def provenance(run: RunFolder) -> str:
    """What made this run: hashes, seeds, versions and the whole configuration."""
    parts = []
    if run.provenance is None:
        parts.append(
            html.missing("There is no provenance.json in this run.", "Training writes it.")
        )
    else:
        parts += ["<h3>Training data and code</h3>", html.facts(run.provenance)]
    heads = {name: evaluation.head for name, evaluation in _evaluations(run).items()}
    if heads:
        parts.append("<h3>Evaluation</h3>")
        parts += [html.facts({"files": tasks, **vars(head)}) for head, tasks in _by_head(heads)]
        parts += [html.paragraph(text, kind="missing") for text in _disagreements(heads)]
    if run.environment is None:
        parts.append(
            html.missing("There is no environment.json in this run.", "Training writes it.")
        )
    else:
        parts += ["<h3>Environment</h3>", html.facts(run.environment)]
    if run.recipe is None:
        parts.append(html.missing("There is no config.yaml in this run.", "Training writes it."))
    else:
        parts += ["<h3>Configuration</h3>", html.folded("config.yaml", run.recipe)]
    if run.zero_shot is not None and run.zero_shot.prompt_texts:
        parts += ["<h3>Prompts</h3>", _prompt_list(run.zero_shot.prompt_texts)]
    return "\n".join(parts)


SECTIONS: Mapping[str, tuple[str, Section]] = {
    "training": ("Training", training),
    "findings": ("Findings without labels", findings),
    "roc": ("ROC curves", roc),
    "retrieval": ("Retrieval", retrieval),
    "protocols": ("Two protocols", protocols),
    "examples": ("Example studies", examples),
    "provenance": ("Where this comes from", provenance),
}
"""Anchor -> heading and function."""


def _scope(evaluation: Evaluation | None) -> str:
    assert evaluation is not None
    head = evaluation.head
    text = f"Split {head.split}: {head.num_patients:,} patients, {head.num_studies:,} studies"
    return text + (f"; {head.repeats:,} bootstrap repeats." if head.repeats else ".")


def _auroc_of(result: ZeroShotResult, name: str) -> Estimate | None:
    return next((finding.auroc for finding in result.findings if finding.name == name), None)


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _retrieval_of(run: RunFolder, protocol: str) -> tuple[RetrievalResult, ...]:
    if run.retrieval is None:
        return ()
    return tuple(result for result in run.retrieval.retrieval if result.protocol == protocol)


def _zero_shot_table(run: RunFolder) -> list[str]:
    strict, legacy = ({r.prompts: r for r in results_of(run, p)} for p in PROTOCOLS)
    if not strict and not legacy:
        return [html.missing("Zero-shot findings were not evaluated in this run.", EVALUATE)]
    rows = [
        [
            f"{label}, {PROMPT_LABELS.get(prompts, prompts)}",
            *(describe(getattr(side.get(prompts), field, None)) for side in (strict, legacy)),
        ]
        for label, field in (
            ("macro AUROC", "macro_auroc"),
            ("macro AUPRC", "macro_auprc"),
            ("F1", "macro_f1"),
        )
        for prompts in strict | legacy
    ]
    return [html.table(["zero-shot findings", *PROTOCOLS], rows)]


def _retrieval_table(run: RunFolder) -> list[str]:
    strict, legacy = (_retrieval_scores(_retrieval_of(run, p)) for p in PROTOCOLS)
    if not strict and not legacy:
        return [html.missing("Retrieval was not evaluated in this run.", EVALUATE)]
    blank = ("-", "-")
    rows = [[name, *strict.get(name, blank), *legacy.get(name, blank)] for name in strict | legacy]
    return [html.table(["retrieval", "strict", "chance", "legacy", "chance"], rows)]


def _retrieval_scores(results: Sequence[RetrievalResult]) -> dict[str, tuple[str, str]]:
    """Name of a row -> score and chance, as text."""
    scores = {}
    for result in results:
        direction = DIRECTION_LABELS.get(result.direction, result.direction)
        for measure, points in result.measures.items():
            for point in points:
                name = f"{direction}, {MEASURE_LABELS[measure]}@{point.k}"
                scores[name] = (describe(point.score), describe(point.chance))
        if result.median_rank is not None:
            rank = f"{result.median_rank:g} of {result.gallery_size:,}"
            scores[f"{direction}, median rank"] = (rank, "-")
    return scores


def _example_caption(example: ExampleStudy) -> str:
    truth = "not known" if example.label is None else ("present" if example.label else "absent")
    score = "" if example.score is None else f" Score {example.score:+.3f}."
    return (
        f"Study {example.study_id}. Finding: {example.finding or 'not named'} (truth: {truth}). "
        f"Prompt: “{example.prompt}”.{score}"
    )


def _evaluations(run: RunFolder) -> dict[str, Evaluation]:
    parts = {"zero_shot": run.zero_shot, "retrieval": run.retrieval, "baselines": run.baselines}
    return {name: part for name, part in parts.items() if part is not None}


def _by_head(heads: Mapping[str, EvaluationHead]) -> list[tuple[EvaluationHead, list[str]]]:
    """Each different head with the files that carry it; normally there is one."""
    files: dict[EvaluationHead, list[str]] = {}
    for name, head in heads.items():
        files.setdefault(head, []).append(f"{name}.json")
    return list(files.items())


def _disagreements(heads: Mapping[str, EvaluationHead]) -> list[str]:
    texts = []
    if len({head.checkpoint_hash for head in heads.values()}) > 1:
        texts.append(
            "The result files belong to different checkpoints, so they must not be compared. Run "
            "`mg3d evaluate` again."
        )
    if len({head.store_hash for head in heads.values()}) > 1:
        texts.append(
            "The result files belong to different stores, so they must not be compared. Run "
            "`mg3d evaluate` again."
        )
    return texts


def _prompt_list(prompts: Mapping[str, object]) -> str:
    return "".join(
        f"<details><summary>{escape(str(name))}</summary>{html.facts(value)}</details>"
        if isinstance(value, Mapping)
        else html.facts({str(name): value})
        for name, value in prompts.items()
    )
