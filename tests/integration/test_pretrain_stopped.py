"""`mg3d pretrain` killed, signalled or out of disk: the same command goes on, to the same bits."""

import dataclasses
import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from run_outcome import assert_same_bits, read, stop_before
from small_run import MODEL

from mg3d import files
from mg3d.errors import StorageError
from mg3d.training import loop as training_loop
from mg3d.training.corpus import CorpusConfig
from mg3d.training.loop import LoopConfig
from mg3d.training.optim import OptimizerConfig
from mg3d.training.pretrain import PretrainConfig, _plain, pretrain
from mg3d.training.stop import EXIT_REQUEUE

LONG = LoopConfig(steps=40, batch_size=4, checkpoint_every=3, log_every=1, shortcut_every=0)


def start_process(config: PretrainConfig, folder: Path) -> subprocess.Popen:
    """The same settings through the command line, in a process group that can be killed."""
    section = _plain(config)
    section = {k: v for k, v in section.items() if k not in ("store", "run")}
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"pretrain": section}))
    words = ["pretrain", str(recipe), str(config.store), str(config.run)]
    return subprocess.Popen(
        [sys.executable, "-m", "mg3d", *words],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for_step(run: Path, step: int, process: subprocess.Popen, limit_s: float = 240) -> None:
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        log = run / "metrics.jsonl"
        if log.is_file() and log.read_bytes().count(b"\n") >= step:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    raise AssertionError(f"step {step} was not reached within {limit_s} s")


def test_kill_9_in_the_middle_then_again_gives_the_same_bits(settings, tmp_path: Path) -> None:
    whole = settings(loop=LONG, run=tmp_path / "whole")
    killed = settings(loop=LONG, run=tmp_path / "killed")
    assert pretrain(whole) == 0
    process = start_process(killed, tmp_path)
    wait_for_step(killed.run, 8, process)
    process.kill()
    process.communicate()
    assert not (killed.run / "release").exists()
    again = start_process(killed, tmp_path)
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert_same_bits(whole.run, killed.run)
    steps = [json.loads(x)["step"] for x in (killed.run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, LONG.steps + 1))


def test_what_a_killed_write_left_behind_is_removed(settings) -> None:
    config = settings()
    pretrain(config)
    folders = (".", "tokenizer", "release", "release/tokenizer", "checkpoints/step-00000004")
    left = [config.run / folder / ".model.safetensors.ab12cd34" for folder in folders]
    for file in left:
        file.write_bytes(b"half")
    pretrain(config)
    assert [file for file in left if file.exists()] == []


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_asks_to_be_requeued(
    settings, tmp_path: Path, kind: signal.Signals
) -> None:
    config, whole = settings(loop=LONG), settings(loop=LONG, run=tmp_path / "whole")
    process = start_process(config, tmp_path)
    wait_for_step(config.run, 2, process)
    os.killpg(process.pid, kind)  # schedulers send it to all processes of a job
    _, errors = process.communicate()
    assert process.returncode == EXIT_REQUEUE, errors
    assert "the same command goes on" in errors
    assert "Warning" not in errors
    assert 2 <= read(config.run)[-1]["step"] < LONG.steps
    assert pretrain(config) == 0
    assert pretrain(whole) == 0
    assert_same_bits(config.run, whole.run)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_before_the_first_step_asks_to_be_requeued(
    settings, tmp_path: Path, kind: signal.Signals
) -> None:
    config = settings(corpus=CorpusConfig(steps=100_000, batch_size=8, section_reports=4))
    process = start_process(config, tmp_path)
    tokenizer = config.run / "tokenizer" / "tokenizer.json"
    while not tokenizer.is_file():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    os.killpg(process.pid, kind)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == EXIT_REQUEUE, errors
    assert "the same command goes on" in errors


def test_a_full_disk_at_any_write_loses_nothing(settings, tmp_path: Path, monkeypatch) -> None:
    short = LoopConfig(steps=2, batch_size=4, checkpoint_every=1, log_every=1, shortcut_every=0)
    whole = settings(loop=short, run=tmp_path / "whole")
    real, count, failing = files._write_all, 0, 0

    def full_disk(stream, payload) -> None:
        nonlocal count
        count += 1
        if count == failing:
            stream.write(payload[: len(payload) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(stream, payload)

    monkeypatch.setattr(files, "_write_all", full_disk)
    pretrain(whole)
    total = count
    assert total > 20
    for failing in range(1, total + 1):
        count = 0
        config = settings(loop=short, run=tmp_path / f"full-{failing}")
        with pytest.raises(StorageError, match=r"(?i)no space left"):
            pretrain(config)
        if failing % 4 == 0:  # going on is the same path after every write; a quarter shows it
            assert pretrain(config) == 0
            assert_same_bits(whole.run, config.run)


def test_another_number_of_readers_goes_on_in_the_middle_of_an_epoch(
    settings, tmp_path: Path, monkeypatch
) -> None:
    loop = LoopConfig(steps=8, batch_size=4, checkpoint_every=5, log_every=1, shortcut_every=0)
    alone = settings(run=tmp_path / "alone", loop=loop, num_workers=0)
    helped = settings(run=tmp_path / "helped", loop=loop, num_workers=2)
    pretrain(alone)
    with monkeypatch.context() as patch:
        stop_before(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            pretrain(dataclasses.replace(helped, num_workers=0))
    assert read(helped.run)[-1]["epoch"] == 1  # of 3 steps each: 5 lies within the second
    assert pretrain(helped) == 0
    assert_same_bits(alone.run, helped.run)


@pytest.mark.parametrize("frozen", [True, False])
def test_norms_of_a_resumed_run_are_those_of_an_undisturbed_one(
    settings, tmp_path: Path, monkeypatch, frozen: bool
) -> None:
    """Nothing of the corpus training, which only the first call does, is counted in a step."""
    changes = {
        "model": dataclasses.replace(MODEL, text=dataclasses.replace(MODEL.text, frozen=frozen)),
        "optimizer": OptimizerConfig(lr=1e-3, warmup_steps=1, clip_norm=0.0),
    }
    whole = settings(run=tmp_path / "whole", **changes)
    stopped = settings(run=tmp_path / "stopped", **changes)
    assert pretrain(whole) == 0
    with monkeypatch.context() as patch:
        stop_before(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            pretrain(stopped)
    assert pretrain(stopped) == 0
    expected, found = (
        [row["metrics"]["grad_norm"] for row in read(run)] for run in (whole.run, stopped.run)
    )
    assert len(expected) == 4
    assert found == expected  # to the bit


def test_a_tokenizer_of_a_run_that_never_got_far_is_not_kept(
    settings, tmp_path: Path, monkeypatch
) -> None:
    def killed(*_arguments) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mg3d.training.pretrain.fit", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(settings(vocabulary_size=200))
    config, fresh = settings(), settings(run=tmp_path / "fresh")
    pretrain(config)
    pretrain(fresh)
    assert_same_bits(config.run, fresh.run)


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_lower_precision_trains_and_resumes(
    settings, precision: str, tmp_path: Path, monkeypatch
) -> None:
    whole = settings(run=tmp_path / "whole", precision=precision)
    assert pretrain(whole) == 0
    config = settings(run=tmp_path / "stopped", precision=precision)
    original = training_loop.training_step

    def killed(run, batch, context, clip_norm, stop):
        if context.step == 3:  # a checkpoint was saved after step 2
            raise KeyboardInterrupt
        return original(run, batch, context, clip_norm, stop)

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(config)
    state = json.loads((config.run / "checkpoints/step-00000002/state.json").read_text())
    # The scale starts at 65536 and has been halved once or twice by then.
    assert bool(state["scaler"]) == (precision == "16-mixed")
    assert pretrain(config) == 0
    scales = [
        json.loads((run / "checkpoints/step-00000004/state.json").read_text())["scaler"]
        for run in (whole.run, config.run)
    ]
    assert scales[0] == scales[1]  # with the number of steps since it was last halved
    # Bits are promised for float32 only.
    for run in (whole.run, config.run):
        rows = read(run)
        assert [row["step"] for row in rows] == [1, 2, 3, 4]
        assert all(math.isfinite(row["loss"]["total"]) for row in rows)
