"""The folder that carries a trained model to its users: weights, architecture, preprocessing and
tokenizer together, so that a scan is treated at inference as it was in training.

No pickle: safetensors, JSON and tokenizer files only.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from mg3d.data.tokens import ReportTokenizer
from mg3d.errors import CheckpointError
from mg3d.files import sha256, write_atomic, write_json
from mg3d.model.vlm import ModelConfig, VisionLanguageModel

SCHEMA = "mg3d.release/1"


@dataclass(frozen=True, kw_only=True)
class Release:
    """A model ready for use, with all it needs to be fed correctly."""

    model: VisionLanguageModel
    """In eval mode, on the CPU, float32."""
    tokenizer: ReportTokenizer
    preprocessing: dict[str, Any]
    """Grid, spacing, crop and clause rule of the store it was trained on."""
    weights_hash: str
    """SHA-256 of model.safetensors."""


def save_release(
    folder: Path,
    model: VisionLanguageModel,
    tokenizer: ReportTokenizer,
    preprocessing: dict[str, Any],
) -> str:
    """Write the release folder; `config.json` comes last and makes it complete.

    Returns:
        SHA-256 of the weights file.
    """
    state = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    weights = save_tensors(state)
    write_atomic(folder / "model.safetensors", weights)
    tokenizer.save(folder / "tokenizer")
    write_json(folder / "preprocessing.json", preprocessing)
    write_json(
        folder / "config.json",
        {
            "schema": SCHEMA,
            "weights_sha256": sha256(weights),
            "model": dataclasses.asdict(model.config),
        },
    )
    return sha256(weights)


def load_model(folder: Path | str) -> Release:
    """Read a release folder.

    Args:
        folder: A ``release`` folder, or a run directory that holds one.

    Raises:
        CheckpointError: If files are missing, changed, or do not fit each other.
    """
    folder = Path(folder)
    if (folder / "release" / "config.json").is_file():
        folder = folder / "release"
    try:
        description = json.loads((folder / "config.json").read_text())
        weights = (folder / "model.safetensors").read_bytes()
        preprocessing = json.loads((folder / "preprocessing.json").read_text())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: {Path(error.filename).name} is missing, so this is no complete release. "
            "Give a finished run or its release folder; an unfinished `mg3d pretrain` goes on when "
            "the same command is given again."
        ) from error
    if description.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{folder}: schema {description.get('schema')!r}, expected {SCHEMA!r}"
        )
    if sha256(weights) != description["weights_sha256"]:
        raise CheckpointError(
            f"{folder}/model.safetensors: its bytes differ from the hash in config.json; the file "
            "is truncated or was replaced. Copy the folder again."
        )
    model = VisionLanguageModel(model_config_from_dict(description["model"]))
    try:
        model.load_state_dict(load_tensors(weights))
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: weights and config.json disagree: {error}") from error
    return Release(
        model=model.eval(),
        tokenizer=ReportTokenizer.load(folder / "tokenizer"),
        preprocessing=preprocessing,
        weights_hash=description["weights_sha256"],
    )


def model_config_from_dict(values: dict[str, Any]) -> ModelConfig:
    """Rebuild the nested configuration from JSON (lists become tuples, keys are checked)."""
    built: ModelConfig = _build(ModelConfig, values, "model")
    return built


def _build(kind: Any, values: dict[str, Any], place: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise CheckpointError(
            f"{place}: unknown settings {unknown}; this release needs a newer version of mg3d"
        )
    arguments = {}
    for name, value in values.items():
        if isinstance(value, dict) and dataclasses.is_dataclass(fields[name].type):
            arguments[name] = _build(fields[name].type, value, f"{place}.{name}")
        else:
            arguments[name] = _tuples(value)
    return kind(**arguments)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
