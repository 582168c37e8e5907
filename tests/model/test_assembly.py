"""What a model is assembled from: the paper's sizes, and names that other parts rely on."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mg3d.model.assembly import FULL_METHOD, AssembledModel, ModelConfig
from mg3d.model.fusion import FusionConfig
from mg3d.model.text import TextConfig

BERT_BASE = TextConfig(
    vocabulary_size=28_996,
    hidden_size=768,
    num_layers=12,
    num_heads=12,
    intermediate_size=3_072,
    frozen=True,
)
GATE_BLOCK = 1_771_776  # three Linear(768, 768): one of the two sides of the authors' layer


def on_paper(config: ModelConfig) -> AssembledModel:
    """Built without memory: shapes only."""
    with torch.device("meta"):
        return AssembledModel(config)


def count(module: nn.Module | None) -> int:
    assert module is not None
    return sum(parameter.numel() for parameter in module.parameters())


def test_paper_model_has_the_sizes_of_the_public_code() -> None:
    """Counts from the shapes of the authors' modules; ours lack what nothing reads."""
    model = on_paper(
        ModelConfig(text=BERT_BASE, fusion=FusionConfig(kind="gate"), tied_tokens=False)
    )
    assert model.num_tokens == 48
    assert count(model.image_encoder) == 8_062_002
    assert count(model.image_projection) == count(model.text_projection) == 590_592
    assert count(model.type_embedding) == 1_536
    assert count(model.image_fusion) == 4 * GATE_BLOCK  # the last layer's clauses are read
    assert count(model.report_fusion) == 3 * GATE_BLOCK  # the last layer's image tokens are not
    assert count(model.aggregator) == 2 * GATE_BLOCK + 590_592
    # without the biases that the InstanceNorms cancel
    assert count(model.decoder) == 10_638_385 - (384 + 192 + 96 + 48 + 48)
    # transform, its LayerNorm, decoder and bias, without the 8-dimensional side branch
    assert count(model.token_head) == 590_592 + 1_536 + 28_996 * 768 + 28_996
    assert model.reference.encoder is None


def test_last_layer_builds_only_what_is_read() -> None:
    parts = ("plain_alignment", "masked_volume")
    model = on_paper(ModelConfig(text=BERT_BASE, fusion=FusionConfig(kind="gate"), parts=parts))
    assert count(model.image_fusion) == 3 * GATE_BLOCK
    assert not hasattr(model, "report_fusion")


@pytest.mark.parametrize("parts", [("clip",), FULL_METHOD])
def test_encoders_can_be_told_from_heads_by_name(parts: tuple[str, ...]) -> None:
    model = on_paper(ModelConfig(parts=parts))
    encoders = {n for n, _ in model.named_parameters() if n.startswith(("image_enc", "text_enc"))}
    found = count(model.image_encoder) + count(model.text_encoder)
    assert sum(model.get_parameter(name).numel() for name in encoders) == found


def test_tied_tokens_share_the_table_without_owning_it() -> None:
    tied = on_paper(ModelConfig())
    own = on_paper(replace(ModelConfig(), tied_tokens=False))
    assert tied.token_head.decoder is None
    assert count(own.token_head.decoder) == own.config.text.vocabulary_size * own.config.dim
