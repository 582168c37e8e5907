"""Storage order: a volume with its axes permuted and flipped as a format wants them."""

import numpy as np

from mg3d.data.volume import Volume
from mg3d.phantom.acquisition import AXIS_OF


def stored_as(volume: Volume, axes: str) -> Volume:
    """The same voxels at the same places, indices growing in the directions of ``axes``.

    Args:
        volume: Any orientation.
        axes: Three letters such as "LPS".
    """
    ras = volume.reorient_ras()
    order = [AXIS_OF[letter][0] for letter in axes]
    signs = [AXIS_OF[letter][1] for letter in axes]
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[old, new] = sign
        if sign < 0:
            matrix[old, 3] = ras.shape[old] - 1
    array = ras.array.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    return Volume(np.ascontiguousarray(array), ras.affine @ matrix)
