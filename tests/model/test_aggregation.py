"""Aggregation: both forms against literal loops; only the image's values in the attention form."""

import math

import pytest
import torch
from torch import Tensor

from mg3d.errors import ConfigError
from mg3d.model.aggregation import AttentionAggregation, GateAggregation

DIM, HEADS = 12, 3
MASK = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])


def clauses() -> Tensor:
    torch.manual_seed(3)
    return torch.randn(3, 3, DIM).double() * MASK[:, :, None]


def literal_mean(x: Tensor) -> Tensor:
    rows = [x[b, MASK[b]].mean(dim=0) if MASK[b].any() else torch.zeros(DIM) for b in range(len(x))]
    return torch.stack([row.double() for row in rows])


def test_gate_form_equals_its_formula() -> None:
    x, volume = clauses(), torch.randn(3, DIM).double()
    module = GateAggregation(DIM).double()
    y = volume
    for query, key, value in zip(module.queries, module.keys, module.values, strict=True):
        step = torch.zeros_like(x)
        for b, s in MASK.nonzero().tolist():
            score = float(query(y[b]) @ key(x[b, s])) / math.sqrt(DIM)
            step[b, s] = value(x[b, s]) / (1 + math.exp(-score))
        x = step
        y = torch.tanh(module.summary(literal_mean(x)))
    visual, summary = module(clauses(), MASK, volume)
    torch.testing.assert_close(visual, x, rtol=0, atol=1e-14)  # measured 6e-17
    torch.testing.assert_close(summary, y, rtol=0, atol=1e-14)


def test_attention_form_equals_its_formula() -> None:
    z, tokens = clauses(), torch.randn(3, 5, DIM).double()
    module = AttentionAggregation(DIM, heads=HEADS, summary=True).double()
    x, width = torch.zeros_like(z), DIM // HEADS
    for b, s in MASK.nonzero().tolist():
        for h in range(HEADS):
            part = slice(h * width, (h + 1) * width)
            scores = [
                math.exp(
                    float(module.query(z[b, s])[part] @ module.key(v)[part]) / math.sqrt(width)
                )
                for v in tokens[b]
            ]
            found = sum(w * module.value(v)[part] for w, v in zip(scores, tokens[b], strict=True))
            x[b, s, part] = found / sum(scores)
    assert module.summary is not None
    visual, summary = module(z, MASK, tokens)
    torch.testing.assert_close(visual, x, rtol=0, atol=1e-14)  # measured 3e-16
    torch.testing.assert_close(
        summary, torch.tanh(module.summary(literal_mean(x))), rtol=0, atol=1e-14
    )


def test_attention_form_takes_no_value_from_the_text() -> None:
    """In a volume whose tokens are all alike, every clause must find the same."""
    module = AttentionAggregation(DIM, heads=HEADS, summary=True).double()
    uniform = torch.randn(3, 1, DIM).double().expand(-1, 5, -1)
    visual, _ = module(clauses(), MASK, uniform)
    torch.testing.assert_close(visual[1, 0], visual[1, 2], rtol=0, atol=1e-14)
    gate = GateAggregation(DIM).double()
    by_gate, _ = gate(clauses(), MASK, torch.zeros(3, DIM).double())
    assert (by_gate[1, 0] - by_gate[1, 2]).abs().max() > 0.01  # the authors' form does


def test_without_summary_there_is_none() -> None:
    module = AttentionAggregation(DIM, heads=HEADS, summary=False).double()
    visual, summary = module(clauses(), MASK, torch.randn(3, 5, DIM).double())
    assert summary is None
    assert not visual[~MASK].any()


def test_heads_must_divide() -> None:
    with pytest.raises(ConfigError, match=r"fusion\.heads 5 does not divide dim 12"):
        AttentionAggregation(DIM, heads=5, summary=True)
