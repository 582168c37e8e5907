"""Outliers: far from a collection that is alike, quiet in one that is small or spread."""

from dataclasses import replace

import pytest
from made_members import GEOMETRY, HU, made

from mg3d.audit.outliers import FAR, FEWEST, MEASURES, measures_of, rank


def test_the_odd_one_comes_first_with_its_reason() -> None:
    odd = made(99, geometry=replace(GEOMETRY, extent_mm=(350.0, 280.0, 1100.0)))
    members = [*(made(number) for number in range(FEWEST)), odd]
    first, second = rank(members)[:2]
    assert first.member is odd
    assert first.measure == "height_mm"
    assert first.says == "height 1100 mm, the median is 300 mm"
    assert first.distance == pytest.approx(800 / 25)  # all others are alike: the least spread
    assert first.distance > FAR > second.distance


def test_a_wide_spread_makes_nobody_odd() -> None:
    members = [made(n, hu=replace(HU, mean=-700.0 + 20 * n)) for n in range(30)]
    # Evenly spread: the farthest lies 2 median deviations away, 1.35 robust standard deviations.
    assert rank(members)[0].distance == pytest.approx(290 / (1.4826 * 150), rel=1e-3)


def test_few_volumes_have_no_odd_one() -> None:
    odd = made(99, hu=replace(HU, mean=900.0))
    assert rank([*(made(number) for number in range(FEWEST - 2)), odd]) == []


def test_unknown_measures_and_broken_scans_do_not_count() -> None:
    members = [made(number) for number in range(FEWEST)]
    members[0] = made(0, hu=replace(HU, air_peak=None), lung_litres=None)
    members.append(made(77, faults=(("hu_mask", ""),)))
    assert {each.member.row.volume_id for each in rank(members)} == {
        f"v{number}" for number in range(FEWEST)
    }
    assert all(each.distance == 0 for each in rank(members))


def test_every_measure_has_a_value() -> None:
    assert set(measures_of(made(1))) == set(MEASURES)
    assert all(isinstance(value, int | float) for value in measures_of(made(1)).values())
    assert measures_of(made(1, hu=None)) == {}
