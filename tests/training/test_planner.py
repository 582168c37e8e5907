"""The planner counts what a step does, and its predictions add up."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mg3d import cli
from mg3d.errors import ConfigError, DataError
from mg3d.training.calibration import Calibration, Trial, fit_rates
from mg3d.training.planner import (
    PlanConfig,
    advise,
    build_task,
    draw_batch,
    forward,
    predict,
    trained,
    weights,
)
from mg3d.training.work import Work, count_work

WORK = Work(products=2e9, convolutions=1e9, moved_bytes=1e8, operators=1000, kept_bytes=1e8)
CALIBRATION = Calibration(
    device="cpu", precision="32-true", threads=1, seconds_per_product=1e-10,
    seconds_per_convolution=2e-10, seconds_per_moved_byte=1e-9, seconds_per_operator=1e-6,
    process_gb=0.5, kept_factor=1.5,
)  # fmt: skip


@pytest.fixture
def settings() -> PlanConfig:
    words = [
        "phantom-tiny", "--model.grid=[32,32,32]", "--model.image.window=[2,2,2]",
        "--model.dim=16", "--model.image.embed_dim=12", "--report_tokens=20",
    ]  # fmt: skip
    parsed: PlanConfig = cli.parse(PlanConfig, "plan", words)
    return parsed


def test_work_of_layers_whose_work_is_known() -> None:
    linear, x = nn.Linear(256, 512), torch.randn(300, 256, requires_grad=True)
    work = count_work(lambda: linear(x).sigmoid().sum(), linear)
    assert work.products == 3 * 2 * 300 * 256 * 512  # forward, and two gradients
    assert work.convolutions == 0
    assert work.kept_bytes == 4 * 300 * (256 + 512)  # x and what sigmoid gave, not the weights
    floats = work.moved_bytes / 4
    assert floats > 300 * (256 + 512) * 2 + 2 * 256 * 512  # at least, with their gradients
    assert floats < 300 * (256 + 512) * 8 + 8 * 256 * 512
    assert 4 < work.operators < 40
    convolution, image = nn.Conv3d(2, 4, 3, padding=1), torch.rand(1, 2, 8, 8, 8)
    work = count_work(lambda: convolution(image).sum(), convolution)
    assert work.convolutions == 2 * 2 * 8**3 * 27 * 2 * 4  # the image asks for no gradient
    assert work.products == 0


def test_work_grows_along_a_line(settings: PlanConfig) -> None:
    task = build_task(settings)
    batches = [draw_batch(settings, rows) for rows in (1, 2, 4)]
    one, two, four = (count_work(lambda b=b: forward(task, b), task) for b in batches)
    grown = one.grown(two, 3)
    assert grown.products == pytest.approx(four.products, rel=0.02)  # measured 0.003
    assert grown.convolutions == pytest.approx(four.convolutions, rel=1e-9)
    assert grown.kept_bytes == pytest.approx(four.kept_bytes, rel=0.02)
    assert all(parameter.grad is None for parameter in task.parameters())


def test_rates_are_found_again() -> None:
    generator = torch.Generator().manual_seed(0)
    trials = []
    for _ in range(6):
        products, convolutions, moved, operators = (
            torch.rand(4, generator=generator) + 0.1
        ).tolist()
        work = Work(
            products=products * 1e9, convolutions=convolutions * 1e8, moved_bytes=moved * 1e7,
            operators=operators * 1e4, kept_bytes=0,
        )  # fmt: skip
        trials.append(Trial(work=work, seconds=CALIBRATION.seconds(work)))
    assert fit_rates(trials) == pytest.approx((1e-10, 2e-10, 1e-9, 1e-6))


def test_what_a_device_holds(settings: PlanConfig) -> None:
    task = build_task(settings)
    loop = replace(settings.loop, batch_size=8)
    one = replace(settings, loop=loop)
    predicted = predict(one, task, (WORK, WORK.grown(WORK, 0)), CALIBRATION)
    images = 8 * 32**3 * 4 / 1e9
    state = (weights(task) + 3 * trained(task)) * 4 / 1e9
    assert predicted.memory_gb == pytest.approx(0.5 + state + 1.5 * 0.1 + images)
    assert predicted.step_seconds == pytest.approx(0.2 + 0.2 + 0.1 + 0.001)
    assert predicted.hours == pytest.approx(0.501 * loop.steps / 3600)
    ddp = predict(replace(one, devices=4), task, (WORK, WORK), CALIBRATION)
    fsdp = predict(replace(one, devices=4, strategy="fsdp"), task, (WORK, WORK), CALIBRATION)
    assert fsdp.memory_gb < ddp.memory_gb
    assert fsdp.rows == ddp.rows == 2


def test_the_least_change_that_fits_is_named(settings: PlanConfig) -> None:
    task = build_task(settings)
    rows = replace(WORK, kept_bytes=2e8)
    wanted = replace(settings, loop=replace(settings.loop, batch_size=8))
    whole = predict(wanted, task, (WORK, rows), CALIBRATION).memory_gb
    tight = replace(wanted, memory_gb=whole - 0.2)  # a volume takes 0.15
    assert "--loop.micro_batch_size 6" in advise(tight, task, (WORK, rows), CALIBRATION)
    hopeless = replace(wanted, memory_gb=0.1)
    assert "even one volume" in advise(hopeless, task, (WORK, rows), CALIBRATION)


def test_the_command_plans_with_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: PlanConfig
) -> None:
    file = tmp_path / "calibration.json"
    words = [
        "plan", "phantom-tiny", "--model.grid=[32,32,32]", "--model.image.window=[2,2,2]",
        "--model.dim=16", "--model.image.embed_dim=12", "--report_tokens=20",
        "--calibration", str(file), "--num_volumes", "1000",
    ]  # fmt: skip
    assert cli.main(words) == 1
    assert "calibration" in capsys.readouterr().err
    assert cli.main([*words, "--calibrate", "true"]) == 0
    found = Calibration.load(file)
    assert found.seconds_per_product > 0
    assert found.process_gb > 0.1
    assert cli.main([*words, "--memory_gb", "0.1"]) == 1
    shown = " ".join(capsys.readouterr().err.split())
    assert "disk of the store" in shown
    assert "0.0655 GB" in shown  # 1000 volumes of 32^3 in 16 bits
    assert "does not fit" in shown


def test_what_cannot_be_planned_is_refused(tmp_path: Path, settings: PlanConfig) -> None:
    with pytest.raises(ConfigError, match="divisor"):
        replace(settings, devices=3)
    with pytest.raises(ConfigError, match="--calibration FILE"):
        replace(settings, calibrate=True)
    (tmp_path / "c.json").write_text(json.dumps({"schema": "other"}))
    with pytest.raises(DataError, match="no calibration of this version"):
        Calibration.load(tmp_path / "c.json")


def test_an_encoder_out_of_reach_is_planned_as_a_bert(settings: PlanConfig) -> None:
    away = replace(
        settings.model.text, name_or_path="no-such-folder/encoder", clause_scope="report",
        token_skip=False,
    )  # fmt: skip
    task = build_task(replace(settings, model=replace(settings.model, text=away)))
    assert task.model.text_encoder.hidden_size == 768
