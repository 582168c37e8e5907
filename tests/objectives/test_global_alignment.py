import pytest
from objective_cases import MIXED, apply, build_case
from objective_references import info_nce, top1

from mg3d.errors import ConfigError
from mg3d.objectives.global_alignment import GlobalAlignment, GlobalAlignmentConfig


def test_the_temperature_divides_the_cosines():
    case = build_case(MIXED)
    measured = apply("global_alignment", case, GlobalAlignmentConfig(temperature=0.5)).loss.item()
    views = case.views
    expected = info_nce(case, views.fused_pair, views.plain_pair, 1 / 0.5).item()
    assert measured == pytest.approx(expected, rel=1e-13)
    assert measured != pytest.approx(apply("global_alignment", case).loss.item(), rel=0.1)


def test_top1_is_of_the_fused_and_the_plain_pair():
    case = build_case(MIXED, seed=1)
    expected = top1(case, case.views.fused_pair.detach(), case.views.plain_pair.detach())
    assert apply("global_alignment", case).metrics["top1"].item() == pytest.approx(expected)


def test_a_temperature_of_zero_is_refused_at_once():
    with pytest.raises(ConfigError, match="must be above 0"):
        GlobalAlignment(GlobalAlignmentConfig(temperature=0.0))
