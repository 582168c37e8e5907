"""Paint one patient's healthy thorax: body wall, bones, abdomen, lungs, heart, vessels, airways.

Order matters: what is painted later replaces what was there. Nothing here depends on findings
except the heart's size, which the caller passes in.
"""

import numpy as np
from numpy.typing import NDArray

from mg3d.phantom.anatomy import Anatomy, Heart, sample_lung
from mg3d.phantom.canvas import Canvas, Field, Point
from mg3d.randomness import rng

LUNG_LABEL = 1
HEART_LABEL = 2

FAT_HU, MUSCLE_HU, BONE_HU, MARROW_HU = -100.0, 55.0, 520.0, 190.0
LIVER_HU, SPLEEN_HU, BLOOD_HU, AIR_HU = 62.0, 50.0, 42.0, -990.0


def paint_thorax(
    canvas: Canvas, anatomy: Anatomy, heart: Heart, enhancement: float, vessels_per_lung: int
) -> None:
    """Fill ``canvas`` with the patient.

    Args:
        canvas: Empty canvas; changed in place.
        anatomy: The patient.
        heart: The heart as it is now (enlarged or not).
        enhancement: HU that contrast agent adds to blood, >= 0.
    """
    box = canvas.everywhere
    axes = canvas.axes(box)
    wall = anatomy.wall_depth(*axes)
    _paint_body(canvas, anatomy, wall)
    above = (axes[2] - anatomy.dome_height(*axes[:2])) * np.float32(0.8)
    cavity = canvas.inside(-wall)
    canvas.paint(box, cavity, np.where(above > 0, np.float32(-75), np.float32(-95)))
    _paint_abdomen(canvas, anatomy, wall, above, enhancement)
    _paint_lungs(canvas, anatomy, wall, above)
    _paint_bones(canvas, anatomy, wall)
    _paint_pulmonary_vessels(canvas, anatomy, enhancement, vessels_per_lung)
    _paint_heart(canvas, heart, enhancement)
    _paint_great_vessels(canvas, anatomy, enhancement)
    _paint_airways(canvas, anatomy)
    canvas.label[(canvas.lung > 0.5) & (canvas.label == 0)] = LUNG_LABEL


def _paint_body(canvas: Canvas, anatomy: Anatomy, wall: Field) -> None:
    box = canvas.everywhere
    x, y, z = canvas.axes(box)
    table = np.abs(y + anatomy.half_depth + 16 - (x / 60) ** 2) - 4
    canvas.paint(box, canvas.inside(np.broadcast_to(table, canvas.hu.shape)), -820)
    skin = anatomy.skin_depth(x, y, z)
    canvas.paint(box, canvas.inside(-skin), FAT_HU)
    below_fat = skin - np.float32(anatomy.fat)
    canvas.paint(box, canvas.inside(-below_fat), MUSCLE_HU)
    for side in (-1, 1):  # fat between the shoulder muscles
        canvas.ellipsoid(anatomy.place(side * 105, -20, 118), (14, 40, 34), -90)


def _paint_abdomen(
    canvas: Canvas, anatomy: Anatomy, wall: Field, above: Field, enhancement: float
) -> None:
    top = float(max(anatomy.dome_right, anatomy.dome_left)) + 4
    box = canvas.box((-400, -400, -1000), (400, 400, top))
    below = canvas.inside(np.maximum(above, -wall)[box])
    x, y, z = canvas.axes(box)

    def organ(distance: Field, hu: float) -> None:
        canvas.paint(box, canvas.inside(distance) * below, hu)

    right = anatomy.place(62, 0, 0)
    depth = anatomy.dome_right - 30
    liver = np.sqrt(((x - right[0]) / 84) ** 2 + (y / 82) ** 2 + ((z - depth) / 88) ** 2) - 1
    organ(np.asarray(liver * 80, np.float32), LIVER_HU + 0.4 * enhancement)
    left = anatomy.place(-78, -34, 0)
    spleen = np.sqrt(
        ((x - left[0]) / 34) ** 2
        + ((y - left[1]) / 44) ** 2
        + ((z - anatomy.dome_left + 34) / 46) ** 2
    )
    organ(np.asarray((spleen - 1) * 38, np.float32), SPLEEN_HU + 0.5 * enhancement)
    middle = anatomy.place(-56, 30, 0)
    stomach = np.sqrt(
        ((x - middle[0]) / 40) ** 2
        + ((y - middle[1]) / 40) ** 2
        + ((z - anatomy.dome_left + 52) / 44) ** 2
    )
    organ(np.asarray((stomach - 1) * 40, np.float32), 35)
    gas = np.maximum((stomach - 0.88) * 40, middle[1] + 8 - y)  # gas rises to the front
    organ(np.asarray(gas, np.float32), -950)


def _paint_lungs(canvas: Canvas, anatomy: Anatomy, wall: Field, above: Field) -> None:
    box = canvas.everywhere
    x, y, z = canvas.axes(box)
    between = np.abs(x) - anatomy.mediastinum_half_width(y, z)
    depth = np.minimum(np.minimum(wall, between), above)
    canvas.lung = canvas.inside(-depth)
    settled = anatomy.lung_hu - 25 * y / anatomy.half_depth  # the back of a lying patient is denser
    canvas.paint(box, canvas.lung, np.asarray(settled, np.float32))


def _paint_bones(canvas: Canvas, anatomy: Anatomy, wall: Field) -> None:
    _paint_ribs(canvas, anatomy, wall)
    _paint_spine(canvas, anatomy)
    _, depth = anatomy.chest
    box = canvas.box((-20, depth - 10, -60 * anatomy.stature), (20, depth + 25, 75))
    x, y, z = canvas.axes(box)
    plate = np.maximum(np.abs(x) - 15, np.abs(y - depth - 5) - 5)
    sternum = np.maximum(plate, np.abs(z - 10 * anatomy.stature) - 65 * anatomy.stature)
    _paint_bone(canvas, box, np.asarray(sternum, np.float32))
    for side in (-1, 1):
        blade = anatomy.place(side * 98, -78, 70)
        canvas.ellipsoid(blade, (26, 5, 52), 330)
        shaft = [anatomy.place(side * 14, 52, 112), anatomy.place(side * 120, 20, 132)]
        canvas.tube(shaft, 6, 380)


def _paint_ribs(canvas: Canvas, anatomy: Anatomy, wall: Field) -> None:
    """Rings outside the pleura that fall from the spine to the sternum."""
    period, fall = 23 * anatomy.stature, 0.42
    box = canvas.box((-400, -400, -165), (400, 400, 128 * anatomy.stature))
    _, y, z = canvas.axes(box)
    height = (z + fall * y) / period
    vertical = (height - np.round(height)) * (period * 0.92)
    outward = wall[box] + np.float32(RIB_CENTRE_MM)
    distance = np.sqrt(vertical**2 + outward**2) - np.float32(5.0)
    _, depth = anatomy.chest
    # in front the bone ends in cartilage; the lowest ribs do not reach the front
    front = np.clip((y - 0.80 * depth) / 12 + np.clip((-z - 40) / 20, 0, 6) + 0.5, 0, 1)
    hu = BONE_HU - 80 - (BONE_HU - 190) * front
    canvas.paint(box, canvas.inside(distance), np.asarray(hu, np.float32))


RIB_CENTRE_MM = 4.5
"""From the pleura outwards to the middle of a rib."""


def _paint_spine(canvas: Canvas, anatomy: Anatomy) -> None:
    _, depth = anatomy.chest
    body_y, canal_y = -depth + 22, -depth - 4
    box = canvas.box((-45, -depth - 48, -1000), (45, -depth + 46, 1000))
    x, y, z = canvas.axes(box)
    period = 25 * anatomy.stature
    phase = np.abs((z / period) % 1 - 0.5) * period  # 0 in the middle of a disc
    back = np.maximum(np.abs(x) - 40, np.abs(y - canal_y + 4) - 14)
    canvas.paint(box, canvas.inside(np.asarray(back + 0 * z, np.float32)), MUSCLE_HU)
    body = np.sqrt((x / 19) ** 2 + ((y - body_y) / 16) ** 2) * 17 - 17
    vertebra = np.maximum(body, 3.5 - phase)
    canvas.paint(box, canvas.inside(np.asarray(body + 0 * z, np.float32)), 85)
    canvas.displace_lung(box, canvas.inside(np.asarray(body + 0 * z, np.float32)))
    _paint_bone(canvas, box, np.asarray(vertebra, np.float32))
    arch = np.abs(np.sqrt(x**2 + (y - canal_y) ** 2) - 12) - 3
    spinous = np.maximum(np.abs(x) - 4, np.abs(y - canal_y + 24) - 12)
    process = np.maximum(np.minimum(arch, spinous), 6 - phase)
    canvas.paint(box, canvas.inside(np.asarray(process, np.float32)), 400)


def _paint_bone(canvas: Canvas, box: tuple[slice, slice, slice], distance: Field) -> None:
    """A hard rim around marrow."""
    canvas.paint(box, canvas.inside(distance), BONE_HU)
    canvas.paint(box, canvas.inside(distance + np.float32(3.5)), MARROW_HU)


def _paint_heart(canvas: Canvas, heart: Heart, enhancement: float) -> None:
    reach = heart.length + 6
    box = canvas.around(heart.center, reach)
    distance = heart.distance(*canvas.axes(box))
    share = canvas.inside(distance)
    canvas.displace_lung(box, canvas.inside(distance - np.float32(2)))
    canvas.paint(box, canvas.inside(distance - np.float32(2)), -85)  # fat under the pericardium
    canvas.paint(box, share, 48 + 0.45 * enhancement)
    canvas.label[box][share > 0.5] = HEART_LABEL
    chambers = (
        (0.30, 2.6, 0.42, 0.40),  # left ventricle: along the axis, angle, offset, size
        (0.10, -0.6, 0.45, 0.42),
        (-0.55, 2.7, 0.45, 0.38),
        (-0.60, -0.9, 0.45, 0.38),
    )
    for along, angle, offset, size in chambers:
        center = heart.surface(along, angle, heart.radius * (1 - offset) * np.sqrt(1 - along**2))
        radius = size * heart.radius
        canvas.ellipsoid(center, (radius, radius, radius * 1.15), BLOOD_HU + enhancement)


def _paint_great_vessels(canvas: Canvas, anatomy: Anatomy, enhancement: float) -> None:
    blood = BLOOD_HU + enhancement
    vessels: tuple[tuple[float, tuple[Point, ...]], ...] = (
        (11, tuple(anatomy.place(*p) for p in ((-12, 30, -2), (-14, 18, 28)))),
        (8, tuple(anatomy.place(*p) for p in ((-14, 16, 28), (8, 2, 22), (38, -4, 14)))),
        (8, tuple(anatomy.place(*p) for p in ((-14, 16, 28), (-30, -4, 26), (-42, -12, 16)))),
        (8, tuple(anatomy.place(*p) for p in ((26, 14, 120), (26, 12, 70), (24, 8, -12)))),
        (9, tuple(anatomy.place(*p) for p in ((20, 0, -60), (18, -14, -175)))),
        (anatomy.aorta_radius, anatomy.aorta()),
    )
    for radius, path in vessels:
        canvas.tube(path, radius, blood, solid=True)
    gullet = ((-2, -34, 160), (-3, -36, 60), (-8, -32, -30), (-16, -20, -75))
    canvas.tube([anatomy.place(*p) for p in gullet], 6, 38, solid=True)


def _paint_airways(canvas: Canvas, anatomy: Anatomy) -> None:
    trachea = [anatomy.place(0, -12, 165), anatomy.place(0, -18, 40)]
    canvas.tube(trachea, 11.5, 40, solid=True)
    canvas.tube(trachea, 9, AIR_HU)
    bronchi = anatomy.bronchi()
    for radius, path in bronchi:
        canvas.tube(path, radius + 1.5, 10)
    for radius, path in bronchi:
        canvas.tube(path, radius, AIR_HU)


def _paint_pulmonary_vessels(
    canvas: Canvas, anatomy: Anatomy, enhancement: float, ends: int
) -> None:
    for start, stop, radius in vessel_tree(anatomy, ends):
        canvas.tube((start, stop), radius, BLOOD_HU + enhancement, lung_only=True)


def vessel_tree(anatomy: Anatomy, ends: int) -> list[tuple[Point, Point, float]]:
    """Segments (start, stop, radius in mm) that grow from each hilum to scattered ends.

    Ends are joined in the order of their distance from the hilum, each to the nearest joint so
    far, which gives a tree without crossings over the mediastinum.

    Args:
        anatomy: Whose lungs; the tree depends on nothing else.
        ends: Number of peripheral ends in each lung, >= 1.
    """
    source = rng(anatomy.tree_seed, "vessels")
    segments = []
    for side in (1, -1):
        low, high = ((0, -1, -1), (1, 1, 1)) if side > 0 else ((-1, -1, -1), (0, 1, 1))
        targets = np.array(sample_lung(anatomy, source, ends, margin=7, low=low, high=high))
        hilum = np.array(anatomy.place(side * 38, -6, 14))
        order = np.argsort(np.linalg.norm(targets - hilum, axis=1))
        joints = np.concatenate([[hilum], np.zeros((2 * ends, 3))])
        radii = np.full(2 * ends + 1, 5.0)
        for number, target in enumerate(targets[order]):
            known = 2 * number + 1
            nearest = int(np.argmin(np.linalg.norm(joints[:known] - target, axis=1)))
            radius = max(float(radii[nearest]) * 0.8, 1.2)
            segments.append((_point(joints[nearest]), _point(target), radius))
            joints[known] = (joints[nearest] + target) / 2
            joints[known + 1] = target
            radii[known : known + 2] = radius
    return segments


def _point(values: NDArray[np.float64]) -> Point:
    return (float(values[0]), float(values[1]), float(values[2]))
