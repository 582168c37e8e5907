"""Splits by patient: fixed by id and seed, in the shares asked for."""

import pytest

from mg3d.data.splits import SplitConfig, split_of
from mg3d.errors import ConfigError

PATIENTS = [f"patient-{number}" for number in range(4000)]


def test_shares_are_met_on_average() -> None:
    settings = SplitConfig(val_fraction=0.2, test_fraction=0.1)
    sides = [split_of(patient, settings) for patient in PATIENTS]
    # Binomial standard deviations: 0.0063 and 0.0047; four of them are allowed.
    assert sides.count("val") / len(sides) == pytest.approx(0.2, abs=0.025)
    assert sides.count("test") / len(sides) == pytest.approx(0.1, abs=0.019)


def test_a_patient_keeps_its_side_on_every_machine() -> None:
    # Written down once: a change would silently leak test patients into training.
    expected = {"patient-0": "train", "patient-3": "test", "patient-8": "val"}
    found = {patient: split_of(patient, SplitConfig()) for patient in expected}
    assert found == expected


def test_seeds_divide_differently() -> None:
    sides = [[split_of(p, SplitConfig(seed=seed)) for p in PATIENTS] for seed in (0, 1)]
    same = sum(a == b for a, b in zip(*sides, strict=True)) / len(PATIENTS)
    assert same == pytest.approx(0.8**2 + 2 * 0.1**2, abs=0.04)


def test_a_larger_validation_share_moves_nobody_into_or_out_of_the_test() -> None:
    small, large = SplitConfig(val_fraction=0.1), SplitConfig(val_fraction=0.3)
    for patient in PATIENTS:
        assert (split_of(patient, small) == "test") == (split_of(patient, large) == "test")


def test_everything_may_go_to_one_side() -> None:
    for test_fraction, side in ((0, "train"), (1, "test")):
        settings = SplitConfig(val_fraction=0, test_fraction=test_fraction)
        assert {split_of(patient, settings) for patient in PATIENTS} == {side}


@pytest.mark.parametrize("shares", [(-0.1, 0.1), (0.6, 0.6)])
def test_impossible_shares_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="together at most 1"):
        SplitConfig(val_fraction=shares[0], test_fraction=shares[1])
