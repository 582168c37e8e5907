"""The optimiser and its learning-rate schedule: which parameters decay, and how the rate moves.

Not here: gradient clipping (the loop's step) and precision (Fabric's).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from mg3d.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How parameters are updated; `mg3d-paper` states the authors' values."""

    kind: Literal["adamw", "adam"] = "adamw"
    """adamw decays weights apart from the gradient; adam adds the decay to it (as the paper)."""
    lr: float = 1e-3
    """Peak learning rate, > 0."""
    head_lr_scale: float = 1.0
    """Factor on the learning rate of everything but `base_rate_modules`, > 0 (the paper's is 5)."""
    base_rate_modules: tuple[str, ...] = ("image_encoder", "text_encoder")
    """Modules of the model that keep the base rate: the first part of a parameter's name."""
    weight_decay: float = 0.05
    """Decay of matrices and kernels, >= 0; biases, norms, tables and temperatures never decay."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Adam's decay rates of the first and second moment, each in [0, 1)."""
    warmup_steps: int = 100
    """Steps of linear warm-up from 0, >= 0."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls from the end of the warm-up to the last step."""
    final_lr_scale: float = 0.02
    """Share of the peak that is left at the last step, in [0, 1]."""
    clip_norm: float = 1.0
    """Largest L2 norm of the gradient of all parameters; 0 switches clipping off."""

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.head_lr_scale <= 0:
            raise ConfigError(
                f"optimizer.lr is {self.lr} and optimizer.head_lr_scale {self.head_lr_scale}; "
                "both must be above 0"
            )
        if self.weight_decay < 0 or self.warmup_steps < 0 or self.clip_norm < 0:
            raise ConfigError(
                "optimizer.weight_decay, warmup_steps and clip_norm must be 0 or more; got "
                f"{self.weight_decay}, {self.warmup_steps} and {self.clip_norm}"
            )


def parameter_groups(model: nn.Module, settings: OptimizerConfig) -> list[dict[str, object]]:
    """Sort trainable parameters by decay and by learning-rate factor.

    Args:
        model: The single-device model; names decide on the rate, shapes on the decay.
        settings: Rates and decay.

    Returns:
        Groups for a torch optimiser, each with ``lr_scale`` for `set_learning_rate`; parameters
        keep the model's order within a group, so that optimiser states map by position.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim >= 2 and not any(
            word in name for word in ("bias", "embedding", "position", "query_tokens")
        )
        at_base_rate = name.split(".", 1)[0] in settings.base_rate_modules
        scale = 1.0 if at_base_rate else settings.head_lr_scale
        groups.setdefault((decays, scale), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr_scale": scale,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (decays, scale), parameters in groups.items()
    ]


def build_optimizer(model: nn.Module, settings: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over `parameter_groups`."""
    kind = torch.optim.AdamW if settings.kind == "adamw" else torch.optim.Adam
    groups = parameter_groups(model, settings)
    if not groups:
        raise ConfigError("the model has no trainable parameter; nothing could be learned")
    # fused: one pass over each parameter, where the default on a CPU takes a dozen
    return kind(groups, lr=settings.lr, betas=settings.betas, fused=True)


def learning_rate_scale(step: int, total_steps: int, settings: OptimizerConfig) -> float:
    """Share of the peak rate used in ``step`` (counted from 0): warm-up, then the schedule."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, total_steps - 1 - settings.warmup_steps)
    progress = min(1.0, progress)
    if settings.schedule == "constant":
        return 1.0
    fall = progress if settings.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * progress)
    return 1.0 - (1.0 - settings.final_lr_scale) * fall


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group ``rate`` times its own ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
