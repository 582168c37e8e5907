import pytest
from objective_cases import MIXED, apply, build_case
from objective_references import info_nce, top1

from mg3d.errors import ConfigError
from mg3d.objectives.aggregation_contrast import AggregationContrast, AggregationContrastConfig


def test_the_temperature_divides_the_cosines():
    case = build_case(MIXED)
    settings = AggregationContrastConfig(temperature=0.5)
    measured = apply("aggregation_contrast", case, settings).loss.item()
    views = case.views
    expected = info_nce(case, views.aggregated, views.aggregation_anchor, 1 / 0.5).item()
    assert measured == pytest.approx(expected, rel=1e-13)
    assert measured != pytest.approx(apply("aggregation_contrast", case).loss.item(), rel=0.1)


def test_top1_is_of_the_aggregate_and_its_anchor():
    case = build_case(MIXED, seed=1)
    views = case.views
    expected = top1(case, views.aggregated.detach(), views.aggregation_anchor.detach())
    assert apply("aggregation_contrast", case).metrics["top1"].item() == pytest.approx(expected)


def test_a_negative_temperature_is_refused_at_once():
    with pytest.raises(ConfigError, match="aggregation_contrast"):
        AggregationContrast(AggregationContrastConfig(temperature=-1.0))
