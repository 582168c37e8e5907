"""Volumes unlike the others: robust distances of a few facts from their medians.

An outlier is no fault; it is what one should look at first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mg3d.audit.collection import Member
from mg3d.audit.volume_facts import Geometry, HuFacts, VolumeFacts

FEWEST = 20
"""Volumes below which a median says nothing."""
FAR = 8.0
"""Robust standard deviations from the median from which a volume is named."""
_NORMAL = 1.4826
"""Median absolute deviation -> standard deviation, for a normal distribution."""


@dataclass(frozen=True)
class Measure:
    """A number that every ordinary volume of a collection has about alike."""

    title: str
    of: Callable[[VolumeFacts], float | None]
    least: float
    """Spread below which differences are of no interest, in the unit of the number."""
    unit: str = ""


MEASURES = {
    "in_plane_mm": Measure(
        "in-plane spacing", lambda facts: _geometry(facts).ras_spacing_mm[0], 0.15, " mm"
    ),
    "slice_mm": Measure(
        "slice distance", lambda facts: _geometry(facts).ras_spacing_mm[2], 0.5, " mm"
    ),
    "width_mm": Measure("width", lambda facts: _geometry(facts).extent_mm[0], 25, " mm"),
    "depth_mm": Measure("depth", lambda facts: _geometry(facts).extent_mm[1], 25, " mm"),
    "height_mm": Measure("height", lambda facts: _geometry(facts).extent_mm[2], 25, " mm"),
    "mean_hu": Measure("mean", lambda facts: _hu(facts).mean, 40, " HU"),
    "deviation_hu": Measure("standard deviation", lambda facts: _hu(facts).deviation, 25, " HU"),
    "air_peak_hu": Measure("peak of air", lambda facts: _hu(facts).air_peak, 6, " HU"),
    "soft_peak_hu": Measure("peak of soft tissue", lambda facts: _hu(facts).soft_peak, 8, " HU"),
    "air_share": Measure("share of air", lambda facts: _hu(facts).air_share, 0.03),
    "soft_share": Measure("share of soft tissue", lambda facts: _hu(facts).soft_share, 0.03),
    "bone_share": Measure("share above 250 HU", lambda facts: _hu(facts).bone_share, 0.01),
    "lung_litres": Measure("lung in view", lambda facts: facts.lung_litres, 0.6, " l"),
}


@dataclass(frozen=True, kw_only=True)
class Outlier:
    """One volume with the measure in which it is farthest from the others."""

    member: Member
    measure: str
    """A key of `MEASURES`."""
    value: float
    median: float
    distance: float
    """In robust standard deviations, at least 0."""

    @property
    def says(self) -> str:
        """In words."""
        measure = MEASURES[self.measure]
        return (
            f"{measure.title} {self.value:g}{measure.unit}, the median is "
            f"{self.median:g}{measure.unit}"
        )


def rank(members: Sequence[Member]) -> list[Outlier]:
    """Every usable volume by its largest distance, farthest first; none below `FEWEST` volumes."""
    known = [member for member in members if member.usable]
    if len(known) < FEWEST:
        return []
    names = list(MEASURES)
    table = [measures_of(member) for member in known]
    values = np.array([[row[name] for name in names] for row in table], dtype=np.float64)
    medians = np.nanmedian(values, axis=0)
    spreads = _NORMAL * np.nanmedian(np.abs(values - medians), axis=0)
    least = np.array([measure.least for measure in MEASURES.values()])
    distances = np.nan_to_num(np.abs(values - medians) / np.maximum(spreads, least))
    worst = distances.argmax(axis=1)
    outliers = [
        Outlier(
            member=member,
            measure=names[place],
            value=float(values[row, place]),
            median=float(medians[place]),
            distance=float(distances[row, place]),
        )
        for row, (member, place) in enumerate(zip(known, worst, strict=True))
    ]
    return sorted(outliers, key=lambda outlier: -outlier.distance)


def measures_of(member: Member) -> dict[str, float | None]:
    """Every measure of a volume; none for one that is not usable."""
    if not member.usable:
        return {}
    return {name: measure.of(member.facts) for name, measure in MEASURES.items()}


def _geometry(facts: VolumeFacts) -> Geometry:
    assert facts.geometry is not None
    return facts.geometry


def _hu(facts: VolumeFacts) -> HuFacts:
    assert facts.hu is not None
    return facts.hu
