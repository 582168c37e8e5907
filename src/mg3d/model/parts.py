"""Which objective needs which part of the model: the one place that decides what is built.

A parameter that no objective reads would never get a gradient, and DDP would have to search for
it in every step; so a part exists exactly if a chosen objective reads it.
"""

from dataclasses import dataclass
from typing import Literal

from mg3d.errors import ConfigError

PLAIN_SPACE = ("plain_alignment", "clip", "siglip")
"""Objectives that train the image-only and text-only embeddings; a model has one of them."""

PARTS = (
    "masked_report",
    "masked_volume",
    *PLAIN_SPACE,
    "global_alignment",
    "aggregation_contrast",
    "sentence_similarity",
)


@dataclass(frozen=True)
class Wiring:
    """What follows from a choice of objectives."""

    parts: frozenset[str]
    fusion: Literal["gate", "cross_attention"]

    @classmethod
    def of(cls, parts: tuple[str, ...], fusion: Literal["gate", "cross_attention"]) -> "Wiring":
        """Check the names.

        Raises:
            ConfigError: If a name is unknown, none is given, or two train the plain space.
        """
        unknown = sorted(set(parts) - set(PARTS))
        if unknown or not parts:
            raise ConfigError(
                f"model.parts is {list(parts)}; it names at least one of {', '.join(PARTS)}."
            )
        plain = [name for name in PLAIN_SPACE if name in parts]
        if len(plain) > 1:
            raise ConfigError(
                f"model.parts holds {' and '.join(plain)}, but there is one plain space with one "
                "temperature; keep one of them."
            )
        return cls(frozenset(parts), fusion)

    def __contains__(self, part: str) -> bool:
        return part in self.parts

    @property
    def plain_space(self) -> bool:
        """Image-only and text-only embeddings."""
        return not self.parts.isdisjoint(PLAIN_SPACE)

    @property
    def text(self) -> bool:
        """Anything that reads reports; masked_volume alone is the image-only baseline."""
        return self.parts != {"masked_volume"}

    @property
    def aggregation(self) -> bool:
        """The visual feature of each clause."""
        return not self.parts.isdisjoint({"aggregation_contrast", "sentence_similarity"})

    @property
    def fused_volume_vector(self) -> bool:
        """c', also the anchor of the gate's aggregation contrast."""
        gated = "aggregation_contrast" in self and self.fusion == "gate"
        return gated or "global_alignment" in self

    @property
    def image_fusion(self) -> bool:
        """The stack that updates image tokens by clauses."""
        return self.fused_volume_vector or ("masked_volume" in self and self.text)

    @property
    def volume_vector(self) -> bool:
        """c, also what the gate's aggregation starts from."""
        gated = self.aggregation and self.fusion == "gate"
        return self.plain_space or gated or "global_alignment" in self

    @property
    def report_vector(self) -> bool:
        """a, also the anchor of the attention's aggregation contrast."""
        anchored = "aggregation_contrast" in self and self.fusion == "cross_attention"
        return self.plain_space or anchored or "global_alignment" in self
