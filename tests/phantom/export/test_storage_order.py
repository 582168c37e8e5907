"""Storage order: the same voxels at the same places, whatever the order."""

import itertools

import numpy as np
import pytest

from mg3d.data.volume import Volume
from mg3d.phantom.export.storage_order import stored_as

ORDERS = [
    "".join(axes)
    for letters in itertools.permutations(("RL", "AP", "SI"))
    for axes in itertools.product(*letters)
]


@pytest.mark.parametrize("axes", ORDERS)
def test_every_voxel_stays_where_it_is(axes: str) -> None:
    affine = np.array([[0, 0, -2.0, 5], [0.5, 0, 0, -7], [0, 3.0, 0, 1], [0, 0, 0, 1]])
    volume = Volume(np.arange(24).reshape(2, 3, 4).astype(np.int16), affine)
    stored = stored_as(volume, axes)
    assert stored.axes == axes
    indices = np.array([*np.ndindex(stored.shape)])
    places = indices @ stored.affine[:3, :3].T + stored.affine[:3, 3]
    inverse = np.linalg.inv(volume.affine)
    back = np.rint(places @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    assert (volume.array[tuple(back.T)] == stored.array[tuple(indices.T)]).all()
