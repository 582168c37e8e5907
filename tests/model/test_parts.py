"""Which objectives build which parts."""

import pytest

from mg3d.errors import ConfigError
from mg3d.model.parts import PARTS, Wiring
from mg3d.objectives.registry import OBJECTIVES


def test_parts_are_the_objectives() -> None:
    assert set(PARTS) == set(OBJECTIVES)


def test_masked_volume_alone_is_image_only() -> None:
    assert not Wiring.of(("masked_volume",), "cross_attention").text
    assert Wiring.of(("masked_volume", "clip"), "cross_attention").text
    assert not Wiring.of(("masked_volume",), "cross_attention").image_fusion


def test_the_gate_starts_from_and_is_told_apart_by_volume_vectors() -> None:
    for part, anchored in (("aggregation_contrast", True), ("sentence_similarity", False)):
        gate = Wiring.of((part,), "gate")
        attention = Wiring.of((part,), "cross_attention")
        assert gate.aggregation
        assert attention.aggregation
        assert gate.volume_vector
        assert not attention.volume_vector
        assert gate.fused_volume_vector == anchored
        assert attention.report_vector == anchored
        assert not gate.report_vector


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "at least one of masked_report"),
        (("clip", "contrastive"), "contrastive.*at least one of"),
        (("plain_alignment", "siglip"), "plain_alignment and siglip.*keep one"),
    ],
)
def test_impossible_choices_say_what_to_do(parts: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Wiring.of(parts, "cross_attention")
