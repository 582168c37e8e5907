"""Matrix products by the fastest kernel that PyTorch ships for the device.

On AMD processors MKL, which PyTorch calls for float32, leaves half of the vector unit idle; oneDNN
from the same wheel does not: 198 against 97 GFLOP/s on a Zen 5 core. Two ways lead there. Linear
layers have an operator of their own, which PyTorch's compiler emits. All other products take oneDNN
where PyTorch is told that float32 may be rounded to bfloat16 on the way, which oneDNN does on
processors with matrix tiles only: `through_onednn` says so where it has seen that nothing is
rounded. Elsewhere, and for any other precision or device, PyTorch's default computes the same.

Axes: T tokens, I inputs, O outputs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

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
    with torch.autocast(grad_TO.device.type, enabled=False), through_onednn():
        return grad_TO.t() @ x_TI


@contextmanager
def through_onednn() -> Iterator[None]:
    """Within, products of float32 matrices on the CPU take oneDNN, if that rounds nothing.

    The setting is PyTorch's for the whole process, so products in other threads may take oneDNN as
    well; they are as exact.
    """
    switch = _switch()
    if switch is None or not _is_exact():
        yield
        return
    before = switch.fp32_precision
    switch.fp32_precision = "bf16"
    try:
        yield
    finally:
        switch.fp32_precision = before


def _switch() -> Any:
    """PyTorch's setting of how oneDNN computes float32 products; releases before 2.9 have none."""
    return getattr(torch.backends.mkldnn, "matmul", None)


@cache
def _is_exact() -> bool:
    """Whether oneDNN keeps float32 as it is where it would be allowed not to."""
    switch = _switch()
    before = switch.fp32_precision
    try:
        switch.fp32_precision = "bf16"
        with torch.autocast("cpu", enabled=False):
            return multiplies_exactly(torch.matmul)
    finally:
        switch.fp32_precision = before


def multiplies_exactly(product: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Whether a product of batches of float32 matrices rounds none of their numbers.

    All numbers here have 12 significant bits, which bfloat16 (8) and TF32 (11) would round, and all
    sums fewer than 24, so the products are equal to the bit if and only if nothing is rounded. The
    shapes are those of attention: two long sides with a narrow third in each place.
    """
    for rows, inner, columns in ((47, 16, 47), (47, 47, 16), (16, 47, 47)):
        odd = 2049 + 2 * torch.arange(2 * rows * inner, device="cpu").remainder(1024)
        signs = torch.arange(2 * inner * columns, device="cpu").remainder(3) - 1
        left, right = odd.view(2, rows, inner).float(), signs.view(2, inner, columns).float()
        for one, other in ((left, right), (right.mT, left.mT)):
            if not torch.equal(product(one, other).double(), one.double() @ other.double()):
                return False
    return True
