"""Anatomy: the numbers of one patient's healthy thorax, and its surfaces as functions of a point.

The surfaces take arrays of any broadcastable shape, so the same definition places a lesion
(a few points) and paints the lungs (a grid). Nothing here knows voxels or findings.
Coordinates are patient mm, RAS+: x to the right, y to the front, z to the head, origin between
the lungs at the level of the hila.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mg3d.phantom.canvas import Field, Point, from_level
from mg3d.randomness import rng

RIB_DEPTH_MM = 8.0
"""Between muscle and pleura."""
APEX_START_MM = 15.0
"""Height from which the chest narrows towards the apices."""

DEPENDENT_MM = 48.0
"""Depth of the back of the chest in which no lesion is centred."""

LOBES = (
    "right upper lobe",
    "right middle lobe",
    "right lower lobe",
    "left upper lobe",
    "left lower lobe",
)


@dataclass(frozen=True, kw_only=True)
class Heart:
    """An ellipsoid of revolution; its axis runs from the right, back and top to the apex."""

    center: Point
    axis: Point
    """Unit vector from base to apex."""
    length: float
    """Half of the long axis, mm."""
    radius: float
    """Half of the short axis, mm."""

    def enlarged(self, factor: float) -> "Heart":
        """The same heart, each length multiplied by ``factor``, growing towards the apex."""
        shift = (factor - 1) * self.radius * 0.6
        center = tuple(c + shift * a for c, a in zip(self.center, self.axis, strict=True))
        return replace(
            self,
            center=(center[0], center[1], center[2]),
            length=self.length * factor,
            radius=self.radius * factor,
        )

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """Signed distance (mm) to the surface, exact to first order."""
        u, v, w = ((a - np.float32(c)) for a, c in zip((x, y, z), self.center, strict=True))
        along = u * np.float32(self.axis[0]) + v * np.float32(self.axis[1])
        along = along + w * np.float32(self.axis[2])
        across = np.maximum(u**2 + v**2 + w**2 - along**2, 0)
        level = np.sqrt((along / self.length) ** 2 + across / self.radius**2)
        slope = np.sqrt((along / self.length**2) ** 2 + across / self.radius**4)
        return from_level(level, slope, min(self.length, self.radius))

    def surface(self, along: float, angle: float, depth: float = 0.0) -> Point:
        """A point ``depth`` mm below the surface.

        Args:
            along: Position on the long axis, -1 base to 1 apex.
            angle: Around the long axis in radians; 0 is the front.
            depth: In mm, positive inwards.
        """
        axis = np.array(self.axis)
        front = np.array([0.0, 1.0, 0.0]) - axis[1] * axis
        front /= np.linalg.norm(front)
        side = np.cross(axis, front)
        around = np.cos(angle) * front + np.sin(angle) * side
        ring = self.radius * np.sqrt(1 - along**2) - depth
        point = np.array(self.center) + along * self.length * axis + ring * around
        return (float(point[0]), float(point[1]), float(point[2]))


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """One patient. Lengths in mm, densities in HU."""

    half_width: float
    half_depth: float
    stature: float
    """Scale of all heights; 1 is the reference thorax."""
    fat: float
    muscle: float
    apex: float
    """Height of the lung apices."""
    dome_right: float
    """Height of the top of the right diaphragm."""
    dome_left: float
    heart: Heart
    aorta_radius: float
    lung_hu: float
    tree_seed: int
    """Vessels and lung texture are drawn from it when they are painted."""

    @property
    def chest(self) -> tuple[float, float]:
        """Half width and half depth of the chest cavity."""
        wall = self.fat + self.muscle + RIB_DEPTH_MM
        return self.half_width - wall, self.half_depth - wall

    def place(self, x: float, y: float, z: float) -> Point:
        """A landmark of the reference thorax (cavity 129 x 84 mm) in this patient."""
        width, depth = self.chest
        return (x * width / 129, y * depth / 84, z * self.stature)

    def wall_depth(self, x: Field, y: Field, z: Field) -> Field:
        """Distance (mm) inwards from the inner chest wall, negative outside it."""
        width, depth = (np.float32(value) for value in self.chest)
        start = np.float32(APEX_START_MM * self.stature)
        rise = np.maximum(z - start, 0)
        height = np.float32(self.apex) - start
        a, b, c = 1 / width**2, 1 / depth**2, 1 / height**2
        level = np.sqrt(x**2 * a + y**2 * b + rise**2 * c)
        slope = np.sqrt((x * a) ** 2 + (y * b) ** 2 + (rise * c) ** 2)
        return -from_level(level, slope, float(min(width, depth, height)))

    def skin_depth(self, x: Field, y: Field, z: Field) -> Field:
        """Distance (mm) inwards from the skin; the body narrows towards the neck."""
        taper = np.clip((z / self.stature - 70) / 110, 0, 1)
        width = (self.half_width * (1 - 0.22 * taper**2)).astype(np.float32)
        depth = (self.half_depth * (1 - 0.30 * taper**2)).astype(np.float32)
        level = np.sqrt((x / width) ** 2 + (y / depth) ** 2)
        slope = np.sqrt((x / width**2) ** 2 + (y / depth**2) ** 2)
        return -from_level(level, slope, min(self.half_width, self.half_depth))

    def dome_height(self, x: Field, y: Field) -> Field:
        """Height z (mm) of the diaphragm above each (x, y)."""
        width, depth = self.chest
        top = np.where(x > 0, np.float32(self.dome_right), np.float32(self.dome_left))
        center = np.where(x > 0, np.float32(0.48 * width), np.float32(-0.48 * width))
        fall = ((x - center) / (0.62 * width)) ** 2 + ((y - 0.15 * depth) / (1.05 * depth)) ** 2
        return np.asarray(top - 52 * self.stature * np.minimum(fall, 1.3), np.float32)

    def mediastinum_half_width(self, y: Field, z: Field) -> Field:
        """Half width (mm) of the space between the lungs."""
        width, depth = self.chest
        hilum = 12 * np.exp(-(((z / self.stature - 8) / 42) ** 2))
        spine = 10 * np.clip(-y / (0.7 * depth), 0, 1)
        return np.asarray((14 + hilum + spine) * width / 129, np.float32)

    def lung_depth(self, x: Field, y: Field, z: Field) -> Field:
        """Distance (mm) inwards from the surface of either lung, heart not considered."""
        between = np.abs(x) - self.mediastinum_half_width(y, z)
        above = (z - self.dome_height(x, y)) * np.float32(0.8)  # the dome is seldom met head-on
        return np.asarray(np.minimum(np.minimum(self.wall_depth(x, y, z), between), above))

    def fluid_level(self, depth: float, z: Field) -> Field:
        """Where fluid that is ``depth`` mm deep at the diaphragm reaches to: y (mm) at each z."""
        height = (z - self.dome_right) / (self.apex - self.dome_right)
        return np.asarray(-self.chest[1] + depth * (1 - 0.85 * np.clip(height, -0.6, 1)))

    def lobe_distance(self, x: Field, y: Field, z: Field, lobe: str) -> Field:
        """Signed distance (mm) to the part of the chest on ``lobe``'s side of the fissures."""
        oblique = (z / self.stature + 0.9 * y + 12) * np.float32(0.74)  # > 0 above the fissure
        horizontal = z / self.stature - 2
        side = -x if lobe.startswith("right") else x
        if "lower" in lobe:
            distance = np.maximum(side, oblique)
        elif "middle" in lobe:
            distance = np.maximum(np.maximum(side, -oblique), horizontal)
        elif lobe == "right upper lobe":
            distance = np.maximum(np.maximum(side, -oblique), -horizontal)
        else:
            distance = np.maximum(side, -oblique)
        return np.asarray(distance, np.float32)

    def aorta(self) -> tuple[Point, ...]:
        """Course of the aorta from its root over the arch down to the abdomen."""
        course = (
            (2, 14, -8), (14, 22, 18), (15, 20, 46), (9, 12, 63), (-6, -2, 71), (-20, -20, 66),
            (-26, -36, 50), (-27, -43, 20), (-25, -45, -20), (-20, -47, -60), (-12, -48, -110),
            (-8, -48, -175),
        )  # fmt: skip
        return tuple(self.place(*point) for point in course)

    def bronchi(self) -> tuple[tuple[float, tuple[Point, ...]], ...]:
        """Inner radius and course of the main and lobar bronchi, right side first."""
        carina = (0.0, -18.0, 40.0)
        courses = (
            (6.5, (carina, (20, -16, 26), (36, -12, 16))),
            (4.0, ((36, -12, 16), (58, -2, 36), (76, 6, 62))),
            (3.5, ((36, -12, 16), (54, 10, -4), (72, 34, -22))),
            (4.5, ((36, -12, 16), (54, -28, -14), (68, -42, -48))),
            (6.0, (carina, (-22, -17, 24), (-40, -14, 14))),
            (4.0, ((-40, -14, 14), (-58, 0, 34), (-74, 10, 58))),
            (4.5, ((-40, -14, 14), (-60, -30, -16), (-74, -42, -50))),
        )
        return tuple(
            (radius, tuple(self.place(*point) for point in course)) for radius, course in courses
        )


def draw_anatomy(jitter: float, seed: int, *keys: str | int) -> Anatomy:
    """Draw one patient.

    Args:
        jitter: Share of the natural spread, 0 to 1.
        seed: The phantom's seed.
        keys: Which patient.
    """
    source = rng(seed, *keys, "anatomy")

    def spread(mean: float, deviation: float) -> float:
        """Normal, cut at two deviations so that every organ keeps its place."""
        return mean + jitter * deviation * float(np.clip(source.standard_normal(), -2, 2))

    stature = spread(1.0, 0.04)
    tilt = np.array([spread(-0.74, 0.06), spread(0.40, 0.08), spread(-0.54, 0.08)])
    axis = tilt / np.linalg.norm(tilt)
    heart = Heart(
        center=(spread(-16, 3), spread(20, 3), spread(-40, 4) * stature),
        axis=(float(axis[0]), float(axis[1]), float(axis[2])),
        length=spread(62, 2.5),
        radius=spread(44, 1.8),
    )
    dome = spread(-56, 6) * stature
    return Anatomy(
        half_width=spread(163, 5),
        half_depth=spread(118, 4),
        stature=stature,
        fat=max(spread(15, 5), 5.0),
        muscle=spread(12, 2),
        apex=spread(122, 4) * stature,
        dome_right=dome,
        dome_left=dome - spread(9, 4),
        heart=heart,
        aorta_radius=spread(13, 1.2),
        lung_hu=spread(-850, 18),
        tree_seed=int(source.integers(2**62)),
    )


def sample_lung(
    anatomy: Anatomy,
    source: np.random.Generator,
    count: int,
    *,
    margin: float,
    lobe: str | None = None,
    low: Point = (-1, -1, -1),
    high: Point = (1, 1, 1),
) -> tuple[Point, ...]:
    """Draw points at least ``margin`` mm inside the lungs, where other findings do not hide them.

    The points keep clear of the largest heart and of the back of the chest, where a pleural
    effusion would lie, whether the study has them or not: a place that depended on another
    finding would give that finding away.

    Args:
        anatomy: Whose lungs.
        source: Generator; consumed.
        count: Number of points.
        margin: Depth below the lung surface, mm.
        lobe: One of `LOBES`, or both lungs.
        low: Lower corner as a share of the chest's half width, half depth and height (-1 to 1).
        high: Upper corner.
    """
    width, depth = anatomy.chest
    extent = np.array([width, depth, 125 * anatomy.stature])
    keep_off = anatomy.heart.enlarged(1.3)
    found: list[NDArray[Any]] = []
    for attempt in range(40):
        candidates = source.uniform(np.array(low) * extent, np.array(high) * extent, (192, 3))
        x, y, z = candidates.T.astype(np.float32)
        reach = margin * 0.85**attempt  # a narrow lobe may have no point that deep
        good = (anatomy.lung_depth(x, y, z) > reach) & (keep_off.distance(x, y, z) > min(reach, 8))
        good &= y > anatomy.fluid_level(DEPENDENT_MM * 0.85**attempt, z)
        if lobe is not None:
            good &= anatomy.lobe_distance(x, y, z, lobe) < -0.5 * reach
        found.extend(candidates[good])
        if len(found) >= count:
            break
    assert len(found) >= count, "the corners leave no lung to draw from"
    return tuple((float(p[0]), float(p[1]), float(p[2])) for p in found[:count])
