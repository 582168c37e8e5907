"""Saving and resuming a run, exactly: tensors in safetensors, counters in JSON, no pickle.

A checkpoint is a folder `step-00000100/`. Its `state.json` is written last and holds the hash of
the tensor files, so a folder without it, or with other bytes than it names, is not a checkpoint:
it is passed over and the one before is used.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from mg3d.errors import CheckpointError
from mg3d.files import sha256, write_atomic, write_json
from mg3d.progress import console

SCHEMA = "mg3d.checkpoint/1"


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    step: int
    """Optimiser steps done."""
    scaler: dict[str, float] = field(default_factory=dict)
    """State of the loss scaler under 16-mixed, else empty."""


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where the checkpoint after ``step`` steps lies."""
    return run / "checkpoints" / f"step-{step:08d}"


def save_checkpoint(
    run: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    fingerprint: str,
    keep: int,
) -> Path:
    """Write a checkpoint, then delete all but the ``keep`` newest complete ones.

    Args:
        run: The run directory.
        model: The bare model (not the DDP wrapper).
        optimizer: Its optimiser; state is stored by parameter position.
        progress: Steps done.
        fingerprint: Hash of everything that must be equal for an exact resume.
        keep: Complete checkpoints that stay, at least 1.

    Returns:
        The folder written.

    Raises:
        StorageError: If the disk is full; older checkpoints stay untouched.
    """
    folder = checkpoint_folder(run, progress.step)
    tensors = {
        "model.safetensors": save_tensors(_storable(model.state_dict())),
        "optimizer.safetensors": save_tensors(_optimizer_tensors(optimizer)),
    }
    (folder / "state.json").unlink(missing_ok=True)
    for name, content in tensors.items():
        write_atomic(folder / name, content)
    write_json(
        folder / "state.json",
        {
            "schema": SCHEMA,
            "step": progress.step,
            "scaler": progress.scaler,
            "threads": torch.get_num_threads(),
            "fingerprint": fingerprint,
            "sha256": {name: sha256(content) for name, content in tensors.items()},
        },
    )
    _prune(run, folder, keep)
    return folder


def _prune(run: Path, newest: Path, keep: int) -> None:
    """Delete all but ``newest`` and the complete checkpoints right before it.

    Folders of later steps go as well: the run went on from before them because they are damaged.
    """
    others = [folder for folder in _folders(run) if folder != newest]
    complete = [f for f in others if f.name < newest.name and (f / "state.json").is_file()]
    kept = complete[len(complete) - (keep - 1) :] if keep > 1 else []
    for folder in others:
        if folder not in kept:
            shutil.rmtree(folder)


def has_checkpoint(run: Path, fingerprint: str) -> bool:
    """Whether `load_newest` will find a complete checkpoint.

    Raises:
        CheckpointError: If it belongs to another model, data or recipe.
    """
    complete = [folder for folder in _folders(run) if not _damage(folder)]
    if complete:
        _read_state(complete[-1], fingerprint)
    return bool(complete)


def load_newest(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, fingerprint: str
) -> Progress:
    """Load the newest complete checkpoint of ``run`` into ``model`` and ``optimizer``.

    A truncated or incomplete checkpoint is named on the terminal and the one before is used.

    Returns:
        How far it was; step 0 if there is none.

    Raises:
        CheckpointError: If a complete checkpoint belongs to another model, data or recipe.
    """
    for folder in reversed(_folders(run)):
        problem = _damage(folder)
        if problem:
            console.print(f"[yellow]{folder.name}: {problem}; using the checkpoint before it")
            continue
        state = _read_state(folder, fingerprint)
        if state["threads"] != torch.get_num_threads():
            console.print(
                f"[yellow]{folder.name} was made with {state['threads']} CPU threads, this is "
                f"{torch.get_num_threads()}: sums round differently, so the weights will differ "
                "in their last bits. Give --threads for bit-equal results."
            )
        _load_model(folder, model)
        _load_optimizer(load_tensors((folder / "optimizer.safetensors").read_bytes()), optimizer)
        return Progress(step=int(state["step"]), scaler=state.get("scaler", {}))
    return Progress(step=0)


def _folders(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-????????"))


def _damage(folder: Path) -> str:
    """Why ``folder`` is no complete checkpoint; "" if it is one."""
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text())
    except FileNotFoundError:
        return "incomplete (it has no state.json; the save was interrupted)"
    except json.JSONDecodeError:
        return "its state.json is not JSON"
    if state.get("schema") != SCHEMA:
        return f"schema {state.get('schema')!r} is unknown to this version"
    for name, expected in state["sha256"].items():
        path = folder / name
        if not path.is_file() or sha256(path.read_bytes()) != expected:
            return f"{name} is missing, truncated or changed"
    return ""


def _read_state(folder: Path, fingerprint: str) -> dict[str, Any]:
    """The counters of a complete checkpoint, if it belongs to this run."""
    state: dict[str, Any] = json.loads((folder / "state.json").read_text())
    if state["fingerprint"] != fingerprint:
        raise CheckpointError(
            f"{folder}: this checkpoint was made by another model, store or recipe than the "
            "one given now, so the run cannot go on from it. Use the run's own config.yaml, "
            "or choose a new run folder."
        )
    return state


def _load_model(folder: Path, model: nn.Module) -> None:
    try:
        model.load_state_dict(load_tensors((folder / "model.safetensors").read_bytes()))
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: the weights do not fit the model of this recipe: {error}"
        ) from error


def _storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU copies: safetensors refuses views that share memory."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's state as flat tensors, keyed ``<parameter position>.<name>``."""
    return {
        f"{position}.{name}": torch.as_tensor(value).detach().cpu().contiguous().clone()
        for position, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
    }


def _load_optimizer(tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        position, name = key.split(".", 1)
        state.setdefault(int(position), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
