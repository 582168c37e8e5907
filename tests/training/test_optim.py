"""Learning-rate schedule against its formula, and who decays."""

import math

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


def test_every_trainable_parameter_is_in_one_group_and_biases_do_not_decay() -> None:
    model = Toy()
    groups = parameter_groups(model, OptimizerConfig(head_lr_scale=5.0))
    members = [id(p) for group in groups for p in group["params"]]
    assert sorted(members) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    for group in groups:
        assert all((p.ndim >= 2) == (group["weight_decay"] > 0) for p in group["params"])
    scale_of_head = next(g["lr_scale"] for g in groups if g["params"][0] is model.head.weight)
    assert scale_of_head == 5.0


def test_rate_follows_the_scale_of_each_group() -> None:
    optimizer = build_optimizer(Toy(), OptimizerConfig(head_lr_scale=5.0))
    set_learning_rate(optimizer, 0.1)
    assert {round(g["lr"], 6) for g in optimizer.param_groups} == {0.1, 0.5}


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing could be learned"):
        build_optimizer(nn.Identity(), OptimizerConfig())


def test_a_zero_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr is 0"):
        OptimizerConfig(lr=0)


def test_adam_step_is_finite() -> None:
    model = Toy()
    optimizer = build_optimizer(model, OptimizerConfig(kind="adam"))
    model.head(model.image_encoder(torch.ones(1, 2))).sum().backward()
    optimizer.step()
    assert all(math.isfinite(p.sum().item()) for p in model.parameters())
