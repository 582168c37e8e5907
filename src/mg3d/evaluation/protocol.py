"""The two protocols that every result is printed under, as data.

The field's numbers do not compare because the rules differ silently, so the rules are a value
that the metrics read and that is stored beside each number. A change of meaning raises `version`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One set of rules; there is no rule that the code follows and this class does not name."""

    name: Literal["strict", "legacy"]
    version: int = 1
    unit: Literal["study", "volume"]
    """What counts once; reconstructions of a study are averaged when it is the study."""
    threshold: Literal["best_f1_on_validation", "roc_corner_on_test"]
    """Where the operating point of F1, accuracy and precision comes from."""
    f1: Literal["positive_class", "weighted"]
    """F1 of the positive class, or the mean over both classes weighted by their size."""
    intervals: Literal["patient_bootstrap", "none"]
    """Source of the 95 % intervals."""
    correct_match: Literal["same_study_or_identical_report", "same_index"]
    """Which gallery entries answer a retrieval query."""
    query_in_gallery: bool
    """Whether a volume may find itself in volume-to-volume retrieval."""
    abnormal_only: bool
    """Whether volume-to-volume retrieval keeps only volumes with at least one finding."""

    def as_dict(self) -> dict[str, Any]:
        """The rules as they stand in a result file."""
        return asdict(self)


STRICT = Protocol(
    name="strict",
    unit="study",
    threshold="best_f1_on_validation",
    f1="positive_class",
    intervals="patient_bootstrap",
    correct_match="same_study_or_identical_report",
    query_in_gallery=False,
    abnormal_only=False,
)
LEGACY = Protocol(
    name="legacy",
    unit="volume",
    threshold="roc_corner_on_test",
    f1="weighted",
    intervals="none",
    correct_match="same_index",
    query_in_gallery=True,
    abnormal_only=True,
)
PROTOCOLS = (STRICT, LEGACY)
