"""Pre-training with a Hugging Face encoder from a folder, frozen and trained."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_run import MODEL
from transformers import BertConfig, BertModel

from mg3d.data.store import VolumeStore
from mg3d.data.text.tokens import ReportTokenizer
from mg3d.errors import ConfigError
from mg3d.training.corpus import CorpusConfig
from mg3d.training.pretrain import pretrain
from mg3d.weights.release import load_model

NO_CORPUS = CorpusConfig(steps=0)


@pytest.fixture
def bert_folder(store: VolumeStore, tmp_path: Path) -> Path:
    """As `save_pretrained` leaves them: a BERT of 16 features and its WordPiece tokenizer."""
    reports = [store.report(row.study_id) for row in store.rows]
    tokenizer = ReportTokenizer.train([f"{r.findings} {r.impression}" for r in reports], 250)
    torch.manual_seed(5)
    sizes = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=260,
    )
    BertModel(sizes).save_pretrained(tmp_path / "tiny-bert")
    tokenizer.tokenizer.save_pretrained(tmp_path / "tiny-bert")
    return tmp_path / "tiny-bert"


def word_table(file: Path, prefix: str = "") -> torch.Tensor:
    return load_file(file)[f"{prefix}embeddings.word_embeddings.weight"]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("scope", ["clause", "report"])
def test_a_named_encoder_is_used_and_released(
    settings, bert_folder: Path, tmp_path: Path, frozen: bool, scope
) -> None:
    text = replace(MODEL.text, name_or_path=str(bert_folder), frozen=frozen, clause_scope=scope)
    config = settings(model=replace(MODEL, text=text), corpus=NO_CORPUS)
    assert pretrain(config) == 0
    named = ReportTokenizer.load(bert_folder)
    before = word_table(bert_folder / "model.safetensors")
    after = word_table(config.run / "release" / "model.safetensors", "text_encoder.backbone.")
    assert torch.equal(before, after) == frozen  # its weights, and trained only when asked
    bert_folder.rename(tmp_path / "gone")
    release = load_model(config.run)
    expected = (2, 3) if scope == "clause" else (None, None)
    assert (release.model.config.text.start_id, release.model.config.text.end_id) == expected
    assert (named.start_token_id, named.end_token_id) == (2, 3)
    assert release.tokenizer.vocab_size == named.vocab_size
    assert not any("pooler" in name for name, _ in release.model.named_parameters())
    assert json.loads((config.run / "release" / "preprocessing.json").read_text())


def test_start_and_end_that_are_given_stay(settings, bert_folder: Path) -> None:
    text = replace(MODEL.text, name_or_path=str(bert_folder), start_id=4)
    config = settings(model=replace(MODEL, text=text), corpus=NO_CORPUS)
    pretrain(config)
    kept = load_model(config.run).model.config.text
    assert (kept.start_id, kept.end_id) == (4, None)


def test_a_tokenizer_that_is_not_the_encoders_is_refused(settings, bert_folder: Path) -> None:
    tokenizer = ReportTokenizer.load(bert_folder).tokenizer
    tokenizer.add_tokens(["onemoreword"])
    tokenizer.save_pretrained(bert_folder)
    text = replace(MODEL.text, name_or_path=str(bert_folder))
    with pytest.raises(ConfigError, match=r"tokenizer makes \d+ different tokens, its encoder"):
        pretrain(settings(model=replace(MODEL, text=text), corpus=NO_CORPUS))
