"""Lesion: what one finding is in one study, in millimetres and words, before any voxel exists."""

from dataclasses import dataclass

import numpy as np

from mg3d.phantom.anatomy import Anatomy
from mg3d.phantom.canvas import Point
from mg3d.phantom.settings import Difficulty


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One abnormal finding of a study; painting it needs nothing but this and the anatomy."""

    centers: tuple[Point, ...] = ()
    """Patient mm."""
    sizes: tuple[float, ...] = ()
    """One a centre, mm; what it measures depends on the finding (mostly a radius)."""
    side: str = ""
    """right, left, bilateral or "" where there is none."""
    place: str = ""
    """Lobe or region in words."""
    kind: str = ""
    """Variant, such as a pacemaker among medical material."""
    size_mm: int = 0
    """The size a report states; 0 where none is stated."""
    strength: float = 1.0
    """Share of the full density change, 0 to 1."""
    severity: str = "moderate"
    """mild, moderate or severe."""
    seed: int = 0
    """For the lesion's own texture."""


@dataclass(kw_only=True)
class Draw:
    """What a finding draws from: generator, patient and difficulty."""

    source: np.random.Generator
    anatomy: Anatomy
    level: Difficulty

    def size(self, smallest: float, largest: float) -> float:
        """A size in mm from the part of the span that the difficulty allows."""
        low, high = self.level.lesion_scale
        return smallest + (largest - smallest) * float(self.source.uniform(low, high))

    def strength(self) -> float:
        """Share of the full density change."""
        return float(self.source.uniform(*self.level.contrast))

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return float(self.source.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """A uniform whole number, both ends included."""
        return int(self.source.integers(low, high + 1))

    def pick(self, *choices: str) -> str:
        """One of ``choices``, each equally likely."""
        return choices[int(self.source.integers(len(choices)))]

    def seed(self) -> int:
        """A seed for the lesion's own texture."""
        return int(self.source.integers(2**62))


def severity(size: float, smallest: float, largest: float) -> str:
    """mild, moderate or severe by the third of the span that ``size`` falls in."""
    third = 3 * (size - smallest) / (largest - smallest)
    return "mild" if third < 1 else "moderate" if third < 2 else "severe"
