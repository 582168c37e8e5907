"""Matrix products of tokens with weights, by the fastest kernel that PyTorch ships for the device.

On AMD processors MKL, which PyTorch calls for float32, leaves half of the vector unit idle; oneDNN
from the same wheel does not: 198 against 97 GFLOP/s on a Zen 5 core. PyTorch offers oneDNN for
float32 through the operator that its own compiler emits. Where a build lacks it, or for any other
precision or device, `torch.nn.functional.linear` computes the same.

Axes: T tokens, I inputs, O outputs.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _find_onednn() -> Callable[..., Tensor] | None:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


ONEDNN_LINEAR = _find_onednn()
"""x, weight, bias, name of a function to apply, its arguments, its variant -> x weight^T + bias."""


def linear(x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """``x weight^T + bias``, (T, O)."""
    if ONEDNN_LINEAR is not None and x_TI.dtype == torch.float32 and x_TI.device.type == "cpu":
        return ONEDNN_LINEAR(x_TI, weight_OI, bias_O, "none", [], "")
    return F.linear(x_TI, weight_OI, bias_O)


def input_gradient(grad_TO: Tensor, weight_OI: Tensor) -> Tensor:
    """Gradient of ``x`` of `linear`, (T, I)."""
    return linear(grad_TO, weight_OI.t())


def weight_gradient(grad_TO: Tensor, x_TI: Tensor) -> Tensor:
    """Gradient of ``weight`` of `linear`, (O, I)."""
    if ONEDNN_LINEAR is None or grad_TO.dtype != torch.float32 or grad_TO.device.type != "cpu":
        return grad_TO.t() @ x_TI
    # oneDNN reads the second factor in either order, the first by rows: turn the narrower one
    if grad_TO.shape[1] <= x_TI.shape[1]:
        return linear(grad_TO.t().contiguous(), x_TI.t())
    return linear(x_TI.t().contiguous(), grad_TO.t()).t()
