"""The literal step is the shipped step: losses and every gradient, in float64."""

import pytest
import torch

from mg3d.model.swin3d import SwinConfig
from mg3d.model.text import TextConfig


def test_the_literal_step_is_the_shipped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import literal
    import step

    torch.manual_seed(0)
    monkeypatch.setattr(literal, "GRID_OF_TOKENS", (2, 2, 2))
    monkeypatch.setattr(literal.Layers, "of_a_study", True)
    for name, value in (
        ("NUM_TOKENS", 24), ("NUM_CLAUSES", 6), ("VOCABULARY", 1200),
        ("WORDS", step.Vocabulary(size=1200, mask_id=103, special_ids=(0, 101, 102))),
    ):  # fmt: skip
        monkeypatch.setattr(step, name, value)
    swin = SwinConfig(
        embed_dim=8, depths=(2, 2, 2), num_heads=(1, 2, 4), window=(4, 4, 4),
        relative_position_index="truncated",
    )  # fmt: skip
    text = TextConfig(vocabulary_size=1200, hidden_size=16, num_layers=1, frozen=True)
    task = step.build_task(32, swin, text, dim=32).double()
    batch = step.draw_batch(2, 32)
    batch.image = batch.image.double()
    reference = step.LiteralStep(task, swin)
    reference.encoder.double()
    found = step.errors(task, reference, batch)
    assert found["error of a loss"] < 1e-12  # measured 3e-16
    assert found["error of a gradient"] < 1e-11  # measured 3e-15
