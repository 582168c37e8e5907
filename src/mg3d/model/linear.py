"""Linear: `nn.Linear` by the fastest product that the device has; the same parameters and function.

For the layers outside the image encoder's blocks, which have their own. Axes: I inputs, O outputs.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mg3d.model import products

_WORTHWHILE = 2**21
"""Multiplications from which a call of oneDNN costs less than it saves."""


class Linear(nn.Linear):
    """``x W^T + b`` of (..., I), giving (..., O)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """``x W^T + b`` with gradients, (..., I) -> (..., O)."""
    if not _is_faster(x, weight_OI):
        return F.linear(x, weight_OI, bias_O)
    product: Tensor = _Product.apply(x, weight_OI, bias_O)  # type: ignore[no-untyped-call]
    return product


def use_in_(module: nn.Module) -> None:
    """Let every `nn.Linear` within a foreign module compute as `Linear` does."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear


def _is_faster(x: Tensor, weight_OI: Tensor) -> bool:
    return (
        products.ONEDNN_LINEAR is not None
        and x.dtype == weight_OI.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() * weight_OI.shape[0] >= _WORTHWHILE
        and not torch.is_autocast_enabled("cpu")
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight_OI)
        flat_TI = x.reshape(-1, x.shape[-1])
        return products.linear(flat_TI, weight_OI, bias_O).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_OI = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        grad_TO = grad.reshape(-1, grad.shape[-1])
        flat_TI = x.reshape(-1, x.shape[-1])
        return (
            products.input_gradient(grad_TO, weight_OI).view_as(x) if needs_x else None,
            products.weight_gradient(grad_TO, flat_TI) if needs_weight else None,
            grad_TO.sum(dim=0) if needs_bias else None,
        )
