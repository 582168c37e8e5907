"""Hounsfield units as a checked type: which arrays are CT numbers, and how a model sees them.

The checks are conservative: they stop what cannot be CT numbers (masks, 8-bit exports, values
that were rescaled twice or never) and only warn about what is merely unusual.

Most scans hold two kinds of voxels in plenty, air and soft tissue. In HU the one lies about -1000,
the other about 0 to 80, so that the two peaks give slope and intercept away. Thresholds were set
on 88 phantom studies (seed 101) and the twelve public scans of thorax, abdomen and limbs listed in
docs/explanation/volumes.md, none of which warns: air peaks lie at -974 to -932 HU, soft tissue at
-90 to 84, 863 to 1056 apart.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mg3d.data.scan_error import ScanError
from mg3d.hu_window import WIDTH_HU, WINDOW_HU

AIR_HU = -1000

_INT16 = np.iinfo(np.int16)
_NUM_SAMPLES = 200_000
_BELOW_ANY_TISSUE_HU = -1500.0
_SOFT_TISSUE_HU = (-200.0, 250.0)
_NO_SOFT_TISSUE_SHARE = 0.005
_PLENTY = 0.1
"""Least share of the voxels for air and for soft tissue to be judged by their peaks."""
_SHARP = (0.6, 0.35)
"""Share of either that lies within an eighth of the distance of both; clean: 0.78 and 0.50."""
_APART_HU = (720.0, 1350.0)
_SHIFTED_HU = 300.0
_INTERCEPTS = (1000.0, 1024.0, 8192.0)
"""In use: by convention, by 12-bit scanners, by Siemens with an extended range."""
_INTERCEPT_FOUND_HU = 180.0
_BIN_HU = 20.0
_WINDOWED_BELOW_HU = 900.0
"""Bone and metal reach further in a scan with its full range."""
_AT_FLOOR = 0.85
"""Share of the lower half that is one value where a window has cut it off."""
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
    scaled /= np.float32(WIDTH_HU)
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
    return _unusual(sample, low, high)


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
    peaks = _peaks(sample)
    if peaks is not None:
        _stop_wrong_peaks(peaks)
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


class _Peaks(NamedTuple):
    """Where air and soft tissue lie."""

    air: float
    soft: float


def _peaks(sample: npt.NDArray[np.float32]) -> _Peaks | None:
    """The peaks of the lower and the upper half of the values; None where they are no two peaks.

    The halves are parted where they differ most (Otsu's threshold), padding left out.
    """
    floor = sample.min()
    above = sample[sample > floor]
    if above.size and np.percentile(above, 1) - floor > 200:  # padding keeps its distance
        sample = above
    values = sample.ravel()
    first, last = (float(limit) for limit in np.percentile(values, (0.1, 99.9)))
    beyond = max(last + 1, first + abs(first) / 1000)  # 1e30 + 1 is 1e30: no width for bins
    counts, edges = np.histogram(values, _num_bins(first, last), (first, beyond))
    centres = (edges[1:] + edges[:-1]) / 2
    share = np.cumsum(counts) / counts.sum()
    mean = np.cumsum(counts * centres) / counts.sum()
    inner = (share > 0) & (share < 1)
    if not inner.any():
        return None
    between = np.zeros_like(share)
    between[inner] = (mean[-1] * share - mean)[inner] ** 2 / (share * (1 - share))[inner]
    threshold = edges[int(np.argmax(between)) + 1]
    lower, upper = values[values < threshold], values[values >= threshold]
    if min(lower.size, upper.size) < _PLENTY * values.size:
        return None
    if (lower == lower.min()).mean() > _AT_FLOOR:
        return None
    peaks = _Peaks(_peak(lower), _peak(upper))
    near = (peaks.soft - peaks.air) / 8
    sharp = [
        float((np.abs(half - peak) < near).mean())
        for half, peak in zip((lower, upper), peaks, strict=True)
    ]
    return peaks if sharp[0] > _SHARP[0] and sharp[1] > _SHARP[1] else None


def _num_bins(first: float, last: float) -> int:
    return int(np.clip((last - first) / _BIN_HU, 8, 4096))


def _peak(values: npt.NDArray[np.float32]) -> float:
    """The middle of the 100 HU that hold most."""
    first, last = float(values.min()), float(values.max())
    beyond = max(last + 1, first + abs(first) / 1000)  # 1e30 + 1 is 1e30: no width for bins
    counts, edges = np.histogram(values, _num_bins(first, last), (first, beyond))
    smooth = np.convolve(counts, np.ones(5), "same")
    place = int(np.argmax(smooth))
    return float(edges[place] + edges[place + 1]) / 2


def _stop_wrong_peaks(peaks: _Peaks) -> None:
    apart = peaks.soft - peaks.air
    seen = f"air at {peaks.air:.0f} and soft tissue at {peaks.soft:.0f}"
    if not _APART_HU[0] <= apart <= _APART_HU[1]:
        raise ScanError(
            f"{seen} lie {apart:.0f} apart, in HU it is about 1040: the slope is wrong. Check it "
            "in header and table.",
            "hu_slope",
        )
    shift = peaks.air - AIR_HU
    if min(abs(shift), abs(peaks.soft)) < _SHIFTED_HU or shift * peaks.soft < 0:
        return
    known = any(abs(abs(shift) - intercept) < _INTERCEPT_FOUND_HU for intercept in _INTERCEPTS)
    if known and shift < 0:
        raise ScanError(
            f"{seen}, in HU about -1000 and 40: the intercept was applied twice. Give the image "
            "rescaled once.",
            "hu_rescaled_twice",
        )
    if known:
        raise ScanError(
            f"{seen}, in HU about -1000 and 40: these are stored values without the intercept. "
            "Give the image in HU.",
            "hu_never_rescaled",
        )
    raise ScanError(
        f"{seen}, in HU about -1000 and 40: all values are shifted by about {shift:.0f}. Check "
        "the intercept in header and table.",
        "hu_shifted",
    )


def _unusual(
    sample: npt.NDArray[np.float32], low: float, high: float
) -> tuple[tuple[str, str], ...]:
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
    at_ceiling = float((sample == high).mean())
    if high < _WINDOWED_BELOW_HU and at_ceiling > 0.01:
        message = f"{at_ceiling:.0%} of the voxels are {high:g} HU, none is higher: windowed?"
        warnings.append(("hu_windowed", message))
    return tuple(warnings)


def _soft_share(sample: npt.NDArray[np.float32]) -> float:
    low, high = _SOFT_TISSUE_HU
    return float(((sample > low) & (sample < high)).mean())
