"""Splits by patient: no patient ever stands on two sides.

A patient's side follows from a hash of the patient id and the seed alone, so a data set that
grows never moves anyone. The price: shares are met on average, not exactly.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

from mg3d.errors import ConfigError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How patients are divided when the manifest has no column ``split``."""

    val_fraction: float = 0.1
    """Expected share of patients for validation, 0 to 1."""
    test_fraction: float = 0.1
    """Expected share of patients for the test, 0 to 1; the rest is for training."""
    seed: int = 0
    """Another seed gives another division."""

    def __post_init__(self) -> None:
        shares = (float(self.val_fraction), float(self.test_fraction))
        object.__setattr__(self, "val_fraction", shares[0])
        object.__setattr__(self, "test_fraction", shares[1])
        if min(shares) < 0 or sum(shares) > 1:
            raise ConfigError(
                f"val_fraction {shares[0]:g} and test_fraction {shares[1]:g}: each at least 0, "
                "together at most 1"
            )


def split_of(patient_id: str, settings: SplitConfig) -> Split:
    """The side of one patient.

    Args:
        patient_id: As in the manifest.
        settings: Shares and seed.

    Returns:
        "train", "val" or "test".
    """
    text = f"split\x1f{settings.seed}\x1f{patient_id}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "little") / 2**64
    if position < settings.test_fraction:
        return "test"
    if position < settings.test_fraction + settings.val_fraction:
        return "val"
    return "train"
