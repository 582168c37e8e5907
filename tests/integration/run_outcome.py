"""What a run left behind, and how a test ends one early."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mg3d.training import loop as training_loop


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Of the released model."""
    return load_file(run / "release" / "model.safetensors")


def assert_same_bits(left: Path, right: Path) -> None:
    """Fails with the names of the released weights that differ."""
    first, second = weights(left), weights(right)
    assert first.keys() == second.keys(), first.keys() ^ second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert different == [], different


def read(run: Path) -> list[dict]:
    """Rows of the log of steps."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def stop_before(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the next run be killed before it begins this step, counted from 0."""
    original = training_loop.training_step

    def killed(run, batch, context, clip_norm, stop):
        if context.step == step:
            raise KeyboardInterrupt
        return original(run, batch, context, clip_norm, stop)

    monkeypatch.setattr(training_loop, "training_step", killed)
