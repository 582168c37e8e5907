"""Release folders: what was saved is what answers, and damage is named."""

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from mg3d.data.reports import Report
from mg3d.data.tokens import ReportTokenizer
from mg3d.errors import CheckpointError
from mg3d.model.swin3d import SwinConfig
from mg3d.model.text import TextConfig
from mg3d.model.vlm import ModelConfig, VisionLanguageModel
from mg3d.weights.release import load_model, save_release

GRID = (32, 16, 32)
TEXT = "the heart is enlarged. no pleural effusion."


@pytest.fixture
def tokenizer() -> ReportTokenizer:
    return ReportTokenizer.train([TEXT] * 3, 200)


def build(text: TextConfig) -> VisionLanguageModel:
    torch.manual_seed(0)
    image = SwinConfig(patch_size=4, embed_dim=8, depths=(1, 1), num_heads=(2, 2), window=(4, 2, 4))
    return VisionLanguageModel(
        ModelConfig(grid=GRID, parts=("clip",), dim=16, embedding_dim=8, image=image, text=text)
    ).eval()


def small_text(tokenizer: ReportTokenizer) -> TextConfig:
    return TextConfig(
        vocabulary_size=tokenizer.vocab_size, hidden_size=16, num_layers=1, num_heads=2,
        intermediate_size=16,
    )  # fmt: skip


def answers(model: VisionLanguageModel, tokenizer: ReportTokenizer) -> tuple[torch.Tensor, ...]:
    read = tokenizer(Report(TEXT))
    ids = torch.from_numpy(read.token_ids)[None]
    image = torch.linspace(0, 1, 32 * 16 * 32).reshape(1, 1, *GRID)
    with torch.no_grad():
        text = model.embed_text(
            ids, torch.ones_like(ids).bool(), torch.from_numpy(read.clause_ids)[None]
        )
        return model.embed_image(image), text


def assert_same_answers(model, tokenizer, folder: Path) -> None:
    release = load_model(folder)
    for got, expected in zip(
        answers(release.model, release.tokenizer), answers(model, tokenizer), strict=True
    ):
        assert torch.equal(got, expected)
    assert release.preprocessing == {"geometry": {"grid": list(GRID)}}


def test_a_loaded_release_answers_to_the_bit(tokenizer, tmp_path: Path) -> None:
    model = build(small_text(tokenizer))
    digest = save_release(tmp_path, model, tokenizer, {"geometry": {"grid": list(GRID)}})
    assert load_model(tmp_path).weights_hash == digest
    assert_same_answers(model, tokenizer, tmp_path)


def test_a_named_text_encoder_is_not_looked_for_again(tokenizer, tmp_path: Path) -> None:
    bert = BertConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16,
    )  # fmt: skip
    named = tmp_path / "some-bert"
    BertModel(bert).save_pretrained(named)
    model = build(TextConfig(name_or_path=str(named), frozen=True))
    save_release(tmp_path / "release", model, tokenizer, {"geometry": {"grid": list(GRID)}})
    named.rename(tmp_path / "gone")
    assert_same_answers(model, tokenizer, tmp_path / "release")
    assert str(tmp_path) not in (tmp_path / "release" / "config.json").read_text()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncate", "truncated or was replaced"),
        ("missing", "no complete release"),
        ("unknown key", "unknown settings .*fashion"),
        ("schema", "schema"),
    ],
)
def test_damage_is_named(tokenizer, tmp_path: Path, damage: str, message: str) -> None:
    save_release(tmp_path, build(small_text(tokenizer)), tokenizer, {})
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    description = json.loads(config.read_text())
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-8])
    elif damage == "missing":
        config.unlink()
    elif damage == "unknown key":
        description["model"]["fashion"] = 1
        config.write_text(json.dumps(description))
    else:
        config.write_text(json.dumps(description | {"schema": "mg3d.release/99"}))
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path)
