"""What a phantom is asked to be, and what its difficulty means.

`Difficulty` holds every range that differs between the levels, so that drawing and painting code
never asks for a level by name.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mg3d.errors import ConfigError

Split = Literal["train", "val", "test"]
Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """The ranges of one level. Lengths in mm, densities in HU."""

    grid: tuple[int, int, int]
    """Voxels along patient x, y, z when the settings name none."""
    jitter: float
    """Share of the natural spread of anatomy between patients, 0 (all alike) to 1."""
    offset_mm: float
    """Largest shift of the patient from the centre of the field of view."""
    noise_hu: Range
    enhancement_hu: Range
    """What contrast agent adds to blood."""
    vessels_per_lung: int
    phrasings: int
    """Wordings in use for each statement (the first ones of its list)."""
    lesion_scale: Range
    """Where in each lesion's span of sizes the draw may fall: 0 smallest, 1 largest."""
    contrast: Range
    """Strength of density edits: 1 is the full difference to healthy tissue."""


DIFFICULTIES: dict[str, Difficulty] = {
    "easy": Difficulty(
        grid=(96, 80, 72),
        jitter=0.3,
        offset_mm=4,
        noise_hu=(6, 16),
        enhancement_hu=(90, 130),
        vessels_per_lung=28,
        phrasings=3,
        lesion_scale=(0.55, 1.0),
        contrast=(0.9, 1.0),
    ),
    "standard": Difficulty(
        grid=(160, 136, 120),
        jitter=1.0,
        offset_mm=12,
        noise_hu=(10, 40),
        enhancement_hu=(0, 150),
        vessels_per_lung=90,
        phrasings=6,
        lesion_scale=(0.0, 0.9),
        contrast=(0.55, 1.0),
    ),
}


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """Draw a data set of synthetic chest CT volumes with findings, reports, labels and masks."""

    out: Path
    """Folder to write; run again with the same settings to continue an interrupted run."""
    num_train: int = 1000
    """Patients in the training split, >= 0."""
    num_val: int = 100
    """Patients in the validation split, >= 0."""
    num_test: int = 200
    """Patients in the test split, >= 0."""
    seed: int = 0
    """Everything is drawn from this number; another seed gives other patients."""
    difficulty: Literal["easy", "standard"] = "easy"
    """easy: large, dense lesions in similar bodies; standard: small and faint ones as well."""
    grid: tuple[int, int, int] | None = None
    """Voxels along patient x (left-right), y (back-front) and z (feet-head), each >= 32; a study
    differs from it by up to 4 %. Default: 96 80 72 for easy, 160 136 120 for standard."""
    follow_up_share: float = 0.1
    """Share of patients with a second study: same body, own findings. In [0, 1]."""
    num_workers: int = -1
    """Processes that render; -1 uses every core. Does not change a byte of the result."""

    def __post_init__(self) -> None:
        for name in ("num_train", "num_val", "num_test"):
            if getattr(self, name) < 0:
                raise ConfigError(f"phantom.{name}: {getattr(self, name)}; use 0 or more patients.")
        if self.num_train + self.num_val + self.num_test == 0:
            raise ConfigError(
                "phantom: every split has 0 patients; set num_train, num_val or num_test."
            )
        if self.difficulty not in DIFFICULTIES:
            allowed = ", ".join(DIFFICULTIES)
            raise ConfigError(f"phantom.difficulty: {self.difficulty!r}; choose one of {allowed}.")
        if self.grid is not None and min(self.grid) < 32:
            raise ConfigError(f"phantom.grid: {self.grid}; each axis needs at least 32 voxels.")
        if not 0 <= self.follow_up_share <= 1:
            raise ConfigError(f"phantom.follow_up_share: {self.follow_up_share}; use 0 to 1.")
        if self.num_workers == 0:
            raise ConfigError("phantom.num_workers: 0; use 1 or more, or -1 for every core.")

    @property
    def level(self) -> Difficulty:
        """The ranges of the chosen difficulty."""
        return DIFFICULTIES[self.difficulty]

    def num_patients(self, split: Split) -> int:
        """How many patients ``split`` has."""
        return {"train": self.num_train, "val": self.num_val, "test": self.num_test}[split]
