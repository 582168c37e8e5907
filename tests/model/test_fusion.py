"""Fusion: both blocks against literal loops, masks, and stacks without dead parameters."""

import math

import pytest
import torch
from torch import Tensor, nn

from mg3d.errors import ConfigError
from mg3d.model.fusion import CrossAttentionBlock, FusionConfig, FusionStack, GateBlock

DIM, HEADS = 12, 3
# Three studies: two valid partners, all three, none.
PARTNERS = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])


def inputs() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(3, 4, DIM).double(), torch.randn(3, 3, DIM).double()


def literal_gate(block: GateBlock, x: Tensor, y: Tensor, mask: Tensor, *, padding: bool) -> Tensor:
    """The formula token by token."""
    out = torch.zeros_like(x)
    for b in range(len(x)):
        partners = [j for j in range(y.shape[1]) if padding or mask[b, j]]
        for i in range(x.shape[1]):
            openings = [
                1
                / (1 + math.exp(-float(block.query(x[b, i]) @ block.key(y[b, j])) / math.sqrt(DIM)))
                for j in partners
            ]
            gate = sum(openings) / len(openings) if mask[b].any() else 1.0
            out[b, i] = gate * block.value(x[b, i])
    return out


def literal_attention(block: CrossAttentionBlock, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """The formula token by token and head by head."""
    out, width = torch.zeros_like(x), DIM // HEADS
    for b in range(len(x)):
        partners = [j for j in range(y.shape[1]) if mask[b, j]]
        for i in range(x.shape[1]):
            token = x[b, i]
            if partners:
                query = block.query(block.norm_query(token))
                keys = [block.key(block.norm_context(y[b, j])) for j in partners]
                values = [block.value(block.norm_context(y[b, j])) for j in partners]
                found = []
                for h in range(HEADS):
                    part = slice(h * width, (h + 1) * width)
                    scores = [
                        math.exp(float(query[part] @ k[part]) / math.sqrt(width)) for k in keys
                    ]
                    found.append(
                        sum(s * v[part] for s, v in zip(scores, values, strict=True)) / sum(scores)
                    )
                token = token + block.out(torch.cat(found))
            out[b, i] = token + block.mlp(block.norm_mlp(token))
    return out


@pytest.mark.parametrize("padding", [False, True])
def test_gate_equals_its_formula(padding: bool) -> None:
    x, y = inputs()
    block = GateBlock(DIM, mean_over_padding=padding).double()
    expected = literal_gate(block, x, y, PARTNERS, padding=padding)
    torch.testing.assert_close(
        block(x, y, PARTNERS), expected, rtol=0, atol=1e-14
    )  # measured 2e-16


def test_cross_attention_equals_its_formula() -> None:
    x, y = inputs()
    block = CrossAttentionBlock(DIM, heads=HEADS, mlp_ratio=2.0).double()
    expected = literal_attention(block, x, y, PARTNERS)
    torch.testing.assert_close(
        block(x, y, PARTNERS), expected, rtol=0, atol=1e-13
    )  # measured 4e-16


@pytest.mark.parametrize("kind", ["gate", "cross_attention"])
def test_a_stack_updates_both_sides_in_step(kind: str) -> None:
    x, y = inputs()
    stack = build(kind, layers=2, both_sides=True)
    everywhere = torch.ones(3, 4, dtype=torch.bool)
    x1 = stack.first_blocks[0](x, y, PARTNERS)
    y1 = stack.second_blocks[0](y, x, everywhere)
    x2 = stack.first_blocks[1](x1, y1, PARTNERS)
    y2 = stack.second_blocks[1](y1, x1, everywhere) * PARTNERS[:, :, None]
    first, second = stack.fuse_both(x, y, everywhere, PARTNERS)
    assert torch.equal(first, x2)
    assert torch.equal(second, y2)
    assert torch.equal(stack(x, y, everywhere, PARTNERS), x2)


@pytest.mark.parametrize("kind", ["gate", "cross_attention"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("both_sides", [False, True])
def test_no_parameter_is_dead(kind: str, layers: int, both_sides: bool) -> None:
    x, y = inputs()
    stack = build(kind, layers=layers, both_sides=both_sides)
    everywhere = torch.ones(3, 4, dtype=torch.bool)
    read = (
        stack.fuse_both(x, y, everywhere, PARTNERS)
        if both_sides
        else (stack(x, y, everywhere, PARTNERS),)
    )
    torch.stack([(side * torch.randn_like(side)).sum() for side in read]).sum().backward()
    for name, parameter in stack.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-7, name


@pytest.mark.parametrize("kind", ["gate", "cross_attention"])
def test_padding_changes_nothing(kind: str) -> None:
    x, y = inputs()
    stack = build(kind, layers=2, both_sides=True)
    first_mask = torch.tensor([[True, True, True, False]] * 3)
    first, second = stack.fuse_both(x, y, first_mask, PARTNERS)
    for filler in (0.0, 1e6):
        wide_x = nn.functional.pad(x, (0, 0, 0, 2), value=filler)
        wide_y = nn.functional.pad(y, (0, 0, 0, 2), value=filler)
        wide = stack.fuse_both(
            wide_x,
            wide_y,
            nn.functional.pad(first_mask, (0, 2)),
            nn.functional.pad(PARTNERS, (0, 2)),
        )
        torch.testing.assert_close(wide[0][:, :4], first, rtol=0, atol=1e-12)  # measured 7e-16
        torch.testing.assert_close(wide[1][:, :3], second, rtol=0, atol=1e-12)
        assert not wide[1][:, 3:].any()


def test_padding_counts_only_where_the_quirk_is_asked_for() -> None:
    x, y = inputs()
    mask = torch.tensor([[True, True, False, False]] * 3)
    honest = build("gate", layers=2, both_sides=False)
    quirk = FusionStack(DIM, FusionConfig(kind="gate"), both_sides=False, mean_over_padding=True)
    quirk.double().load_state_dict(honest.state_dict())
    everywhere = torch.ones(3, 3, dtype=torch.bool)
    # The second side's gate averages over the first side's padding, which changes layer 2.
    moved = (quirk(x, y, mask, everywhere) - honest(x, y, mask, everywhere)).abs().max()
    assert moved > 1e-4  # measured 4e-4
    full = torch.ones_like(mask)
    torch.testing.assert_close(quirk(x, y, full, everywhere), honest(x, y, full, everywhere))


def test_without_partners_tokens_pass_ungated_or_by_the_residual() -> None:
    x, y = inputs()
    nobody = torch.zeros_like(PARTNERS)
    gate = GateBlock(DIM).double()
    assert torch.equal(gate(x, y, nobody), gate.value(x))
    block = CrossAttentionBlock(DIM, heads=HEADS, mlp_ratio=2.0).double()
    assert torch.equal(block(x, y, nobody), x + block.mlp(block.norm_mlp(x)))
    x.requires_grad_(True)
    (gate(x, y, nobody).sum() + block(x, y, nobody).sum()).backward()
    assert torch.isfinite(x.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["gate", "cross_attention"])
def test_order_of_partners_and_studies_does_not_matter(kind: str) -> None:
    x, y = inputs()
    stack = build(kind, layers=2, both_sides=True)
    everywhere = torch.ones(3, 4, dtype=torch.bool)
    first, second = stack.fuse_both(x, y, everywhere, PARTNERS)
    turn, shuffle = torch.tensor([2, 0, 1]), torch.tensor([1, 2, 0])
    turned = stack.fuse_both(x[turn], y[turn][:, shuffle], everywhere, PARTNERS[turn][:, shuffle])
    torch.testing.assert_close(turned[0], first[turn], rtol=0, atol=1e-12)
    torch.testing.assert_close(turned[1], second[turn][:, shuffle], rtol=0, atol=1e-12)


def test_impossible_settings_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"fusion\.layers is 0"):
        FusionConfig(layers=0)
    with pytest.raises(ConfigError, match=r"fusion\.heads 5 does not divide dim 12"):
        FusionStack(DIM, FusionConfig(heads=5), both_sides=False)
    FusionStack(DIM, FusionConfig(kind="gate", heads=5), both_sides=False)  # has one head


def build(kind: str, *, layers: int, both_sides: bool) -> FusionStack:
    torch.manual_seed(2)
    config = FusionConfig(kind=kind, layers=layers, heads=HEADS, mlp_ratio=2.0)  # type: ignore[arg-type]
    return FusionStack(DIM, config, both_sides=both_sides).double()
