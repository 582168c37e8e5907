"""Hounsfield units as a checked type: which arrays are CT numbers, and how a model sees them.

The checks are conservative: they stop what cannot be CT numbers (masks, 8-bit exports, values
that were rescaled twice or never) and only warn about what is merely unusual. Thresholds were
set on eight public scans of thorax, abdomen and limbs, none of which warns.
"""

import math

import numpy as np
import numpy.typing as npt

from mg3d.data.scan_error import ScanError

AIR_HU = -1000
WINDOW_HU = (-1000, 1000)
"""What the model sees; arXiv:2412.05876."""

_INT16 = np.iinfo(np.int16)
_NUM_SAMPLES = 200_000
_BELOW_ANY_TISSUE_HU = -1500.0
_SOFT_TISSUE_HU = (-200.0, 250.0)
_NO_SOFT_TISSUE_SHARE = 0.005
_MOST_LABELS = 128
"""Masks in use have up to 118 values; an 8-bit picture has more."""


def scale_hu(hu: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Clip to the window [-1000, 1000] HU and scale to [0, 1].

    Args:
        hu: CT numbers, any shape, any real dtype.

    Returns:
        float32 of the same shape.
    """
    low, high = WINDOW_HU
    scaled: npt.NDArray[np.float32] = np.clip(hu, low, high).astype(np.float32)
    scaled -= np.float32(low)
    scaled /= np.float32(high - low)
    return scaled


def check_hu(values: npt.NDArray[np.generic]) -> tuple[tuple[str, str], ...]:
    """Stop if an array cannot hold CT numbers, warn if it is unusual.

    Args:
        values: The voxels of one volume as read from its file, header scaling applied.

    Returns:
        (kind, message) of each warning; empty for an ordinary scan.

    Raises:
        ScanError: Not finite, constant, a mask, an 8-bit picture, scaled to a unit interval,
            rescaled twice, never rescaled, or beyond 16 bits. The caller names the file.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        raise ScanError(
            f"{count:,} of {values.size:,} voxels are NaN or infinite. Export the series again, or "
            "replace them by air (-1000 HU) if they are padding.",
            "hu_not_finite",
        )
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise ScanError(
            f"every voxel is {low:g}: the image is constant. The file is empty or was "
            "clipped after a wrong rescale; export the series again.",
            "hu_constant",
        )
    sample = _sample(values)
    _stop_pictures(sample, low, high)
    _stop_wrong_rescale(sample, low, high)
    return _unusual(sample, low)


def looks_like_hu(values: npt.NDArray[np.generic]) -> bool:
    """Whether `check_hu` lets an array pass."""
    try:
        check_hu(values)
    except ScanError:
        return False
    return True


def _sample(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """At most about 200,000 voxels spread evenly: enough for shares, quick for a billion voxels."""
    step = math.ceil((values.size / _NUM_SAMPLES) ** (1 / 3))
    return values[::step, ::step, ::step].astype(np.float32)


def _stop_pictures(sample: npt.NDArray[np.float32], low: float, high: float) -> None:
    whole = bool((sample == np.round(sample)).all())
    if high - low <= 2.5 and not (whole and low >= 0):
        raise ScanError(
            f"values lie in [{low:g}, {high:g}]: scaled to a unit interval, the CT numbers are "
            "gone. Give the image in HU.",
            "hu_unit_interval",
        )
    if low < 0 or high > 255 or not whole:
        return
    num_values = len(np.unique(sample))
    if num_values <= _MOST_LABELS:
        raise ScanError(
            f"{num_values} whole values in [{low:g}, {high:g}]: this is a segmentation mask. "
            "Give the CT image of the study instead.",
            "hu_mask",
        )
    raise ScanError(
        f"whole values in [{low:g}, {high:g}]: a windowed 8-bit picture, the CT numbers are "
        "gone. Give the image in HU.",
        "hu_8bit",
    )


def _stop_wrong_rescale(sample: npt.NDArray[np.float32], low: float, high: float) -> None:
    below = float((sample < _BELOW_ANY_TISSUE_HU).mean())
    if _soft_share(sample) < _NO_SOFT_TISSUE_SHARE and below > 0.05:
        raise ScanError(
            f"{below:.0%} of the voxels lie below {_BELOW_ANY_TISSUE_HU:g} HU and next to none in "
            "the range of soft tissue: slope and intercept were applied twice. Give the image "
            "rescaled once.",
            "hu_rescaled_twice",
        )
    inside = sample[sample >= _BELOW_ANY_TISSUE_HU]  # scanners pad with -2000, -2048 or -3024
    if inside.size and float(inside.min()) >= 0:
        raise ScanError(
            f"no voxel is negative (values up to {high:g}), so there is neither air nor fat: these "
            "are stored values without slope and intercept. Give the image in HU.",
            "hu_never_rescaled",
        )
    if low < _INT16.min or high > _INT16.max:
        raise ScanError(
            f"values in [{low:g}, {high:g}] exceed 16 bits, which no CT number does. Check slope "
            "and intercept of the file.",
            "hu_beyond_16_bit",
        )


def _unusual(sample: npt.NDArray[np.float32], low: float) -> tuple[tuple[str, str], ...]:
    warnings = []
    if float((sample < -700).mean()) < 1e-4:
        message = "no air (below -700 HU): a tight crop, or not calibrated in HU"
        warnings.append(("hu_no_air", message))
    if (share := _soft_share(sample)) < 0.02:
        message = f"only {share:.1%} of the voxels look like soft tissue (-200 to 250 HU)"
        warnings.append(("hu_little_soft_tissue", message))
    at_floor = float((sample == low).mean())
    if low > -900 and at_floor > 0.05:
        message = f"{at_floor:.0%} of the voxels are {low:g} HU, none is lower: windowed?"
        warnings.append(("hu_windowed", message))
    return tuple(warnings)


def _soft_share(sample: npt.NDArray[np.float32]) -> float:
    low, high = _SOFT_TISSUE_HU
    return float(((sample > low) & (sample < high)).mean())
