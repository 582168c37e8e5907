"""Thumbnails: the middle planes of a scan, small, in the orientation radiologists read.

Pixels only: nothing of a header is ever drawn into them.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from mg3d.data.volume import Volume

WINDOW_HU = (-1000.0, 600.0)
"""Lungs and soft tissue in one picture."""
_SIZE = 84
"""Pixels of the longer side of a plane."""
_GAP = 4
_PLANES = (2, 1, 0)
"""Axis across each plane: axial, coronal, sagittal."""


def thumbnail(volume: Volume) -> bytes:
    """The middle axial, coronal and sagittal plane, side by side, as a grey PNG.

    The patient's right is on the left, front or head on top; in the sagittal plane the front is
    on the left. Pixels are square in mm.
    """
    ras = volume.reorient_ras()
    planes = [_plane(ras, axis) for axis in _PLANES]
    height = max(plane.shape[0] for plane in planes)
    width = sum(plane.shape[1] for plane in planes) + _GAP * (len(planes) - 1)
    canvas = np.zeros((height, width), dtype=np.uint8)
    left = 0
    for plane in planes:
        top = (height - plane.shape[0]) // 2
        canvas[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
        left += plane.shape[1] + _GAP
    stream = io.BytesIO()
    Image.fromarray(canvas).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _plane(ras: Volume, axis: int) -> npt.NDArray[np.uint8]:
    """One middle plane, rows from the top."""
    horizontal, vertical = (other for other in range(3) if other != axis)
    values = np.take(ras.array, ras.shape[axis] // 2, axis=axis).astype(np.float32)
    # Indices of RAS+ grow to the right, the front and the head, rows and columns the other way.
    picture = values.T[::-1, ::-1]
    low, high = WINDOW_HU
    grey = ((picture.clip(low, high) - low) * (255 / (high - low))).astype(np.uint8)
    extent = [ras.spacing_mm[way] * ras.shape[way] for way in (horizontal, vertical)]
    scale = _SIZE / max(extent)
    size = (max(1, round(extent[0] * scale)), max(1, round(extent[1] * scale)))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX))
