"""Thumbnails: which way is up, square pixels, and nothing but the voxels."""

import io

import numpy as np
import pytest
from PIL import Image

from mg3d.audit.thumbnail import thumbnail
from mg3d.data.volume import Volume

SHAPE = (30, 20, 40)
"""Right, front, head."""


def picture(volume: Volume) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(thumbnail(volume)))).astype(int)


def marked(where: tuple[slice, slice, slice]) -> Volume:
    array = np.full(SHAPE, -1000, dtype=np.int16)
    array[where] = 600
    return Volume(array, np.eye(4))


def centre(part: np.ndarray) -> tuple[float, float]:
    """Share of height and width at which the bright pixels lie."""
    rows, columns = np.nonzero(part > 128)
    return rows.mean() / part.shape[0], columns.mean() / part.shape[1]


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flip", [False, True])
def test_right_is_left_front_and_head_are_up(axes: tuple[int, ...], flip: bool) -> None:
    corner = marked((slice(15, 30), slice(10, 20), slice(20, 40)))  # right, front, head
    stored = corner.array.transpose(axes)
    affine = np.eye(4)[:, [*axes, 3]]
    if flip:
        stored = stored[::-1]
        affine = affine.copy()
        affine[:3, 3] = affine[:3, 0] * (stored.shape[0] - 1)
        affine[:3, 0] *= -1
    pixels = picture(Volume(stored, affine))
    assert (pixels == picture(corner)).all()
    # 84 pixels to the longer side: axial 30 x 20, coronal 30 x 40, sagittal 20 x 40.
    widths = [84, 63, 42]
    assert pixels.shape == (84, sum(widths) + 2 * 4)
    axial = pixels[14:70, :84]
    coronal, sagittal = pixels[:, 88:151], pixels[:, 155:]
    for part in (axial, coronal, sagittal):
        height, width = centre(part)
        assert height < 0.35
        assert width < 0.35


def test_pixels_are_square_in_mm_and_the_window_is_kept() -> None:
    array = np.full((10, 10, 5), -200, dtype=np.int16)
    pixels = picture(Volume(array, np.diag([1.0, 1, 4, 1])))  # 10 x 10 x 20 mm
    assert pixels.shape == (84, 84 + 42 + 42 + 8)
    assert set(np.unique(pixels)) == {0, 127}  # gaps, and the middle of -1000 to 600 HU
    wild = np.array([-3024, 3071], dtype=np.int16).repeat(64).reshape(8, 4, 4)
    assert set(np.unique(picture(Volume(wild, np.eye(4))))) <= {0, 255}
