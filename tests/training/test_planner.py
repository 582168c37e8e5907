"""The planner's predictions add up, and its advice is the least change that fits."""

from dataclasses import replace
from pathlib import Path

import pytest

from mg3d import cli
from mg3d.errors import ConfigError
from mg3d.training.calibration import Calibration
from mg3d.training.planner import PlanConfig, advise, predict
from mg3d.training.trial import StepWork
from mg3d.training.work import Load, Work

MB, GB = 1e6, 1e9
ONE = Work({"aten.mm float32": Load(10, 2e9, 1e8)}, 100 * MB)
STEP = StepWork(
    one=ONE,
    two=Work({"aten.mm float32": Load(10, 3e9, 1e8)}, 200 * MB),
    update=Work({"aten.add float32": Load(1, 0, 1e7)}, 5 * MB),
    weights=3_000_000,
    trained=2_000_000,
)
CALIBRATION = Calibration(
    device="cpu", precision="32-true", threads=1, step_factor=1.0, process_gb=0.5, held_factor=1.5,
    rates={"aten.mm float32": (1e-3, 1e-10, 1e-9), "other": (0.0, 0.0, 1e-9)},
)  # fmt: skip


VOLUME_GB = 32**3 * (4 + 2 + (2 * 2 + 1) * 2) / GB
"""As the model sees it, its HU, and on a CPU those of the batches that two readers have ready."""


def test_what_a_device_takes(settings: PlanConfig) -> None:
    loop = replace(settings.loop, batch_size=8)
    one = replace(settings, loop=loop)
    predicted = predict(one, STEP, CALIBRATION)
    images = 8 * VOLUME_GB
    state = (3 + 2 * 2) * 1e6 * 4 / GB  # weights and two moments
    assert predicted.memory_gb == pytest.approx(0.5 + state + 1.5 * 0.8 + images)
    seconds = 10 * 1e-3 + (2e9 + 7 * 1e9) * 1e-10 + 0.1 + 0.01
    assert predicted.step_seconds == pytest.approx(seconds)
    assert predicted.hours == pytest.approx(seconds * loop.steps / 3600)
    ddp = predict(replace(one, devices=4), STEP, CALIBRATION)
    fsdp = predict(replace(one, devices=4, strategy="fsdp"), STEP, CALIBRATION)
    assert ddp.memory_gb == pytest.approx(0.5 + state + 0.008 + 1.5 * 0.2 + images / 4)
    assert fsdp.memory_gb == pytest.approx(0.5 + state / 4 + 1.5 * 0.2 + images / 4)
    assert fsdp.rows == ddp.rows == 2


def test_micro_batches_take_longer_and_less(settings: PlanConfig) -> None:
    whole = replace(settings, loop=replace(settings.loop, batch_size=8))
    parts = replace(settings, loop=replace(settings.loop, batch_size=8, micro_batch_size=2))
    two = predict(parts, STEP, CALIBRATION)
    assert two.step_seconds == pytest.approx(1.25 * 4 * (0.01 + 0.3 + 0.1) + 0.01)
    less = 1.5 * 0.6 + 6 * 32**3 * 6 / GB
    assert two.memory_gb == pytest.approx(predict(whole, STEP, CALIBRATION).memory_gb - less)


def test_the_update_counts_where_it_holds_most(settings: PlanConfig) -> None:
    heavy = replace(STEP, update=replace(STEP.update, held_bytes=1 * GB))
    alone = replace(settings, loop=replace(settings.loop, batch_size=1))
    predicted = predict(alone, heavy, CALIBRATION).memory_gb
    assert predicted == pytest.approx(0.5 + 0.028 + 1.5 * 1.008 + VOLUME_GB)


def test_the_least_change_that_fits_is_named(settings: PlanConfig) -> None:
    wanted = replace(settings, loop=replace(settings.loop, batch_size=8))
    whole = predict(wanted, STEP, CALIBRATION).memory_gb
    tight = replace(wanted, memory_gb=whole - 0.2)  # a volume takes 0.15
    assert "--loop.micro_batch_size 6" in advise(tight, STEP, CALIBRATION)
    hopeless = replace(wanted, memory_gb=0.1)
    assert "even one volume" in advise(hopeless, STEP, CALIBRATION)


def test_pieces_are_advised_where_only_they_fit(settings: PlanConfig) -> None:
    loop = replace(settings.loop, batch_size=8, micro_batch_size=1)
    wanted = replace(settings, loop=loop, devices=8)
    whole, pieces = (
        predict(replace(wanted, strategy=strategy), STEP, CALIBRATION).memory_gb
        for strategy in ("ddp", "fsdp")
    )
    assert pieces < whole
    tight = replace(wanted, memory_gb=(whole + pieces) / 2)
    assert "With --strategy fsdp" in advise(tight, STEP, CALIBRATION)
    assert "even one volume" in advise(replace(tight, strategy="fsdp"), STEP, CALIBRATION)
    alone = replace(tight, devices=1, memory_gb=0.5)
    assert "With --strategy fsdp" not in advise(alone, STEP, CALIBRATION)


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
    assert found.rates["product"] != (0, 0, 0)
    assert found.process_gb > 0.1
    assert cli.main([*words, "--memory_gb", "0.1"]) == 1
    shown = " ".join(capsys.readouterr().err.split())
    assert "disk of the store" in shown
    assert "0.0655 GB" in shown  # 1000 volumes of 32^3 in 16 bits
    assert "does not fit" in shown
    assert "did not measure" not in shown
    assert "calibrated on" not in shown

    elsewhere = replace(found, device="another card", rates={"other": (1e-6, 0.0, 1e-9)})
    elsewhere.save(file)
    assert cli.main(words) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "100% of the time is in operators that the calibration did not measure" in shown
    assert "Counted on cpu, calibrated on another card" in shown
    replace(found, precision="bf16-mixed").save(file)
    assert cli.main(words) == 2
    assert "was measured with precision bf16-mixed" in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_planned_is_refused(settings: PlanConfig) -> None:
    with pytest.raises(ConfigError, match="divisor"):
        replace(settings, devices=3)
    with pytest.raises(ConfigError, match="--calibration FILE"):
        replace(settings, calibrate=True)
