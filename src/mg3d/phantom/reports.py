"""The report of a study: one sentence a statement, each tagged with the findings it speaks of.

No shortcut by construction: whether and how a finding is stated is drawn from a generator of its
own; statements that cover several findings only ever come on top and are tagged with all of
them. So what is left of a report without a finding's own sentences does not depend on it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mg3d.phantom.lesion import Lesion
from mg3d.phantom.phrases import (
    COVERING,
    DEVICES,
    NEUTRAL,
    NO_ABNORMALITY,
    ON_SIDE,
    PHRASES,
    Phrasing,
)
from mg3d.randomness import rng

NEGATED = {"terse": 0.3, "usual": 0.6, "detailed": 0.9}
"""Chance that an absent finding is mentioned, by style."""
DETAILED = {"terse": 0.3, "usual": 0.7, "detailed": 0.9}
"""Chance that a present finding comes with place, size or severity."""


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One statement."""

    text: str
    about: frozenset[int]
    """Indices of the findings it speaks of; empty for a statement about anything else."""
    stated: Literal["present", "absent", "neutral"]


@dataclass(frozen=True, kw_only=True)
class PhantomReport:
    """The sentences of the two sections, in order."""

    findings: tuple[Sentence, ...]
    impression: tuple[Sentence, ...]

    @property
    def findings_text(self) -> str:
        """The findings section."""
        return " ".join(sentence.text for sentence in self.findings)

    @property
    def impression_text(self) -> str:
        """The impression section."""
        return " ".join(sentence.text for sentence in self.impression)


def draw_report(
    lesions: dict[int, Lesion], phrasings: int, seed: int, *keys: str | int
) -> PhantomReport:
    """Write the report of a study.

    Args:
        lesions: The study's lesions by index of the finding.
        phrasings: How many wordings of each statement are in use.
        seed: The phantom's seed.
        keys: Which study.
    """
    source = rng(seed, *keys, "style")
    style = str(source.choice(["terse", "usual", "detailed"], p=[0.25, 0.5, 0.25]))
    findings: list[Sentence] = []
    impression: list[Sentence] = []
    for k, phrasing in enumerate(PHRASES):
        own = rng(seed, *keys, "sentence", k)
        if k in lesions:
            words = _words(lesions[k])
            findings.append(_present(k, phrasing, words, own, DETAILED[style], phrasings))
            impression.append(_present(k, phrasing, words, own, 0.3, phrasings))
        elif own.random() < NEGATED[style]:
            findings.append(_sentence(_pick(phrasing.absent, own, phrasings), {k}, "absent"))
    findings += _covering(lesions, rng(seed, *keys, "covering"), NEGATED[style])
    findings += _neutral(rng(seed, *keys, "neutral"), NEGATED[style])
    if not impression:
        every = set(range(len(PHRASES)))
        impression.append(_sentence(_pick(NO_ABNORMALITY, source, phrasings), every, "absent"))
    return PhantomReport(
        findings=_shuffled(findings, source), impression=_shuffled(impression, source)
    )


def _present(
    k: int,
    phrasing: Phrasing,
    words: dict[str, str],
    source: np.random.Generator,
    detailed: float,
    phrasings: int,
) -> Sentence:
    """A statement of finding ``k``, with details by chance."""
    wordings = phrasing.detailed if source.random() < detailed else phrasing.present
    return _sentence(_pick(wordings, source, phrasings).format(**words), {k}, "present")


def _covering(
    lesions: dict[int, Lesion], source: np.random.Generator, chance: float
) -> list[Sentence]:
    """Normal statements about groups of findings that are all absent."""
    drawn = source.random(len(COVERING))
    return [
        _sentence(text, set(group), "absent")
        for (text, group), number in zip(COVERING, drawn, strict=True)
        if number < 0.6 * chance and not group & lesions.keys()
    ]


def _neutral(source: np.random.Generator, chance: float) -> list[Sentence]:
    """Statements about what is not among the findings."""
    drawn = source.random(len(NEUTRAL))
    return [
        _sentence(text, set(), "neutral")
        for text, number in zip(NEUTRAL, drawn, strict=True)
        if number < 0.5 * chance
    ]


def _sentence(
    text: str, about: set[int], stated: Literal["present", "absent", "neutral"]
) -> Sentence:
    text = text[0].upper() + text[1:]
    return Sentence(text=text, about=frozenset(about), stated=stated)


def _pick(wordings: tuple[str, ...], source: np.random.Generator, phrasings: int) -> str:
    """One of the first ``phrasings`` wordings."""
    return wordings[int(source.integers(min(phrasings, len(wordings))))]


def _shuffled(sentences: list[Sentence], source: np.random.Generator) -> tuple[Sentence, ...]:
    return tuple(sentences[index] for index in source.permutation(len(sentences)))


def _words(lesion: Lesion) -> dict[str, str]:
    """What the wordings may refer to."""
    count = max(len(lesion.centers), 1)
    number = {1: "a", 2: "two", 3: "three", 4: "four"}.get(count, "several")
    return {
        "side": lesion.side,
        "on_side": ON_SIDE[lesion.side],
        "place": lesion.place,
        "kind": lesion.kind,
        "size": str(lesion.size_mm),
        "severity": lesion.severity,
        "device": DEVICES.get(lesion.kind, "").format(side=lesion.side),
        "number": number,
        "s": "" if count == 1 else "s",
        "measuring": "measuring" if count == 1 else "the largest measuring",
    }
