"""Steps on noise are whole steps, and two of them tell what more volumes take."""

from dataclasses import replace

import pytest

from mg3d.training.calibration import calibrate
from mg3d.training.planner import PlanConfig
from mg3d.training.trial import Trial, build_task
from mg3d.training.work import Work


def flops(work: Work) -> float:
    return sum(load.flops for load in work.loads.values())


def test_two_sizes_tell_the_work_of_a_third(settings: PlanConfig) -> None:
    trial = Trial(settings, report_tokens=20)
    step = trial.work
    passed, update = trial.trace(5)
    assert flops(step.of(5)) == pytest.approx(flops(passed.work), rel=0.01)  # measured 0.0007
    assert step.of(5).held_bytes == pytest.approx(passed.held_bytes, rel=0.05)  # measured 0.009
    assert step.update.loads.keys() == update.work.loads.keys()
    assert all(parameter.grad is None for parameter in trial.task.parameters())


def test_a_step_moves_every_weight_that_learns(settings: PlanConfig) -> None:
    trial = Trial(settings, report_tokens=20)
    before = {name: p.detach().clone() for name, p in trial.task.named_parameters()}
    assert trial.time(3, repeats=2) > 0
    for name, parameter in trial.task.named_parameters():
        assert parameter.requires_grad != parameter.equal(before[name]), name


def test_a_calibration_foretells_its_own_step(settings: PlanConfig) -> None:
    trial = Trial(settings, report_tokens=20)
    measured = calibrate(trial, settings.precision, most_rows=4)
    step = trial.work
    assert measured.unknown_share(step.of(4)) < 0.05
    assert measured.held_factor >= 1
    assert measured.process_gb > 0.1
    foretold = measured.seconds(step.of(4)) + measured.seconds(step.update)
    assert 0.2 < foretold / trial.time(4, repeats=2) < 5  # other programs may run; 0.9 to 1.2 alone


def test_an_encoder_out_of_reach_is_planned_as_a_bert(settings: PlanConfig) -> None:
    away = replace(
        settings.model.text, name_or_path="no-such-folder/encoder", clause_scope="report",
        token_skip=False,
    )  # fmt: skip
    task = build_task(replace(settings, model=replace(settings.model, text=away)))
    assert task.model.text_encoder.hidden_size == 768
