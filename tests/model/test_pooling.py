"""Poolers: formulas, masks, positions, and what a vector would be without one token."""

import math

import pytest
import torch

from mg3d.errors import ConfigError
from mg3d.model.pooling import (
    AttentionPool,
    MeanPool,
    PoolingConfig,
    PositionalReadout,
    VolumeAttentionPool,
    build_report_pool,
    build_volume_pool,
)

DIM, HEADS, QUERIES, TOKENS = 12, 3, 2, 6


def attention_pool() -> AttentionPool:
    torch.manual_seed(4)
    return AttentionPool(DIM, num_queries=QUERIES, heads=HEADS).double()


def test_attention_pool_equals_its_formula() -> None:
    pool, tokens = attention_pool(), torch.randn(2, TOKENS, DIM).double()
    mask = torch.tensor([[True] * 6, [True, False, True, True, False, False]])
    width, rows = DIM // HEADS, []
    for b in range(2):
        valid = [pool.norm(tokens[b, n]) for n in range(TOKENS) if mask[b, n]]
        found = []
        for query in pool.query_tokens:
            for h in range(HEADS):
                part = slice(h * width, (h + 1) * width)
                weights = [
                    math.exp(float(query[part] @ pool.key(v)[part]) / math.sqrt(width))
                    for v in valid
                ]
                found.append(
                    sum(w * pool.value(v)[part] for w, v in zip(weights, valid, strict=True))
                    / sum(weights)
                )
        rows.append(pool.out(torch.cat(found)))
    torch.testing.assert_close(pool(tokens, mask), torch.stack(rows), rtol=0, atol=1e-14)  # 2e-16


def test_a_row_without_tokens_pools_to_a_constant() -> None:
    pool, tokens = attention_pool(), torch.randn(2, 3, DIM).double().requires_grad_()
    pooled = pool(tokens, torch.zeros(2, 3, dtype=torch.bool))
    torch.testing.assert_close(pooled, pool.out.bias.expand(2, -1))
    pooled.sum().backward()
    assert not tokens.grad.any()  # type: ignore[union-attr]


def test_mean_pool_is_the_mean_of_the_normalised_clauses() -> None:
    torch.manual_seed(8)
    pool, tokens = MeanPool(DIM).double(), torch.randn(2, 3, DIM).double()
    mask = torch.tensor([[True, False, True], [False, False, False]])
    expected = pool.out((pool.norm(tokens[0, 0]) + pool.norm(tokens[0, 2])) / 2)
    pooled = pool(tokens, mask)
    torch.testing.assert_close(pooled[0], expected, rtol=0, atol=1e-14)
    assert torch.equal(pooled[1], pool.out.bias)


def test_leave_one_out_equals_pooling_the_others() -> None:
    pool, tokens = attention_pool(), torch.randn(2, TOKENS, DIM).double()
    without = pool.leave_one_out(tokens)
    for n in range(TOKENS):
        others = torch.arange(TOKENS)[None].expand(2, -1) != n
        torch.testing.assert_close(without[:, n], pool(tokens, others), rtol=0, atol=1e-13)  # 2e-16


def test_leave_one_out_of_volumes_keeps_positions() -> None:
    torch.manual_seed(5)
    pool = VolumeAttentionPool(DIM, num_tokens=TOKENS, num_queries=QUERIES, heads=HEADS).double()
    tokens = torch.randn(2, TOKENS, DIM).double()
    others = torch.arange(TOKENS)[None].expand(2, -1) != 2
    expected = pool.pool(tokens + pool.positions, others)
    torch.testing.assert_close(pool.leave_one_out(tokens)[:, 2], expected, rtol=0, atol=1e-13)


def test_leave_one_out_of_the_positional_readout_puts_the_mean_token_there() -> None:
    torch.manual_seed(6)
    pool = PositionalReadout(DIM, num_tokens=TOKENS, token_channels=4).double()
    tokens = torch.randn(2, TOKENS, DIM).double()
    for n in range(TOKENS):
        channels = pool.reduce(pool.norm(tokens))
        channels[:, n] = channels.mean(dim=1)
        torch.testing.assert_close(
            pool.leave_one_out(tokens)[:, n], pool.out(channels.flatten(1)), rtol=0, atol=1e-13
        )  # measured 2e-16


@pytest.mark.parametrize("kind", ["attention", "positional"])
def test_volume_pools_know_places_and_report_pools_do_not(kind: str) -> None:
    config = PoolingConfig(kind=kind, num_queries=QUERIES, heads=HEADS)  # type: ignore[arg-type]
    tokens = torch.randn(2, TOKENS, DIM).double()
    turned = tokens.flip(1)
    volume = build_volume_pool(DIM, TOKENS, config).double()
    assert (volume(tokens) - volume(turned)).abs().max() > 1e-3
    report = build_report_pool(DIM, config).double()
    everywhere = torch.ones(2, TOKENS, dtype=torch.bool)
    torch.testing.assert_close(
        report(tokens, everywhere), report(turned, everywhere), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("kind", ["attention", "positional"])
def test_every_parameter_learns(kind: str) -> None:
    config = PoolingConfig(kind=kind, num_queries=QUERIES, heads=HEADS)  # type: ignore[arg-type]
    pool = build_volume_pool(DIM, TOKENS, config).double()
    pooled = pool(torch.randn(2, TOKENS, DIM).double())
    (pooled * torch.randn_like(pooled)).sum().backward()
    for name, parameter in pool.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-7, name


def test_impossible_settings_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"pooling\.heads 5 does not divide dim 12"):
        AttentionPool(DIM, num_queries=1, heads=5)
    with pytest.raises(ConfigError, match="at least 1"):
        PoolingConfig(num_queries=0)
