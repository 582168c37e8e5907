"""The folder that carries a trained model to its users: weights, architecture, preprocessing and
tokenizer together, so that a scan is treated at inference as it was in training.

No pickle: safetensors, JSON and tokenizer files only. Loading reads nothing outside the folder,
also where the text encoder came from the Hugging Face hub.
"""

import dataclasses
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from mg3d.data.text.tokens import ReportTokenizer
from mg3d.errors import CheckpointError, ConfigError
from mg3d.files import sha256, write_atomic, write_json
from mg3d.model.parts import Wiring
from mg3d.model.text import TextEncoder
from mg3d.model.vlm import ModelConfig, VisionLanguageModel

SCHEMA = "mg3d.release/1"
TEXT_ENCODER_FOLDER = "text_encoder"


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
    config = model.config
    if model.wiring.text and config.text.name_or_path is not None:
        _save_architecture(folder / TEXT_ENCODER_FOLDER, model.text_encoder)
        # The rest of a local path is nobody's business.
        name = config.text.name_or_path
        text = dataclasses.replace(
            config.text, name_or_path=Path(name).name if Path(name).is_dir() else name
        )
        config = dataclasses.replace(config, text=text)
    write_json(
        folder / "config.json",
        {
            "schema": SCHEMA,
            "weights_sha256": sha256(weights),
            "model": dataclasses.asdict(config),
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
    description, preprocessing = (
        _read_json(folder / name) for name in ("config.json", "preprocessing.json")
    )
    if description.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{folder}: schema {description.get('schema')!r}, expected {SCHEMA!r}; install the "
            "version of mg3d that wrote it"
        )
    weights = _read(folder / "model.safetensors")
    if sha256(weights) != description.get("weights_sha256"):
        raise CheckpointError(
            f"{folder}/model.safetensors: its bytes differ from the hash in config.json; the file "
            "is truncated or was replaced. Copy the folder again."
        )
    _read(folder / "tokenizer" / "report_tokenizer.json")
    model = VisionLanguageModel(_own_text(model_config_from_dict(description["model"]), folder))
    try:
        model.load_state_dict(load_tensors(weights))
        tokenizer = ReportTokenizer.load(folder / "tokenizer")
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: weights and config.json disagree: {error}. Copy the folder again."
        ) from error
    except ConfigError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return Release(
        model=model.eval(),
        tokenizer=tokenizer,
        preprocessing=preprocessing,
        weights_hash=description["weights_sha256"],
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{file}: the file is missing, so this is no complete release. Give a finished run or "
            "its release folder; an unfinished `mg3d pretrain` goes on when the same command is "
            "given again."
        ) from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(_read(file))
    except ValueError as error:
        raise CheckpointError(f"{file}: not JSON ({error}). Copy the folder again.") from error
    return content


def _save_architecture(folder: Path, encoder: TextEncoder) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        encoder.save_architecture(Path(scratch))
        for file in sorted(Path(scratch).iterdir()):
            write_atomic(folder / file.name, file.read_bytes())


def _reads_text(config: ModelConfig) -> bool:
    return Wiring.of(config.parts, config.fusion.kind).text


def _own_text(config: ModelConfig, folder: Path) -> ModelConfig:
    """Point a named text encoder at the architecture in the release; its weights come along."""
    if config.text.name_or_path is None or not _reads_text(config):
        return config
    own = folder / TEXT_ENCODER_FOLDER
    _read(own / "config.json")
    text = dataclasses.replace(config.text, name_or_path=str(own), pretrained=False)
    return dataclasses.replace(config, text=text)


def model_config_from_dict(values: dict[str, Any]) -> ModelConfig:
    """Rebuild the nested configuration from JSON (lists become tuples, keys are checked)."""
    built: ModelConfig = _build(ModelConfig, values, "model")
    return built


def _build(kind: Any, values: dict[str, Any], place: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise CheckpointError(
            f"{place}: unknown settings {unknown}; install the version of mg3d that wrote this "
            "release, or a newer one"
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
