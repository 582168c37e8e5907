"""The literal form and the shipped form are the same function."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch


@pytest.mark.parametrize("kind", ["gate", "cross_attention"])
@pytest.mark.parametrize("of_a_study", [False, True])
def test_loops_and_batches_agree(
    kind: str, of_a_study: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fusion
    import literal

    for name, size in (
        ("NUM_STUDIES", 3), ("NUM_TOKENS", 17), ("NUM_CLAUSES", 4), ("DIM", 16),
    ):  # fmt: skip
        monkeypatch.setattr(fusion, name, size)
    monkeypatch.setattr(literal.Layers, "of_a_study", of_a_study)
    torch.manual_seed(1)
    model, batch = fusion.build_model(kind).double(), fusion.draw_batch()
    tokens = fusion.draw_tokens()
    for name, value in vars(tokens).items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            setattr(tokens, name, value.detach().double().requires_grad_(value.requires_grad))
    loss_error, gradient_error = fusion.errors(
        model,
        tokens,
        lambda: fusion.batched(model, tokens, batch),
        lambda: literal.losses(model, tokens, batch),
    )
    assert loss_error < 1e-6  # measured 2e-8: the temperature's logits are taken in float32
    assert gradient_error < 1e-5


def test_rows_of_an_earlier_sitting_stay(tmp_path: Path) -> None:
    from comparison import Comparison

    first = Comparison("table")
    first.add("a", 1.0, 2.0, "s")
    first.add("b", 1.0, None, "s")
    first.save(tmp_path)
    second = Comparison("table")
    second.add("a", 1.0, 4.0, "s")
    path = second.save(tmp_path)
    rows = {row["case"]: SimpleNamespace(**row) for row in _rows(path)}
    assert rows["a"].ratio == 4.0
    assert rows["b"].ratio is None


def _rows(path: Path) -> list[dict[str, object]]:
    import json

    rows: list[dict[str, object]] = json.loads(path.read_text())["rows"]
    return rows
