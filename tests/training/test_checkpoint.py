"""Checkpoints: complete or not there; damaged ones are passed over; foreign ones are refused."""

import errno
import json
import os
from pathlib import Path
from typing import IO

import pytest
import torch
from torch import nn

from mg3d import files
from mg3d.errors import CheckpointError, StorageError
from mg3d.training.checkpoint import (
    Progress,
    checkpoint_folder,
    has_checkpoint,
    load_newest,
    save_checkpoint,
)


def trained(steps: int, seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    advance(model, optimizer, steps)
    return model, optimizer


def advance(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        (model(torch.full((2, 3), 1.0 + step)) ** 2).sum().backward()
        optimizer.step()


def save(
    run: Path, steps: int, fingerprint: str = "f", keep: int = 2,
    mean_loss: float | None = 1.0,
    *, keep_best: bool = False,
) -> Path:  # fmt: skip
    model, optimizer = trained(steps)
    progress = Progress(steps, mean_loss=mean_loss)
    save_checkpoint(run, model, optimizer, progress, fingerprint, keep=keep, keep_best=keep_best)
    return checkpoint_folder(run, steps)


def names(run: Path) -> list[str]:
    return sorted(folder.name for folder in (run / "checkpoints").iterdir())


def test_going_on_from_a_checkpoint_gives_the_same_bits(tmp_path: Path) -> None:
    save(tmp_path, 3)
    model, optimizer = trained(0, seed=1)
    assert load_newest(tmp_path, model, optimizer, "f") == Progress(3, mean_loss=1.0)
    whole, whole_optimizer = trained(3)
    advance(model, optimizer, 2)
    advance(whole, whole_optimizer, 2)
    for got, expected in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(got, expected)


def test_no_checkpoint_means_step_0(tmp_path: Path) -> None:
    assert load_newest(tmp_path, *trained(0), "f") == Progress(0)
    assert not has_checkpoint(tmp_path, "f")
    save(tmp_path, 1)
    assert has_checkpoint(tmp_path, "f")


def test_only_the_newest_stay(tmp_path: Path) -> None:
    for steps in (1, 2, 3):
        save(tmp_path, steps)
    assert names(tmp_path) == ["step-00000002", "step-00000003"]


def test_what_was_just_saved_is_never_deleted(tmp_path: Path) -> None:
    save(tmp_path, 100)
    broken = save(tmp_path, 200, keep=2)
    (broken / "state.json").unlink()
    save(tmp_path, 150, keep=1)  # the run went on from 100 and was stopped at 150
    assert names(tmp_path) == ["step-00000150"]
    assert load_newest(tmp_path, *trained(0), "f").step == 150


def test_the_best_stays_beside_the_newest(tmp_path: Path) -> None:
    for steps, loss in enumerate((3.0, 1.5, 2.0, 4.0, 5.0), start=1):
        save(tmp_path, steps, keep=1, mean_loss=loss, keep_best=True)
    assert names(tmp_path) == ["step-00000002", "step-00000005"]
    save(tmp_path, 6, keep=2, mean_loss=1.0, keep_best=True)
    save(tmp_path, 7, keep=2, mean_loss=9.0, keep_best=True)  # the best is one of the newest
    assert names(tmp_path) == ["step-00000006", "step-00000007"]
    assert load_newest(tmp_path, *trained(0), "f").step == 7


def test_what_a_signal_saved_is_never_the_best_and_goes_with_the_next(tmp_path: Path) -> None:
    for steps, loss in ((2, 2.0), (4, 3.0), (5, None), (6, 4.0), (7, None)):
        save(tmp_path, steps, keep=2, mean_loss=loss, keep_best=True)
    due = ["step-00000002", "step-00000004", "step-00000006"]  # the best and the newest two
    assert names(tmp_path) == [*due, "step-00000007"]
    save(tmp_path, 8, keep=1, mean_loss=5.0, keep_best=True)
    assert names(tmp_path) == ["step-00000002", "step-00000008"]


def test_what_another_recipe_wrote_is_passed_over_by_name_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1)
    foreign = save(tmp_path, 5, fingerprint="other")  # copied into the run by hand
    save(tmp_path, 1)  # its first save deletes nothing of the other's
    assert load_newest(tmp_path, *trained(0), "f").step == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"{foreign.name}: made by another model, store or recipe" in said
    save(tmp_path, 2, keep=1)
    assert names(tmp_path) == ["step-00000002", foreign.name]


def test_another_number_of_threads_is_said(tmp_path: Path, capsys, monkeypatch) -> None:
    save(tmp_path, 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    load_newest(tmp_path, *trained(0), "f")
    said = " ".join(capsys.readouterr().err.split())
    assert "CPU threads 99" in said
    assert "last bits" in said


def test_another_size_of_micro_batches_is_said(tmp_path: Path, capsys) -> None:
    save(tmp_path, 1)
    load_newest(tmp_path, *trained(0), "f")
    assert "last bits" not in " ".join(capsys.readouterr().err.split())
    load_newest(tmp_path, *trained(0), "f", micro_batch_size=2)
    said = " ".join(capsys.readouterr().err.split())
    expected = "made with loop.micro_batch_size 0, this is loop.micro_batch_size 2: sums round"
    assert expected in said


def rewrite(file: Path, **changes: object) -> None:
    """Replace entries of a `state.json`; None takes one out."""
    state = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in state.items() if v is not None}))


ENTRIES = ("schema", "step", "scaler", "mean_loss", "loss_sum", "loss_count", "arithmetic",
           "fingerprint", "sha256")  # fmt: skip


@pytest.mark.parametrize(
    "damage", ["truncate", "no state", "bad json", "no text", "a list", "no hashes",
               *(f"without {name}" for name in ENTRIES)],
)  # fmt: skip
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    if damage == "truncate":
        weights = newest / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-5])
    elif damage == "no state":
        (newest / "state.json").unlink()
    elif damage.startswith("without "):
        rewrite(newest / "state.json", **{damage.removeprefix("without "): None})
    elif damage == "no hashes":
        rewrite(newest / "state.json", sha256={})
    else:
        content = {"bad json": b"{", "no text": b"\xff\xfe{}", "a list": b"[]"}[damage]
        (newest / "state.json").write_bytes(content)
    assert load_newest(tmp_path, *trained(0), "f") == Progress(1, mean_loss=1.0)
    assert newest.name in capsys.readouterr().err
    save(tmp_path, 3)  # stumbles over none of it, and deletes what has no counters
    expected = newest.name if damage == "truncate" else "step-00000001"
    assert names(tmp_path) == [expected, "step-00000003"]


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 2)
    with pytest.raises(CheckpointError, match="another model, store or recipe"):
        load_newest(tmp_path, *trained(0), "other")
    with pytest.raises(CheckpointError, match="another model, store or recipe"):
        has_checkpoint(tmp_path, "other")


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save(tmp_path, 2)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_newest(tmp_path, model, torch.optim.AdamW(model.parameters()), "f")


def test_an_interrupted_overwrite_is_not_a_checkpoint(tmp_path: Path, monkeypatch) -> None:
    save(tmp_path, 1)
    save(tmp_path, 5)
    written, original = [], files._write_all

    def full_disk(stream: IO[bytes], payload: bytes) -> None:
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(len(payload))
        original(stream, payload)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_write_all", full_disk)
        with pytest.raises(StorageError):
            save(tmp_path, 5)
    assert written  # its weights are those of the new save
    assert load_newest(tmp_path, *trained(0), "f").step == 1
