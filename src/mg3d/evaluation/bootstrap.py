"""Intervals from resampled patients.

The patient is the statistical unit: two scans of one person are not two independent observations,
so a resample draws patients and every row of a drawn patient comes along. A resample is kept as
weights (how often each row occurs), never as index lists, so that one matrix serves every metric
and two models judged with the same seed see the same resamples (their difference is paired).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mg3d.randomness import rng

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

LOW_PERCENT, HIGH_PERCENT = 2.5, 97.5
MIN_DEFINED_SHARE = 0.95
"""A metric that exists in fewer resamples (a finding with two positives) gets no interval."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How uncertainty and chance are measured; stored with every result."""

    repeats: int = 1000
    """Patient resamples behind each interval."""
    permutations: int = 1000
    """Shuffles behind each chance level."""
    seed: int = 0
    """Seed of both."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; ``low`` and ``high`` are None where none is computed."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, resampled: Array | None) -> Self:
        """The percentile interval of a metric's resampled values.

        Args:
            value: The metric on the rows as they are.
            resampled: (R,) the metric on each resample, NaN where it is undefined; None for a
                protocol without intervals.

        Returns:
            The estimate, without interval when less than 95 % of the resamples are defined.
        """
        if resampled is None or not resampled.size:
            return cls(float(value))
        defined = resampled[~np.isnan(resampled)]
        if defined.size < MIN_DEFINED_SHARE * resampled.size:
            return cls(float(value))
        low, high = np.percentile(defined, [LOW_PERCENT, HIGH_PERCENT])
        return cls(float(value), float(low), float(high))

    def as_dict(self) -> dict[str, Any]:
        """The estimate as it stands in a result file."""
        return {"value": self.value, "low": self.low, "high": self.high}


def patient_weights(patient_ids: Sequence[str], resampling: Resampling) -> Array:
    """How often each row occurs in each resample of the patients.

    Args:
        patient_ids: The patient of each row, length N.
        resampling: Number of resamples R and the seed of the draw.

    Returns:
        (R, N) non-negative whole numbers; rows of one patient share their column. The draw
        depends on the set of patients, not on the order of the rows.
    """
    patients, patient_of_row = np.unique(np.asarray(patient_ids), return_inverse=True)
    share = np.full(len(patients), 1 / len(patients))
    drawn = rng(resampling.seed, "patient_bootstrap").multinomial(
        len(patients), share, size=resampling.repeats
    )
    return drawn[:, patient_of_row].astype(np.float64)
