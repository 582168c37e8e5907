"""Typed readings of `evaluation/*.json`; the figures and tables see these, never raw JSON.

A file of another schema, or one with a missing field, is a DataError that names file and field.
A score that does not exist (a finding without positives) is None everywhere, never 0 or NaN.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg3d.errors import DataError

SCHEMA = "mg3d.evaluation/1"
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Estimate:
    """A score and the ends of its 95 % interval, None where none was computed."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class EvaluationHead:
    """What was evaluated on what; the same in every result file."""

    split: str
    num_patients: int
    num_studies: int
    store_hash: str
    checkpoint_hash: str
    repeats: int | None
    """Bootstrap repeats over patients."""
    seed: int | None


@dataclass(frozen=True)
class FindingScore:
    """Zero-shot scores of one finding."""

    name: str
    auroc: Estimate | None
    auprc: Estimate | None
    prevalence: float | None
    num_positive: int | None
    num_negative: int | None
    false_positive_rates: tuple[float, ...]
    true_positive_rates: tuple[float, ...]


@dataclass(frozen=True)
class ZeroShotResult:
    """Zero-shot scores under one protocol with one wording of the prompts."""

    protocol: str
    prompts: str
    macro_auroc: Estimate | None
    macro_auprc: Estimate | None
    macro_f1: Estimate | None
    findings: tuple[FindingScore, ...]


@dataclass(frozen=True)
class RetrievalPoint:
    """A retrieval score at one k, beside what random ranks give."""

    k: int
    score: Estimate
    chance: Estimate | None


@dataclass(frozen=True)
class RetrievalResult:
    """One direction of retrieval under one protocol."""

    protocol: str
    direction: str
    num_queries: int
    gallery_size: int
    median_rank: float | None
    measures: Mapping[str, tuple[RetrievalPoint, ...]]
    """Keys are "recall", or "jaccard" and "map"; points are sorted by k."""


@dataclass(frozen=True)
class Baseline:
    """A model that any result should be compared with."""

    name: str
    macro_auroc: Estimate | None
    aurocs: Mapping[str, Estimate | None]
    """By name of finding."""


def read_head(content: Json, place: Path) -> EvaluationHead:
    """The common head of an evaluation file.

    Raises:
        DataError: If the schema is another one or a field is missing.
    """
    schema = content.get("schema")
    if schema != SCHEMA:
        raise DataError(
            f"{place}: its schema is {schema!r}, this version reads {SCHEMA!r}. Run "
            "`mg3d evaluate` again with the installed version."
        )
    bootstrap = content.get("bootstrap") or {}
    return EvaluationHead(
        split=str(_field(content, "split", place)),
        num_patients=int(_field(content, "num_patients", place)),
        num_studies=int(_field(content, "num_studies", place)),
        store_hash=str(_field(content, "store_hash", place)),
        checkpoint_hash=str(_field(content, "checkpoint_hash", place)),
        repeats=bootstrap.get("repeats"),
        seed=bootstrap.get("seed"),
    )


def read_zero_shot(content: Json, place: Path) -> tuple[ZeroShotResult, ...]:
    """The results of `evaluation/zero_shot.json`, in file order."""
    return tuple(
        ZeroShotResult(
            protocol=str(_field(result, "protocol", place)),
            prompts=str(_field(result, "prompts", place)),
            macro_auroc=_estimate(result.get("macro_auroc")),
            macro_auprc=_estimate(result.get("macro_auprc")),
            macro_f1=_estimate(result.get("macro_f1")),
            findings=tuple(_finding(f, place) for f in _field(result, "findings", place)),
        )
        for result in _field(content, "results", place)
    )


def read_retrieval(content: Json, place: Path) -> tuple[RetrievalResult, ...]:
    """The results of `evaluation/retrieval.json`, in file order."""
    return tuple(
        RetrievalResult(
            protocol=str(_field(result, "protocol", place)),
            direction=str(_field(result, "direction", place)),
            num_queries=int(_field(result, "num_queries", place)),
            gallery_size=int(_field(result, "gallery_size", place)),
            median_rank=_number(result.get("median_rank")),
            measures={
                measure: _points(result[measure])
                for measure in ("recall", "jaccard", "map")
                if result.get(measure)
            },
        )
        for result in _field(content, "results", place)
    )


def read_baselines(content: Json, place: Path) -> tuple[Baseline, ...]:
    """The results of `evaluation/baselines.json`, in file order."""
    return tuple(
        Baseline(
            name=str(_field(result, "name", place)),
            macro_auroc=_estimate(result.get("macro_auroc")),
            aurocs={
                str(_field(finding, "name", place)): _estimate(finding.get("auroc"))
                for finding in result.get("findings", [])
            },
        )
        for result in _field(content, "results", place)
    )


def _field(content: Json, name: str, place: Path) -> Any:
    if name not in content:
        raise DataError(
            f"{place}: the field {name!r} is missing. Run `mg3d evaluate` again; it rewrites "
            "the file."
        )
    return content[name]


def _finding(content: Json, place: Path) -> FindingScore:
    roc = content.get("roc") or {}
    return FindingScore(
        name=str(_field(content, "name", place)),
        auroc=_estimate(content.get("auroc")),
        auprc=_estimate(content.get("auprc")),
        prevalence=_number(content.get("prevalence")),
        num_positive=content.get("num_positive"),
        num_negative=content.get("num_negative"),
        false_positive_rates=tuple(roc.get("fpr", ())),
        true_positive_rates=tuple(roc.get("tpr", ())),
    )


def _points(by_k: Json) -> tuple[RetrievalPoint, ...]:
    points = []
    for k, content in by_k.items():
        score = _estimate(content)
        if score is None:
            continue
        chance = _number(content.get("chance"))
        interval = (_number(content.get("chance_low")), _number(content.get("chance_high")))
        points.append(
            RetrievalPoint(int(k), score, None if chance is None else Estimate(chance, *interval))
        )
    return tuple(sorted(points, key=lambda point: point.k))


def _estimate(content: Json | None) -> Estimate | None:
    value = None if content is None else _number(content.get("value"))
    if content is None or value is None:
        return None
    return Estimate(value, _number(content.get("low")), _number(content.get("high")))


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
