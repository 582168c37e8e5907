"""Learning-rate schedule against its formula, and who decays."""

from typing import Literal

import pytest
import torch
from torch import nn

from mg3d.errors import ConfigError
from mg3d.training.optim import (
    OptimizerConfig,
    build_optimizer,
    learning_rate_scale,
    parameter_groups,
    set_learning_rate,
)


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = nn.Linear(2, 2)
        self.head = nn.Linear(2, 2)
        self.word_embedding = nn.Parameter(torch.ones(3, 2))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_cosine_reaches_peak_middle_and_end() -> None:
    settings = OptimizerConfig(warmup_steps=10, final_lr_scale=0.1)
    assert learning_rate_scale(0, 111, settings) == pytest.approx(0.1)
    assert learning_rate_scale(9, 111, settings) == 1.0
    assert learning_rate_scale(60, 111, settings) == pytest.approx(1 - 0.9 * 0.5)
    assert learning_rate_scale(110, 111, settings) == pytest.approx(0.1)


def test_linear_falls_evenly() -> None:
    settings = OptimizerConfig(warmup_steps=0, schedule="linear", final_lr_scale=0.0)
    scales = [learning_rate_scale(s, 5, settings) for s in range(5)]
    assert scales == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])
    assert learning_rate_scale(9, 5, settings) == 0.0  # never below the end


def test_constant_stays_at_the_peak_after_the_warm_up() -> None:
    settings = OptimizerConfig(warmup_steps=2, schedule="constant")
    assert [learning_rate_scale(s, 5, settings) for s in range(5)] == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_every_trainable_parameter_is_in_one_group_and_only_matrices_decay() -> None:
    model = Toy()
    groups = parameter_groups(model, OptimizerConfig(head_lr_scale=5.0))
    members = [id(p) for group in groups for p in group["params"]]
    assert sorted(members) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    found = {id(p): (g["weight_decay"], g["lr_scale"]) for g in groups for p in g["params"]}
    assert {name: found[id(p)] for name, p in model.named_parameters() if p.requires_grad} == {
        "image_encoder.weight": (0.05, 1.0),
        "image_encoder.bias": (0.0, 1.0),
        "head.weight": (0.05, 5.0),
        "head.bias": (0.0, 5.0),
        "word_embedding": (0.0, 5.0),  # a table, though of two axes
    }


def test_rate_follows_the_scale_of_each_group() -> None:
    optimizer = build_optimizer(Toy(), OptimizerConfig(head_lr_scale=5.0))
    set_learning_rate(optimizer, 0.1)
    assert {round(g["lr"], 6) for g in optimizer.param_groups} == {0.1, 0.5}


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing could be learned"):
        build_optimizer(nn.Identity(), OptimizerConfig())


@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", 0.0), ("head_lr_scale", 0.0), ("weight_decay", -0.1), ("warmup_steps", -1),
     ("clip_norm", -0.1)],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"optimizer\..*{name}.*{value}"):
        OptimizerConfig(**{name: value})


def test_nothing_may_decay_be_clipped_or_warm_up() -> None:
    OptimizerConfig(weight_decay=0.0, clip_norm=0.0, warmup_steps=0)


@pytest.mark.parametrize("kind", ["adamw", "adam"])
def test_decay_is_apart_from_the_gradient_or_part_of_it(kind: Literal["adamw", "adam"]) -> None:
    """Adam's first step is lr by the gradient's sign, whatever its size."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    settings = OptimizerConfig(kind=kind, lr=0.1, weight_decay=0.5)
    optimizer = build_optimizer(model, settings)
    model.weight.grad = torch.tensor([[-0.25]])
    optimizer.step()
    expected = {
        "adamw": 2.0 * (1 - 0.1 * 0.5) + 0.1,
        "adam": 2.0 - 0.1,  # -0.25 + 0.5 * 2 is above 0
    }
    assert model.weight.item() == pytest.approx(expected[kind], rel=1e-6)
    assert optimizer.param_groups[0]["betas"] == settings.betas
