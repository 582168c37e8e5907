"""Findings outside the lung: devices, heart, vessels, mediastinum and pleura.

One pair of functions a finding, as in `lung_findings`.
"""

import numpy as np

from mg3d.phantom.anatomy import Anatomy
from mg3d.phantom.canvas import Canvas, Point
from mg3d.phantom.lesion import Draw, Lesion, severity
from mg3d.phantom.thorax import HEART_LABEL
from mg3d.randomness import rng

METAL_HU = 3000.0


def draw_medical_material(draw: Draw) -> Lesion:
    """A pacemaker, a port with its catheter, or wires of the breastbone."""
    kind = draw.pick("pacemaker", "port", "wires")
    side = "" if kind == "wires" else draw.pick("left", "right")
    return Lesion(kind=kind, side=side, sizes=(draw.size(0.7, 1.2),))


def paint_medical_material(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Paint metal; the unit lies under the skin, the lead runs through the upper caval vein."""
    (scale,) = lesion.sizes
    if lesion.kind == "wires":
        front = anatomy.chest[1] + 12
        for height in (-35, -15, 5, 25, 45):
            z = height * anatomy.stature
            ring = ((-11.0, front, z - 4), (0.0, front + 3, z), (11.0, front, z + 4))
            canvas.tube(ring, 2.4 * scale, METAL_HU, label=label)
        return
    side = 1 if lesion.side == "right" else -1
    x, z = side * 78.0, 62 * anatomy.stature
    unit = (x, _skin_front(anatomy, x, z) - anatomy.fat / 2 - 5, z)
    radii = (24, 7, 20) if lesion.kind == "pacemaker" else (15, 8, 15)
    canvas.ellipsoid(
        unit, (radii[0] * scale, radii[1] * scale, radii[2] * scale), METAL_HU, label=label
    )
    path = [unit, anatomy.place(side * 52, 62, 102), anatomy.place(26, 12, 88)]
    path.append(anatomy.place(24, 8, -8))
    if lesion.kind == "pacemaker":
        path.append(anatomy.heart.surface(0.75, 0.2, 16))
    canvas.tube(path, (2.4 if lesion.kind == "pacemaker" else 1.9) * scale, 2200, label=label)


def _skin_front(anatomy: Anatomy, x: float, z: float) -> float:
    """The y (mm) of the front skin above (x, z), to a millimetre."""
    depths = np.arange(0, 200, dtype=np.float32)
    inside = anatomy.skin_depth(np.float32(x) + 0 * depths, depths, np.float32(z) + 0 * depths)
    return float(depths[inside > 0].max())


def draw_arterial_calcification(draw: Draw) -> Lesion:
    """Plaques along the wall of the aortic arch and the descending aorta."""
    count = draw.count(3, 5)
    return Lesion(
        centers=tuple(
            (draw.between(0.28, 0.72), draw.between(0, 2 * np.pi), 0.0) for _ in range(count)
        ),
        sizes=tuple(draw.size(2, 6) for _ in range(count)),
        place=draw.pick("aortic arch", "thoracic aorta"),
        strength=draw.strength(),
        severity=("mild", "moderate", "severe")[count - 3],
    )


def paint_arterial_calcification(
    canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int
) -> None:
    """Paint each plaque along the wall; a centre is (share of the course, angle, -)."""
    course = np.array(anatomy.aorta())
    for (share, angle, _), radius in zip(lesion.centers, lesion.sizes, strict=True):
        points = []
        for step in (-0.05, 0.0, 0.05):
            where = (share + step) * (len(course) - 3)
            index = int(where)
            start, stop = course[index], course[index + 1]
            along = (stop - start) / np.linalg.norm(stop - start)
            normal = np.cross(along, (1.0, 0.3, 0.2))
            normal /= np.linalg.norm(normal)
            around = np.cos(angle) * normal + np.sin(angle) * np.cross(along, normal)
            wall = start + (where - index) * (stop - start) + anatomy.aorta_radius * around
            points.append((float(wall[0]), float(wall[1]), float(wall[2])))
        canvas.tube(points, radius, 450 + 450 * lesion.strength, label=label)


def draw_cardiomegaly(draw: Draw) -> Lesion:
    """A heart larger in every direction."""
    factor = draw.size(1.12, 1.34)
    return Lesion(sizes=(factor,), severity=severity(factor, 1.12, 1.34))


def paint_cardiomegaly(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Label what the enlarged heart, painted with the thorax, has gained."""
    reach = anatomy.heart.length * 1.6
    box = canvas.around(anatomy.heart.center, reach)
    gained = anatomy.heart.distance(*canvas.axes(box)) > 0
    labels = canvas.label[box]
    labels[gained & (labels == HEART_LABEL)] = label


def draw_pericardial_effusion(draw: Draw) -> Lesion:
    """Fluid around the heart."""
    thickness = draw.size(5, 22)
    return Lesion(sizes=(thickness,), size_mm=round(thickness), severity=severity(thickness, 5, 22))


def paint_pericardial_effusion(
    canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int
) -> None:
    """Paint a shell of fluid around the heart as it is, above the diaphragm."""
    (thickness,) = lesion.sizes
    heart = anatomy.heart
    box = canvas.around(heart.center, heart.length + thickness + 2)
    axes = canvas.axes(box)
    distance = heart.distance(*axes)
    shell = np.maximum(distance - np.float32(thickness), -distance)
    shell = np.maximum(shell, np.float32(-1) - anatomy.wall_depth(*axes) + 3)
    shell = np.maximum(shell, anatomy.dome_height(*axes[:2]) - 10 - axes[2])
    share = canvas.inside(np.asarray(shell, np.float32))
    canvas.paint(box, share, 8, label=label)
    canvas.displace_lung(box, share)


def draw_coronary_calcification(draw: Draw) -> Lesion:
    """Dense stretches on the surface of the heart."""
    count = draw.count(2, 4)
    return Lesion(
        centers=tuple(
            (draw.between(-0.35, 0.35), angle, 0.0)
            for angle in draw.source.choice([0.15, 1.5, -1.3, 0.9], count, replace=False)
        ),
        sizes=tuple(draw.size(1.8, 5.2) for _ in range(count)),
        place=draw.pick("left anterior descending artery", "coronary arteries"),
        strength=draw.strength(),
        severity=("mild", "moderate", "severe")[count - 2],
    )


def paint_coronary_calcification(
    canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int
) -> None:
    """Paint each stretch along the heart; a centre is (position on its axis, angle, -)."""
    for (along, angle, _), radius in zip(lesion.centers, lesion.sizes, strict=True):
        path = [anatomy.heart.surface(along + step, angle, 2.0) for step in (-0.3, -0.1, 0.1, 0.3)]
        canvas.tube(path, radius, 500 + 600 * lesion.strength, label=label)


def draw_hiatal_hernia(draw: Draw) -> Lesion:
    """Stomach behind the heart."""
    radius = draw.size(14, 32)
    center = draw.anatomy.place(draw.between(-14, -4), -34, -58)
    return Lesion(
        centers=(center,),
        sizes=(radius,),
        size_mm=round(2 * radius),
        severity=severity(radius, 14, 32),
    )


def paint_hiatal_hernia(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Paint a bag with a wall, fluid at its back and gas at its front."""
    (center,), (radius,) = lesion.centers, lesion.sizes
    radii = (radius * 1.1, radius * 0.85, radius)
    canvas.ellipsoid(center, radii, 45, label=label, solid=True)
    inner = (radii[0] - 5, radii[1] - 5, radii[2] - 5)
    canvas.ellipsoid(center, inner, 15)
    gas = (center[0], center[1] + 0.2 * inner[1], center[2])
    canvas.ellipsoid(gas, (inner[0] * 0.85, inner[1] * 0.78, inner[2] * 0.85), -950)


STATIONS: dict[str, Point] = {
    "right paratracheal": (20, -4, 72),
    "prevascular": (-8, 34, 66),
    "aortopulmonary": (-32, 6, 46),
    "subcarinal": (2, -22, 14),
    "right hilar": (46, -8, 4),
    "left hilar": (-50, -10, 2),
}
"""Where enlarged lymph nodes lie in the reference thorax."""


def draw_lymphadenopathy(draw: Draw) -> Lesion:
    """Two to four enlarged nodes, the largest at the named station."""
    count = draw.count(2, 4)
    names = [str(name) for name in draw.source.choice(list(STATIONS), count, replace=False)]
    largest = draw.size(7, 17)
    sizes = (largest, *(largest * draw.between(0.75, 1.0) for _ in range(count - 1)))
    return Lesion(
        centers=tuple(draw.anatomy.place(*STATIONS[name]) for name in names),
        sizes=sizes,
        place=names[0],
        size_mm=round(2 * largest),
        severity=severity(largest, 7, 17),
    )


def paint_lymphadenopathy(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Paint egg-shaped nodes of soft tissue."""
    for center, radius in zip(lesion.centers, lesion.sizes, strict=True):
        canvas.ellipsoid(center, (radius, radius * 0.9, radius * 1.3), 55, label=label, solid=True)


def draw_pleural_effusion(draw: Draw) -> Lesion:
    """Fluid at the back of one or both chest cavities of a lying patient."""
    depth = draw.size(12, 62)
    return Lesion(
        sizes=(depth,),
        side=draw.pick("right", "left", "bilateral"),
        size_mm=round(depth),
        severity=severity(depth, 12, 62),
        seed=draw.seed(),
    )


def paint_pleural_effusion(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Fill the back of the cavity up to a level that falls towards the apex."""
    (depth,) = lesion.sizes
    box = canvas.everywhere
    x, y, z = canvas.axes(box)
    level = anatomy.fluid_level(depth, z)
    ripple = 3 * np.sin(x / 23 + rng(lesion.seed, "level").uniform(0, 6))
    fluid = np.asarray(y - level - ripple, np.float32)
    if lesion.side != "bilateral":
        fluid = np.maximum(fluid, -x if lesion.side == "right" else x)
    share = canvas.inside(fluid) * canvas.lung_room(canvas.everywhere)
    canvas.paint(box, share, 8, label=label)
    canvas.displace_lung(box, share)
