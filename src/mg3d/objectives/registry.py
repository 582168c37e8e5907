"""Which objectives exist, how they are configured, and which of them a run uses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mg3d.errors import ConfigError
from mg3d.objectives.aggregation_contrast import AggregationContrast, AggregationContrastConfig
from mg3d.objectives.base import Objective
from mg3d.objectives.clip import Clip, ClipConfig
from mg3d.objectives.global_alignment import GlobalAlignment, GlobalAlignmentConfig
from mg3d.objectives.masked_report import MaskedReport, MaskedReportConfig
from mg3d.objectives.masked_volume import MaskedVolume, MaskedVolumeConfig
from mg3d.objectives.plain_alignment import PlainAlignment, PlainAlignmentConfig
from mg3d.objectives.sentence_similarity import SentenceSimilarity, SentenceSimilarityConfig
from mg3d.objectives.siglip import Siglip, SiglipConfig

OBJECTIVES: Mapping[str, Callable[[Any], Objective]] = {
    "masked_report": MaskedReport,
    "masked_volume": MaskedVolume,
    "plain_alignment": PlainAlignment,
    "global_alignment": GlobalAlignment,
    "aggregation_contrast": AggregationContrast,
    "sentence_similarity": SentenceSimilarity,
    "clip": Clip,
    "siglip": Siglip,
}
"""Name -> class, called with the field of `ObjectivesConfig` that has the same name."""

_PLAIN_SPACE = ("plain_alignment", "clip", "siglip")


@dataclass(frozen=True, kw_only=True)
class ObjectivesConfig:
    """The terms of the training loss; a weight of 0 switches one off. Defaults: the full method."""

    masked_report: MaskedReportConfig = field(default_factory=MaskedReportConfig)
    """Hidden words of the report, read back with the volume's help."""
    masked_volume: MaskedVolumeConfig = field(default_factory=MaskedVolumeConfig)
    """Hidden blocks of the volume, filled in with the report's help."""
    plain_alignment: PlainAlignmentConfig = field(default_factory=PlainAlignmentConfig)
    """Report <-> volume contrast of each modality alone: the zero-shot and retrieval space."""
    global_alignment: GlobalAlignmentConfig = field(default_factory=GlobalAlignmentConfig)
    """Contrast of the fused with the plain pair."""
    aggregation_contrast: AggregationContrastConfig = field(
        default_factory=AggregationContrastConfig
    )
    """Contrast of what the clauses find in the volume with the individual."""
    sentence_similarity: SentenceSimilarityConfig = field(default_factory=SentenceSimilarityConfig)
    """Clauses of two patients look as alike as they read."""
    clip: ClipConfig = field(default_factory=ClipConfig)
    """Baseline, instead of plain_alignment."""
    siglip: SiglipConfig = field(default_factory=SiglipConfig)
    """Baseline, instead of plain_alignment."""


@dataclass(frozen=True, kw_only=True)
class WeightedObjective:
    """One term of the total loss."""

    objective: Objective
    weight: float
    """Factor on the objective's loss."""


def build_objectives(settings: ObjectivesConfig) -> tuple[WeightedObjective, ...]:
    """The objectives with a weight above 0, in the order of `OBJECTIVES`.

    Raises:
        ConfigError: If a weight is negative, none is above 0, or two objectives want to train
            the plain space with the one temperature it has.
    """
    weights = {name: float(getattr(settings, name).weight) for name in OBJECTIVES}
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"objectives.{name}.weight is {weight}; give 0 (off) or more.")
    used = [name for name, weight in weights.items() if weight > 0]
    if not used:
        raise ConfigError(
            "every objective has weight 0, so there is nothing to learn; give one of "
            f"{', '.join(OBJECTIVES)} a weight above 0."
        )
    rivals = [name for name in _PLAIN_SPACE if name in used]
    if len(rivals) > 1:
        raise ConfigError(
            f"{' and '.join(rivals)} train the same embedding space with the same temperature; "
            "set the weight of all but one to 0."
        )
    return tuple(
        WeightedObjective(objective=OBJECTIVES[name](getattr(settings, name)), weight=weights[name])
        for name in used
    )
