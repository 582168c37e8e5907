"""`mg3d report`: a run directory becomes one HTML file that needs nothing else to be read.

The page is computed from the files of the run alone, so it can be drawn again at any time and on
any machine; torch is not needed.
"""

from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from statistics import median
from string import Template

from mg3d.files import write_atomic
from mg3d.progress import console
from mg3d.reporting.run_folder import RunFolder, read_run
from mg3d.reporting.sections import SECTIONS
from mg3d.reporting.verdict import best_baseline, headline_result, headline_retrieval, judge


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Draw a run as one HTML page."""

    run: Path
    """Folder of a run, as written by `mg3d pretrain`; the page becomes `report.html` in it."""


def report(settings: ReportConfig) -> Path:
    """Write `report.html` into the folder of a run.

    Args:
        settings: Which run.

    Returns:
        The path of the page.

    Raises:
        DataError: If the folder is no run, or a result in it is damaged.
        StorageError: If the page cannot be written.
    """
    page = render(read_run(settings.run))
    target = settings.run / "report.html"
    write_atomic(target, page)
    console.print(f"Report: {target}")
    return target


def render(run: RunFolder) -> str:
    """The page of a run; the same files give the same bytes."""
    verdict = judge(run)
    mood = {True: "learned", False: "chance", None: ""}[verdict.learned]
    remarks = "".join(f"<li>{escape(text)}</li>" for text in verdict.remarks)
    bodies = {
        anchor: f'<section id="{anchor}"><h2>{escape(title)}</h2>\n{draw(run)}\n</section>'
        for anchor, (title, draw) in SECTIONS.items()
    }
    here = files("mg3d.reporting")
    return Template((here / "page.html").read_text(encoding="utf-8")).substitute(
        version=escape(version("mg3d")),
        title=escape(f"{run.name} - MG-3D report"),
        css=(here / "style.css").read_text(encoding="utf-8"),
        name=escape(run.name),
        verdict=escape(verdict.line),
        mood=mood,
        remarks=f'<ul class="remarks">{remarks}</ul>' if remarks else "",
        cards=_cards(run),
        navigation="".join(f'<a href="#{a}">{escape(t)}</a>' for a, (t, _) in SECTIONS.items()),
        sections="\n".join(bodies.values()),
    )


def _cards(run: RunFolder) -> str:
    cards = []
    result, point, baseline = headline_result(run), headline_retrieval(run), best_baseline(run)
    if result is not None and result.macro_auroc is not None:
        label = "zero-shot macro AUROC (strict protocol, prompts in report wording)"
        cards.append((f"{result.macro_auroc.value:.3f}", label))
    if point is not None:
        chance = "" if point.chance is None else f" (chance {point.chance.value:.3f})"
        cards.append((f"{point.score.value:.3f}", f"report → volume Recall@{point.k}{chance}"))
    if baseline is not None and baseline.macro_auroc is not None:
        cards.append((f"{baseline.macro_auroc.value:.3f}", "macro AUROC of the strongest baseline"))
    last = run.steps[-1]
    durations = [step.seconds for step in run.steps if step.seconds is not None]
    pace = f", a step takes {median(durations):.2f} s" if durations else ""
    planned = "" if last.total_steps is None else f" of {last.total_steps:,} planned"
    cards.append((f"{last.step:,}", f"optimiser steps{planned}{pace}"))
    body = "".join(f'<div class="card"><b>{v}</b><span>{escape(t)}</span></div>' for v, t in cards)
    return f'<div class="cards">{body}</div>'
