"""Resampling of arrays, in bounded memory: the source stays as it is, float32 exists slab by slab.

Two ways. Along the axes of the array, by the weights of three `AxisPlan`s. And through any affine
matrix, by trilinear interpolation or to the nearest voxel. In both a voxel reaches half a voxel
beyond its centre; what lies further out is not in the array.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from mg3d.data.grid import AxisPlan, grid_to_source

_SLAB_BYTES = 32 * 2**20
_TIE = 1e-3
"""Share of a voxel that decides between labels which fill it alike."""
_BORDER = 0.5 + 1e-6
"""How far a voxel reaches beyond its centre; the margin absorbs float rounding."""


def resample(
    array: npt.NDArray[np.generic], plans: tuple[AxisPlan, AxisPlan, AxisPlan], outside: float
) -> npt.NDArray[np.float32]:
    """Resample along the three axes: x and y first, the one that shrinks most before the other.

    Slabs run over z, since slices lie one after the other in nearly all files.

    The order of the sums depends on the plans alone, so an array gives the same bits however it
    lies in memory.

    Args:
        array: (X, Y, Z) of any real type and memory order.
        plans: One for each axis.
        outside: Value of the target beyond the source.

    Returns:
        float32 of the plans' target sizes.
    """
    return _contract(array, tuple(plan.weights() for plan in plans), outside)


def resample_labels(
    array: npt.NDArray[Any], plans: tuple[AxisPlan, AxisPlan, AxisPlan]
) -> npt.NDArray[Any]:
    """Resample labels along the three axes: each voxel gets the label that fills most of it.

    Where two fill it alike, the one nearest to its centre wins. The weights are those of
    `resample`, so a label lies where the tissue that it marks lies.

    Args:
        array: (X, Y, Z) of whole numbers, 0 the background.
        plans: One for each axis.

    Returns:
        Array of the same type and the plans' target sizes; beyond the source it is 0.
    """
    weights = tuple(plan.weights() for plan in plans)
    x, y, z = (plan.target_size for plan in plans)
    nearest = sample_nearest(array, grid_to_source(plans), (x, y, z), 0)
    best = np.zeros_like(nearest)
    most = 1 - _contract(array != 0, weights, 0)
    most[nearest == 0] += _TIE
    for label in np.unique(array):
        if label == 0:
            continue
        box = _box(array == label)
        reach = tuple(_used(w[:, part].T) for w, part in zip(weights, box, strict=True))
        inner = tuple(w[rows, part] for w, rows, part in zip(weights, reach, box, strict=True))
        share = _contract(array[box] == label, inner, 0)
        share[nearest[reach] == label] += _TIE
        best[reach][share > most[reach]] = label
        np.maximum(most[reach], share, out=most[reach])
    return best


def _box(mask: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    """The smallest box that holds all that is true."""
    places = [
        np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        for axis in range(3)
    ]
    return tuple(slice(int(place[0]), int(place[-1]) + 1) for place in places)


def _contract(
    array: npt.NDArray[np.generic], weights: tuple[sparse.csr_array, ...], outside: float
) -> npt.NDArray[np.float32]:
    """`resample` by (target, source) weights of each axis."""
    used = [_used(matrix) for matrix in weights]
    first, second = sorted((0, 1), key=lambda axis: _gain(weights[axis], used[axis]))
    slabbed = 2
    weights = tuple(matrix[:, part] for matrix, part in zip(weights, used, strict=True))
    order = (first, slabbed, second)
    source = array[tuple(used)].transpose(order)
    sizes = [weights[axis].shape[0] for axis in range(3)]
    if not source.size:  # an axis so thin that no target voxel touches it
        return np.full(sizes, outside, dtype=np.float32)
    middle = np.empty((source.shape[1], sizes[second], sizes[first]), np.float32)
    num = max(1, _SLAB_BYTES // (4 * max(1, source.shape[0] * source.shape[2])))
    for start in range(0, source.shape[1], num):
        # The value outside becomes zero, so that empty rows of weights come out as it.
        slab = np.array(source[:, start : start + num], dtype=np.float32, order="C")
        slab -= np.float32(outside)
        rows = weights[first] @ slab.reshape(slab.shape[0], -1)
        columns = np.ascontiguousarray(rows.reshape(-1, slab.shape[2]).T)
        done = (weights[second] @ columns).reshape(sizes[second], sizes[first], -1)
        middle[start : start + num] = done.transpose(2, 0, 1)
    flat = middle.reshape(middle.shape[0], sizes[second] * sizes[first])
    out = (weights[slabbed] @ flat).reshape(sizes[slabbed], sizes[second], sizes[first])
    back = np.argsort((slabbed, second, first))
    result: npt.NDArray[np.float32] = np.ascontiguousarray(out.transpose(back))
    result += np.float32(outside)
    return result


def _used(weights: sparse.csr_array) -> slice:
    """The part of the source that has any weight."""
    columns = weights.tocoo().col
    return slice(int(columns.min()), int(columns.max()) + 1) if columns.size else slice(0, 0)


def _gain(weights: sparse.csr_array, used: slice) -> float:
    """Target voxels for each source voxel: the less, the sooner an axis is worth resampling."""
    return float(weights.shape[0] / max(1, used.stop - used.start))


def sample_linear(
    array: npt.NDArray[np.generic],
    matrix: npt.NDArray[np.float64],
    shape: tuple[int, int, int],
    outside: float,
) -> npt.NDArray[np.generic]:
    """Look up an array at the voxels of another, by trilinear interpolation.

    Args:
        array: (X, Y, Z) int16 or float32.
        matrix: (4, 4) index of the target -> index of the array.
        shape: Voxels of the target.
        outside: Value of the target beyond the array.

    Returns:
        Array of that shape and of the type of ``array``, whole types rounded.
    """
    out = np.empty(shape, array.dtype, order="F")
    for plane, places, inside in _planes(array.shape, matrix, shape):
        values = ndimage.map_coordinates(array, places, np.float32, order=1, mode="nearest")
        values[~inside] = outside
        values = np.rint(values) if array.dtype.kind in "iu" else values
        out[:, :, plane] = values.reshape(shape[:2])
    return out


def sample_nearest(
    array: npt.NDArray[np.generic],
    matrix: npt.NDArray[np.float64],
    shape: tuple[int, int, int],
    outside: float,
) -> npt.NDArray[np.generic]:
    """As `sample_linear`, to the nearest voxel: no value appears that was not there."""
    out = np.empty(shape, array.dtype, order="F")
    top = np.array(array.shape)[:, None] - 1
    for plane, places, inside in _planes(array.shape, matrix, shape):
        # Half-way between two voxels the upper one counts, whatever the rounding of the matrix.
        x, y, z = np.clip(np.floor(places + _BORDER), 0, top).astype(np.intp)
        out[:, :, plane] = np.where(inside, array[x, y, z], outside).reshape(shape[:2])
    return out


def _planes(
    source: tuple[int, ...], matrix: npt.NDArray[np.float64], shape: tuple[int, int, int]
) -> Iterator[tuple[int, npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
    """For each plane of the target: where its voxels lie in the source (3, X * Y), and whether."""
    flat = np.indices(shape[:2]).reshape(2, -1)
    base = matrix[:3, :2] @ flat + matrix[:3, 3:]
    top = np.array(source)[:, None] - 1 + _BORDER
    for plane in range(shape[2]):
        places = base + plane * matrix[:3, 2:3]
        inside = np.all((places >= -_BORDER) & (places <= top), axis=0)
        yield plane, places, np.asarray(inside)
