"""Saving and resuming a run, exactly: tensors in safetensors, counters in JSON, no pickle.

A checkpoint is a folder `step-00000100/`. Its `state.json` is written last and holds the hash of
the tensor files, so a folder without it, or with other bytes than it names, is not a checkpoint:
it is passed over and the one before is used.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from mg3d.distributed import rank, world_size
from mg3d.errors import CheckpointError
from mg3d.files import sha256, write_atomic, write_json
from mg3d.progress import console
from mg3d.training.sharding import laid_out_as, whole

SCHEMA = "mg3d.checkpoint/1"
_TENSOR_FILES = ("model.safetensors", "optimizer.safetensors")
_ENTRIES: dict[str, type | tuple[type, ...]] = {
    "step": int,
    "scaler": dict,
    "mean_loss": (int, float, type(None)),
    "loss_sum": (int, float),
    "loss_count": int,
    "arithmetic": dict,
    "fingerprint": str,
    "sha256": dict,
}
"""What a `state.json` holds beside its schema."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    step: int
    """Optimiser steps done."""
    scaler: dict[str, float] = field(default_factory=dict)
    """State of the loss scaler under 16-mixed, else empty."""
    mean_loss: float | None = None
    """Mean total loss of the steps since the checkpoint that was due before this one. None where a
    signal asked for this one: it is never the best, and goes when the next one is saved."""
    loss_sum: float = 0.0
    """Sum of the total losses since the last checkpoint that was due."""
    loss_count: int = 0
    """Steps in that sum."""


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where the checkpoint after ``step`` steps lies."""
    return run / "checkpoints" / f"step-{step:08d}"


def save_checkpoint(
    run: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    fingerprint: str,
    *,
    keep: int,
    keep_best: bool = False,
    micro_batch_size: int = 0,
) -> None:
    """Write a checkpoint, then delete those that need not stay. Collective; rank 0 writes.

    Args:
        run: The run directory.
        model: The bare model (not the DDP wrapper); sharded or not, full tensors are stored.
        optimizer: Its optimiser; state is stored by parameter position.
        progress: Steps done.
        fingerprint: Hash of everything that must be equal for an exact resume.
        keep: Newest complete checkpoints that stay of those that were due, at least 1.
        keep_best: Whether the one with the lowest mean loss stays too.
        micro_batch_size: Of the loop, to be compared on resuming.

    Raises:
        StorageError: If the disk is full; older checkpoints stay untouched.
    """
    first = rank() == 0
    weights = _storable(model.state_dict(), keep=first)
    moments = _storable(_optimizer_tensors(optimizer), keep=first)
    if not first:
        return
    folder = checkpoint_folder(run, progress.step)
    contents = (save_tensors(weights), save_tensors(moments))
    tensors = dict(zip(_TENSOR_FILES, contents, strict=True))
    (folder / "state.json").unlink(missing_ok=True)
    for name, content in tensors.items():
        write_atomic(folder / name, content)
    write_json(
        folder / "state.json",
        {
            "schema": SCHEMA,
            "step": progress.step,
            "scaler": progress.scaler,
            "mean_loss": progress.mean_loss,
            "loss_sum": progress.loss_sum,
            "loss_count": progress.loss_count,
            "arithmetic": _arithmetic(model, micro_batch_size),
            "fingerprint": fingerprint,
            "sha256": {name: sha256(content) for name, content in tensors.items()},
        },
    )
    _prune(run, folder, fingerprint, keep, keep_best=keep_best)


def _prune(run: Path, newest: Path, fingerprint: str, keep: int, *, keep_best: bool) -> None:
    """Delete all but ``newest``, the complete checkpoints right before it, and the best one.

    What a signal had saved does not count, so a run that was stopped keeps what any other keeps.
    Folders of later steps go as well: the run went on from before them because they are damaged.
    What another recipe wrote is not ours to delete.
    """
    others = [folder for folder in _folders(run) if folder != newest]
    states = {folder: _state(folder) for folder in others}
    own = {f: s for f, s in states.items() if s and s["fingerprint"] == fingerprint}
    due = {f: s["mean_loss"] for f, s in own.items() if s["mean_loss"] is not None}
    earlier = [folder for folder in due if folder.name < newest.name]
    more = keep - (_state(newest)["mean_loss"] is not None)
    kept = earlier[max(0, len(earlier) - more) :]
    if keep_best and earlier:
        kept.append(min(earlier, key=lambda folder: due[folder]))
    for folder in others:
        foreign = states[folder] and folder not in own
        if folder not in kept and not foreign:
            shutil.rmtree(folder)


def has_checkpoint(run: Path, fingerprint: str) -> bool:
    """Whether `load_newest` will find a complete checkpoint of this run.

    Raises:
        CheckpointError: If all of them belong to another model, data or recipe.
    """
    return _newest(run, fingerprint)[0] is not None


def load_newest(
    run: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    fingerprint: str,
    micro_batch_size: int = 0,
) -> Progress:
    """Load the newest complete checkpoint of ``run`` into ``model`` and ``optimizer``.

    A checkpoint that is truncated, incomplete or of another recipe is named on the terminal and
    the one before is used. Collective where the model is sharded.

    Returns:
        How far it was; step 0 if there is none.

    Raises:
        CheckpointError: If all complete checkpoints belong to another model, data or recipe.
    """
    folder, passed_over = _newest(run, fingerprint)
    if rank() == 0:
        for name, problem in passed_over.items():
            console.print(f"[yellow]{name}: {problem}; using the checkpoint before it")
    if folder is None:
        return Progress(step=0)
    state = _state(folder)
    now, then = _arithmetic(model, micro_batch_size), state["arithmetic"]
    other = [what for what in now if then.get(what) != now[what]]
    if other and rank() == 0:
        before, after = (
            ", ".join(f"{what} {values.get(what)}" for what in other) for values in (then, now)
        )
        console.print(
            f"[yellow]{folder.name} was made with {before}, this is {after}: sums round "
            "differently, so the weights will differ in their last bits."
        )
    _load_model(folder, model)
    _load_optimizer(_read_tensors(folder / "optimizer.safetensors"), optimizer)
    return Progress(
        step=state["step"],
        scaler=state["scaler"],
        mean_loss=state["mean_loss"],
        loss_sum=state["loss_sum"],
        loss_count=state["loss_count"],
    )


def _newest(run: Path, fingerprint: str) -> tuple[Path | None, dict[str, str]]:
    """The newest complete checkpoint of this run, and why each later one is passed over."""
    passed_over: dict[str, str] = {}
    foreign: Path | None = None
    for folder in reversed(_folders(run)):
        problem = _damage(folder)
        if not problem:
            if _state(folder)["fingerprint"] == fingerprint:
                return folder, passed_over
            foreign = foreign or folder
            problem = "made by another model, store or recipe"
        passed_over[folder.name] = problem
    if foreign is not None:
        raise CheckpointError(
            f"{foreign}: this checkpoint was made by another model, store or recipe than the "
            "one given now, so the run cannot go on from it. Use the run's own config.yaml, "
            "or choose a new run folder."
        )
    return None, passed_over


def _arithmetic(model: nn.Module, micro_batch_size: int) -> dict[str, str | int]:
    """What decides the order of sums, hence the last bits."""
    return {
        "device": next(model.parameters()).device.type,
        "CPU threads": torch.get_num_threads(),
        "processes": world_size(),
        "loop.micro_batch_size": micro_batch_size,
    }


def _folders(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-????????"))


def _state(folder: Path) -> dict[str, Any]:
    """The counters of a checkpoint; empty if it has none that are whole."""
    try:
        state = json.loads((folder / "state.json").read_bytes())
    except (FileNotFoundError, ValueError):  # no JSON, or bytes that are no text
        return {}
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        return {}
    if not all(n in state and isinstance(state[n], kind) for n, kind in _ENTRIES.items()):
        return {}
    return state if state["sha256"].keys() == set(_TENSOR_FILES) else {}


def _damage(folder: Path) -> str:
    """Why ``folder`` is no complete checkpoint; "" if it is one."""
    if not (folder / "state.json").is_file():
        return "incomplete (it has no state.json; the save was interrupted)"
    state = _state(folder)
    if not state:
        return "its state.json is damaged or of another version"
    for name, expected in state["sha256"].items():
        path = folder / name
        if not path.is_file() or sha256(path.read_bytes()) != expected:
            return f"{name} is missing, truncated or changed"
    return ""


def _load_model(folder: Path, model: nn.Module) -> None:
    layout = model.state_dict()
    stored = _read_tensors(folder / "model.safetensors")
    pieces = {name: laid_out_as(tensor, layout.get(name, tensor)) for name, tensor in stored}
    try:
        model.load_state_dict(pieces)
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: the weights do not fit the model of this recipe: {error}"
        ) from error


def _read_tensors(file: Path) -> list[tuple[str, Tensor]]:
    """Names and tensors, in the same order on every rank: safetensors gives them in any."""
    return sorted(load_tensors(file.read_bytes()).items(), key=lambda item: item[0])


def _storable(tensors: dict[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Full, contiguous CPU copies: safetensors refuses views that share memory.

    Every rank takes part, but only who keeps them needs the memory.
    """
    copies = {}
    for name, tensor in tensors.items():
        full = whole(tensor.detach())
        if keep:
            copies[name] = full.cpu().contiguous().clone()
    return copies


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's state as flat tensors, keyed ``<parameter position>.<name>``."""
    return {
        f"{position}.{name}": torch.as_tensor(value)
        for position, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
    }


def _load_optimizer(
    tensors: Iterable[tuple[str, Tensor]], optimizer: torch.optim.Optimizer
) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors:
        position, name = key.split(".", 1)
        parameter = parameters[int(position)]
        # Moments have the shape of their parameter, the counter of steps has none.
        piece = laid_out_as(tensor, parameter) if tensor.shape == parameter.shape else tensor
        state.setdefault(int(position), {})[name] = piece
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
