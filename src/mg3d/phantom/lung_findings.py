"""Findings of the lung: how each is drawn for a patient and painted into the voxels.

One pair of functions a finding: ``draw_<finding>`` (numbers only) and ``paint_<finding>``. Each
has an appearance of its own, so that it can be told from the others at 5-6 mm voxels.
"""

from itertools import pairwise

import numpy as np

from mg3d.phantom.anatomy import LOBES, Anatomy, sample_lung
from mg3d.phantom.canvas import Canvas, Field, Point, segment_distance, waves
from mg3d.phantom.lesion import Draw, Lesion, severity
from mg3d.randomness import rng


def draw_emphysema(draw: Draw) -> Lesion:
    """Large pockets without tissue, most of them in the upper lobes."""
    count = draw.count(5, 8)
    sizes = tuple(draw.size(14, 34) for _ in range(count))
    return Lesion(
        centers=sample_lung(draw.anatomy, draw.source, count, margin=8, low=(-1, -0.8, 0.05)),
        sizes=sizes,
        side="bilateral",
        place="upper lobes",
        kind=draw.pick("centrilobular", "paraseptal", "bullous"),
        severity=severity(max(sizes), 14, 34),
        seed=draw.seed(),
    )


def paint_emphysema(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Paint the pockets at nearly the density of air."""
    for center, radius in zip(lesion.centers, lesion.sizes, strict=True):
        box, distance = _cloud(canvas, center, radius, lesion.seed)
        canvas.paint(box, canvas.inside(distance) * canvas.lung_room(box), -985, label=label)


def draw_atelectasis(draw: Draw) -> Lesion:
    """A plate of collapsed lung above the diaphragm."""
    side = draw.pick("right", "left")
    thickness = draw.size(5, 17)
    base = draw.anatomy.place(66 if side == "right" else -70, draw.between(-35, 5), 0)
    top = draw.anatomy.dome_right if side == "right" else draw.anatomy.dome_left
    return Lesion(
        centers=((base[0], base[1], top + draw.between(10, 22)),),
        sizes=(thickness,),
        side=side,
        place=f"{side} lower lobe",
        kind=draw.pick("linear", "subsegmental"),
        severity=severity(thickness, 5, 17),
        seed=draw.seed(),
    )


def paint_atelectasis(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Paint a tilted plate that widens towards the pleura."""
    (center,), (thickness,) = lesion.centers, lesion.sizes
    box, distance = _ball(canvas, center, 52)
    x, y, z = canvas.axes(box)
    tilt = rng(lesion.seed, "tilt").uniform(-0.25, 0.25, 2)
    outward = (x - center[0]) * np.sign(center[0])
    height = (z - center[2]) + tilt[0] * outward + tilt[1] * (y - center[1])
    half = thickness / 2 * (1 + outward / 90)
    plate = np.maximum(np.abs(height) - half, distance)
    share = canvas.inside(np.asarray(plate, np.float32)) * canvas.lung_room(box)
    canvas.paint(box, share, 35, label=label)


def draw_nodule(draw: Draw) -> Lesion:
    """One to three round nodules, the first one in the named lobe."""
    count = int(draw.source.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))
    lobe = draw.pick(*LOBES)
    largest = draw.size(6, 30)
    sizes = (largest, *(largest * draw.between(0.6, 0.95) for _ in range(count - 1)))
    margin = largest / 2 + 2
    first = sample_lung(draw.anatomy, draw.source, 1, margin=margin, lobe=lobe)
    others = sample_lung(draw.anatomy, draw.source, count - 1, margin=margin)
    return Lesion(
        centers=first + others,
        sizes=tuple(size / 2 for size in sizes),
        side=lobe.split()[0],
        place=lobe,
        kind="single" if count == 1 else "multiple",
        size_mm=round(largest),
        severity=severity(largest, 6, 30),
    )


def paint_nodule(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Paint solid balls."""
    for center, radius in zip(lesion.centers, lesion.sizes, strict=True):
        box, distance = _ball(canvas, center, radius)
        canvas.paint(box, canvas.inside(distance) * canvas.lung_room(box), 60, label=label)


def draw_opacity(draw: Draw) -> Lesion:
    """Hazy ground-glass areas, the largest one in the named lobe."""
    count = draw.count(1, 3)
    lobe = draw.pick(*LOBES)
    sizes = tuple(sorted((draw.size(18, 44) for _ in range(count)), reverse=True))
    first = sample_lung(draw.anatomy, draw.source, 1, margin=14, lobe=lobe)
    others = sample_lung(draw.anatomy, draw.source, count - 1, margin=12)
    return Lesion(
        centers=first + others,
        sizes=sizes,
        side=lobe.split()[0],
        place=lobe,
        kind="single" if count == 1 else "multiple",
        size_mm=round(2 * max(sizes)),
        strength=draw.strength(),
        severity=severity(max(sizes), 18, 44),
        seed=draw.seed(),
    )


def paint_opacity(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Raise the density smoothly towards -560 HU; vessels, being denser, stay visible."""
    for center, radius in zip(lesion.centers, lesion.sizes, strict=True):
        box, distance = _cloud(canvas, center, radius, lesion.seed, edge=8)
        share = canvas.inside(distance, softness=16) * canvas.lung_room(box) * lesion.strength
        target = np.maximum(canvas.hu[box], -560)
        canvas.paint(box, np.asarray(share, np.float32), target, label=label)


def draw_fibrotic_sequela(draw: Draw) -> Lesion:
    """Bands of scar that run from the pleura of the apices."""
    side = draw.pick("right", "left", "bilateral")
    sides = {"right": (1,), "left": (-1,), "bilateral": (1, -1)}[side]
    thickness = draw.size(2, 5.5)
    centers = tuple(
        draw.anatomy.place(where * draw.between(40, 70), draw.between(-30, 30), 92)
        for where in sides
        for _ in range(4)
    )
    return Lesion(
        centers=centers,
        sizes=(thickness,) * len(centers),
        side=side,
        place="apices" if side == "bilateral" else f"{side} apex",
        kind=draw.pick("bands", "scarring"),
        severity=severity(thickness, 2, 5.5),
        seed=draw.seed(),
    )


def paint_fibrotic_sequela(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Paint a cap of scar on the apex and bands that reach down from it."""
    source = rng(lesion.seed, "bands")
    for center, radius in zip(lesion.centers, lesion.sizes, strict=True):
        down = source.uniform((-12, -25, -62), (12, 25, -40))
        outer = (center[0] * 1.12, center[1] * 1.3, center[2] + 22)
        inner = (center[0] + down[0], center[1] + down[1], center[2] + down[2])
        canvas.tube((outer, center, inner), radius, 20, label=label, lung_only=True)
    for side in sorted({np.sign(center[0]) for center in lesion.centers}):
        low, high = sorted((12 * side, 400 * side))
        box = canvas.box((low, -400, 70 * anatomy.stature), (high, 400, 400))
        axes = canvas.axes(box)
        scar = anatomy.wall_depth(*axes) - np.float32(1.6 * lesion.sizes[0])
        cap = np.maximum(scar, (86 * anatomy.stature - axes[2]) / 2)
        cap = np.maximum(cap, (low + 4 - axes[0]) if side > 0 else (axes[0] - high + 4))
        canvas.paint(box, canvas.inside(cap) * canvas.lung_room(box), 30, label=label)


def draw_mosaic_attenuation(draw: Draw) -> Lesion:
    """Sharp patches of denser lung all over both lungs; the size is a level, not a length."""
    extent = draw.size(-0.9, 0.6)
    return Lesion(
        sizes=(extent,),
        side="bilateral",
        place="both lungs",
        strength=draw.strength(),
        severity=severity(extent, -0.9, 0.6),
        seed=draw.seed(),
    )


def paint_mosaic_attenuation(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Add up to 150 HU where a random pattern with a period of about 55 mm is high."""
    axes = canvas.axes(canvas.everywhere)
    pattern = waves(axes, rng(lesion.seed, "patches"), 4, 55)
    (extent,) = lesion.sizes
    patches = np.clip((pattern + np.float32(extent)) * 4 + 0.5, 0, 1) * canvas.lung_room(
        canvas.everywhere
    )
    air = canvas.hu < -600  # vessels and walls keep their density
    patches *= air
    target = canvas.hu + np.float32(150 * lesion.strength)
    canvas.paint(canvas.everywhere, patches, target, label=label)


def draw_peribronchial_thickening(draw: Draw) -> Lesion:
    """Thick walls along the central airways."""
    thickness = draw.size(2.5, 7)
    return Lesion(
        sizes=(thickness,),
        side="bilateral",
        place="central airways",
        severity=severity(thickness, 2.5, 7),
    )


def paint_peribronchial_thickening(
    canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int
) -> None:
    """Paint a cuff around each lobar bronchus and leave its lumen open."""
    (thickness,) = lesion.sizes
    for lumen, path in anatomy.bronchi():
        reach = lumen + 1 + thickness
        for start, stop in pairwise(path):
            box = _hull(canvas, start, stop, reach)
            distance = segment_distance(*canvas.axes(box), start, stop)
            cuff = np.maximum(distance - np.float32(reach), np.float32(lumen) - distance)
            canvas.paint(box, canvas.inside(cuff) * canvas.lung_room(box), 30, label=label)


def draw_consolidation(draw: Draw) -> Lesion:
    """Airless lung in most of one lobe."""
    lobe = draw.pick(*LOBES)
    radius = draw.size(22, 52)
    return Lesion(
        centers=sample_lung(draw.anatomy, draw.source, 1, margin=18, lobe=lobe),
        sizes=(radius,),
        side=lobe.split()[0],
        place=lobe,
        size_mm=round(2 * radius),
        severity=severity(radius, 22, 52),
        seed=draw.seed(),
    )


def paint_consolidation(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Fill the lobe around the centre up to its fissure and leave bronchi open in it."""
    (center,), (radius,) = lesion.centers, lesion.sizes
    box, distance = _cloud(canvas, center, radius, lesion.seed)
    axes = canvas.axes(box)
    distance = np.maximum(distance, anatomy.lobe_distance(*axes, lesion.place))
    source = rng(lesion.seed, "bronchogram")
    for _ in range(3):
        reach = source.normal(size=3)
        reach *= 0.7 * radius / np.linalg.norm(reach)
        stop = (center[0] + reach[0], center[1] + reach[1], center[2] + reach[2])
        airway = segment_distance(*axes, center, stop)
        distance = np.maximum(distance, np.float32(2.0) - airway)
    canvas.paint(box, canvas.inside(distance) * canvas.lung_room(box), 25, label=label)


def draw_bronchiectasis(draw: Draw) -> Lesion:
    """A bundle of wide airways with thick walls in one lobe."""
    lobe = draw.pick(*LOBES)
    count = draw.count(4, 6)
    centers = sample_lung(draw.anatomy, draw.source, 1, margin=20, lobe=lobe)
    x, y, z = centers[0]
    bundle = tuple(
        (x + draw.between(-24, 24), y + draw.between(-24, 24), z + draw.between(-10, 10))
        for _ in range(count)
    )
    sizes = tuple(draw.size(5, 11) for _ in range(count))
    return Lesion(
        centers=bundle,
        sizes=sizes,
        side=lobe.split()[0],
        place=lobe,
        kind=draw.pick("cylindrical", "varicose", "cystic"),
        severity=severity(max(sizes), 5, 11),
    )


def paint_bronchiectasis(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Paint parallel tubes: walls first, then every lumen, so that none is closed again."""
    for hu, wall in ((20.0, 0.0), (-985.0, 3.5)):
        for (x, y, z), radius in zip(lesion.centers, lesion.sizes, strict=True):
            course = ((x * 0.94, y, z + 16), (x * 1.06, y - 6, z - 16))
            canvas.tube(course, radius - wall, hu, label=label, lung_only=True)


def draw_septal_thickening(draw: Draw) -> Lesion:
    """A net of lines in the outer lung."""
    thickness = draw.size(1.2, 4.5)
    return Lesion(
        sizes=(thickness,),
        side="bilateral",
        place="periphery of both lungs",
        severity=severity(thickness, 1.2, 4.5),
        seed=draw.seed(),
    )


def paint_septal_thickening(canvas: Canvas, anatomy: Anatomy, lesion: Lesion, label: int) -> None:
    """Paint planes 22 mm apart in three directions, within 32 mm of the chest wall."""
    (thickness,) = lesion.sizes
    x, y, z = axes = canvas.axes(canvas.everywhere)
    source = rng(lesion.seed, "net")
    bend = waves(axes, source, 2, 70) * np.float32(3)  # straight planes look like a cage
    net = np.full(canvas.hu.shape, np.inf, np.float32)
    frame, _ = np.linalg.qr(source.standard_normal((3, 3)))
    for direction in frame.astype(np.float32):
        across = direction[0] * x + direction[1] * y + direction[2] * z + bend
        phase = across / np.float32(22) + np.float32(source.random())
        np.minimum(net, np.abs(phase - np.round(phase)) * np.float32(22), out=net)
    depth = anatomy.wall_depth(x, y, z)
    outer = np.clip((36 - depth) / 8, 0, 1) * canvas.lung_room(canvas.everywhere)
    share = canvas.inside(net - np.float32(thickness / 2)) * outer.astype(np.float32)
    canvas.paint(canvas.everywhere, share, -150, label=label)


def _ball(
    canvas: Canvas, center: Point, radius: float, edge: float = 0.0
) -> tuple[tuple[slice, slice, slice], Field]:
    """The box around a ball and the signed distance to its surface in it."""
    box = canvas.around(center, radius + edge)
    return box, segment_distance(*canvas.axes(box), center, center) - np.float32(radius)


def _cloud(
    canvas: Canvas, center: Point, radius: float, seed: int, edge: float = 0.0
) -> tuple[tuple[slice, slice, slice], Field]:
    """Like `_ball`, with a surface that bulges by up to a quarter of the radius."""
    bulge = radius / 8
    box, distance = _ball(canvas, center, radius, edge + 2 * bulge)
    source = rng(seed, "surface")
    return box, distance + waves(canvas.axes(box), source, 2, 1.3 * radius) * np.float32(bulge)


def _hull(canvas: Canvas, start: Point, stop: Point, reach: float) -> tuple[slice, slice, slice]:
    """The box around a segment."""
    return canvas.box(
        [min(a, b) - reach for a, b in zip(start, stop, strict=True)],
        [max(a, b) + reach for a, b in zip(start, stop, strict=True)],
    )
