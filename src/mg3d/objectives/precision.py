"""Losses are computed in float32 or better, whatever precision the model runs in.

A cosine in bfloat16 is off by up to 0.004; times a logit scale of 100 that is 0.4 nats. Autocast
would round the operands of a matrix product again, so it is switched off around them.
"""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """``tensor`` in float32, or unchanged if it is float64."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def full_precision(device: torch.device) -> torch.autocast:
    """A context in which matrix products keep the dtype of their operands."""
    return torch.autocast(device.type, enabled=False)
