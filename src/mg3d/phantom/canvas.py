"""Canvas: the voxels of one study while it is painted, in patient millimetres.

Axes are RAS+ (x to the patient's right, y to the front, z to the head). Every shape is a signed
distance in mm, negative inside; its edge spreads over one voxel, so that a shape thinner than a
voxel fades instead of vanishing. The one invariant: a lesion changes a voxel's HU only where
its label is written, except for that fading edge.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Point = tuple[float, float, float]
Box = tuple[slice, slice, slice]

LABELLED_FROM = 0.3
"""Coverage from which a voxel belongs to a shape's label: thin walls rarely fill half a voxel."""


@dataclass(kw_only=True)
class Canvas:
    """HU, labels and lung coverage of one study, and the brushes that change them."""

    x: Field
    """(X, 1, 1) mm, ascending."""
    y: Field
    """(1, Y, 1) mm, ascending."""
    z: Field
    """(1, 1, Z) mm, ascending."""
    hu: Field = field(init=False)
    """(X, Y, Z) HU."""
    label: NDArray[np.uint8] = field(init=False)
    """(X, Y, Z)."""
    lung: Field = field(init=False)
    """(X, Y, Z) share of lung in each voxel, 0 to 1; organs painted over it take it away."""
    softness: float = field(init=False)
    """Width in mm over which an edge spreads: the mean voxel size."""

    def __post_init__(self) -> None:
        shape = (self.x.size, self.y.size, self.z.size)
        self.hu = np.full(shape, -1000, np.float32)
        self.label = np.zeros(shape, np.uint8)
        self.lung = np.zeros(shape, np.float32)
        axes = (self.x, self.y, self.z)
        self.softness = float(np.mean([np.ptp(axis) / (axis.size - 1) for axis in axes]))

    @property
    def everywhere(self) -> Box:
        """The box of all voxels."""
        return (slice(None), slice(None), slice(None))

    def box(self, low: Sequence[float], high: Sequence[float]) -> Box:
        """Voxels between two corners (mm), one voxel wider on each side for the soft edge."""
        slices = []
        for axis, start, stop in zip((self.x, self.y, self.z), low, high, strict=True):
            first = int(np.searchsorted(axis.ravel(), start)) - 1
            last = int(np.searchsorted(axis.ravel(), stop)) + 1
            slices.append(slice(max(first, 0), max(last, 0)))
        return (slices[0], slices[1], slices[2])

    def around(self, center: Point, reach: float) -> Box:
        """Voxels of the cube that reaches ``reach`` mm from ``center``."""
        return self.box([c - reach for c in center], [c + reach for c in center])

    def axes(self, box: Box) -> tuple[Field, Field, Field]:
        """The x, y and z coordinates (mm, broadcastable) of the voxels in ``box``."""
        return self.x[box[0]], self.y[:, box[1]], self.z[:, :, box[2]]

    def inside(self, distance: Field, softness: float | None = None) -> Field:
        """Share of each voxel that lies inside a shape of signed ``distance`` (mm)."""
        width = self.softness if softness is None else softness
        return np.asarray(np.clip(np.float32(0.5) - distance / np.float32(width), 0, 1))

    def paint(self, box: Box, share: Field, hu: float | Field, *, label: int | None = None) -> None:
        """Blend ``hu`` into the voxels of ``box`` by ``share`` and write ``label`` there."""
        view = self.hu[box]
        view += share * (np.asarray(hu, np.float32) - view)
        if label is not None:
            self.label[box][share > LABELLED_FROM] = label

    def displace_lung(self, box: Box, share: Field) -> None:
        """Take ``share`` of each voxel away from the lung: something solid is there now."""
        self.lung[box] *= 1 - share

    def lung_room(self, box: Box) -> Field:
        """Share of each voxel that a lesion of the lung may fill.

        A voxel half in the lung may be filled whole: the other half is soft tissue already, and
        blending by the bare share would leave a rim of air between a lesion and the pleura.
        """
        return np.minimum(2 * self.lung[box], 1)

    def ellipsoid(
        self,
        center: Point,
        radii: Point,
        hu: float,
        *,
        label: int | None = None,
        solid: bool = False,
    ) -> None:
        """Paint an ellipsoid with axes along x, y, z; ``solid`` ones displace lung."""
        low = [c - r for c, r in zip(center, radii, strict=True)]
        high = [c + r for c, r in zip(center, radii, strict=True)]
        box = self.box(low, high)
        share = self.inside(ellipsoid_distance(*self.axes(box), center, radii))
        self.paint(box, share, hu, label=label)
        if solid:
            self.displace_lung(box, share)

    def tube(
        self,
        path: Sequence[Point],
        radius: float,
        hu: float,
        *,
        label: int | None = None,
        solid: bool = False,
        lung_only: bool = False,
    ) -> None:
        """Paint a round tube along a polyline, segment by segment.

        Args:
            path: Corners in mm, at least two.
            radius: In mm.
            hu: Density.
            label: Written where given.
            solid: The tube displaces lung.
            lung_only: Nothing outside the lung changes.
        """
        for start, stop in pairwise(path):
            box = self.box(
                [min(a, b) - radius for a, b in zip(start, stop, strict=True)],
                [max(a, b) + radius for a, b in zip(start, stop, strict=True)],
            )
            share = self.inside(segment_distance(*self.axes(box), start, stop) - np.float32(radius))
            if lung_only:
                share = share * self.lung_room(box)
            self.paint(box, share, hu, label=label)
            if solid:
                self.displace_lung(box, share)


def from_level(level: Field, slope: Field, shortest: float) -> Field:
    """Signed distance (mm, negative inside) from the level of an ellipsoid: 0 centre, 1 surface.

    To first order the distance is ``level - 1`` over the length of the level's gradient, which
    is ``slope / level``. Both vanish at the centre; there the distance is the shortest radius.

    Args:
        level: Square root of the sum of (coordinate / radius) squared.
        slope: Square root of the sum of (coordinate / radius squared) squared.
        shortest: The smallest radius, mm.
    """
    tiny = np.float32(1e-4)
    return np.asarray((level - 1) * (level + tiny) / (slope + tiny / np.float32(shortest)))


def ellipsoid_distance(x: Field, y: Field, z: Field, center: Point, radii: Point) -> Field:
    """Signed distance (mm) to an ellipsoid, exact to first order at its surface."""
    u, v, w = ((axis - np.float32(c)) for axis, c in zip((x, y, z), center, strict=True))
    a, b, c = (np.float32(1 / r) for r in radii)
    level = np.sqrt((u * a) ** 2 + (v * b) ** 2 + (w * c) ** 2)
    slope = np.sqrt((u * (a * a)) ** 2 + (v * (b * b)) ** 2 + (w * (c * c)) ** 2)
    return from_level(level, slope, min(radii))


def segment_distance(x: Field, y: Field, z: Field, start: Point, stop: Point) -> Field:
    """Distance (mm) to the straight segment from ``start`` to ``stop``."""
    u, v, w = ((axis - np.float32(c)) for axis, c in zip((x, y, z), start, strict=True))
    direction = np.subtract(stop, start).astype(np.float32)
    squared = max(float(direction @ direction), 1e-6)
    along = np.clip((u * direction[0] + v * direction[1] + w * direction[2]) / squared, 0, 1)
    gap = (u - along * direction[0]) ** 2
    gap = gap + (v - along * direction[1]) ** 2
    gap = gap + (w - along * direction[2]) ** 2
    return np.asarray(np.sqrt(gap))


def waves(
    axes: tuple[Field, Field, Field], source: np.random.Generator, count: int, period: float
) -> Field:
    """A smooth random field: ``count`` plane waves in random directions.

    Args:
        axes: Coordinates in mm, broadcastable.
        source: Generator; consumed.
        count: Number of waves; the values lie in [-count, count], their deviation is
            ``sqrt(count / 2)``.
        period: Mean wavelength in mm; each wave's own is within 20 % of it.
    """
    x, y, z = axes
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.float32)
    for _ in range(count):
        direction = source.standard_normal(3)
        direction *= 2 * np.pi / (np.linalg.norm(direction) * period * source.uniform(0.8, 1.2))
        a, b, c = direction.astype(np.float32)
        # sine of a sum from sines of thin arrays: no sine of the full grid
        plane = a * x + b * y + np.float32(source.uniform(0, 2 * np.pi))
        total += np.sin(plane) * np.cos(c * z)
        total += np.cos(plane) * np.sin(c * z)
    return total
