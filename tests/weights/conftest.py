"""A tiny BERT with its tokenizer in one folder, as `save_pretrained` leaves them."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from mg3d.data.text.tokens import ReportTokenizer

TEXTS = ("No pleural effusion. The heart is enlarged.", "A nodule in the left upper lobe.")


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    tokenizer = ReportTokenizer.train(TEXTS, 160)
    folder = tmp_path / "somewhere" / "tiny-bert"
    torch.manual_seed(5)
    BertModel(
        BertConfig(
            vocab_size=tokenizer.vocab_size,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=300,
        )
    ).save_pretrained(folder)
    tokenizer.tokenizer.save_pretrained(folder)
    return folder
