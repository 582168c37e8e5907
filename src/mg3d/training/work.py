"""Work: what a forward and backward pass multiplies, keeps and holds, counted while it runs.

Counts depend on the recipe and the batch alone, not on the machine; `Calibration` turns them into
seconds and gigabytes.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mg3d.model import products

_CONVOLUTIONS = ("convolution", "convolution_backward")


@dataclass(frozen=True, kw_only=True)
class Work:
    """Of one pass over some rows; differences and multiples of it are work, too."""

    products: float
    """Floating-point operations in products of matrices, attention included."""
    convolutions: float
    """Floating-point operations in convolutions."""
    moved_bytes: float
    """What operators read and write."""
    operators: float
    """How many there are: each costs a little, whatever its size."""
    kept_bytes: float
    """What the forward pass keeps for the backward pass."""

    def grown(self, other: "Work", rows: float) -> "Work":
        """This work, of n rows, carried on along the line through ``other``, of n + 1 rows."""
        values = {
            name: getattr(self, name) + rows * (getattr(other, name) - getattr(self, name))
            for name in (field.name for field in fields(self))
        }
        return Work(**values)


def count_work(function: Callable[[], Tensor], module: nn.Module) -> Work:
    """Run a forward and a backward pass and count.

    Args:
        function: Gives the scalar to call backward on.
        module: Its parameters are not what is kept: they are there anyway.
    """
    own = {p.untyped_storage().data_ptr() for p in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    counter = FlopCounterMode(display=False, custom_mapping=_onednn_formula())
    traffic = _Traffic()
    with ExitStack() as stack:
        stack.enter_context(counter)
        stack.enter_context(traffic)
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = function()
        kept_bytes = sum(kept.values())  # before backward frees one after the other
        loss.backward()  # type: ignore[no-untyped-call]
    module.zero_grad(set_to_none=True)
    by_operator = counter.get_flop_counts()["Global"]
    convolutions = sum(
        count for operator, count in by_operator.items() if str(operator).endswith(_CONVOLUTIONS)
    )
    return Work(
        products=float(sum(by_operator.values()) - convolutions),
        convolutions=float(convolutions),
        moved_bytes=float(traffic.moved_bytes),
        operators=float(traffic.operators),
        kept_bytes=float(kept_bytes),
    )


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what operators read and write; views of the same memory are free."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved_bytes = 0
        self.operators = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator and note its tensors."""
        result = func(*args, **(kwargs or {}))
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        places = {tensor.untyped_storage().data_ptr() for tensor in read}
        is_view = all(t.untyped_storage().data_ptr() in places for t in written)
        if not (is_view and not func._schema.is_mutable):
            self.operators += 1
            self.moved_bytes += sum(
                min(tensor.nbytes, tensor.untyped_storage().nbytes()) for tensor in read + written
            )
        return result


def _onednn_formula() -> dict[Any, Any]:
    """How many operations oneDNN's linear takes; PyTorch's counter does not know it."""
    if products.ONEDNN_LINEAR is None:
        return {}

    def operations(
        x: torch.Size, weight: torch.Size, *_: Any, out_shape: Any = None, **__: Any
    ) -> int:
        del out_shape
        return 2 * x.numel() * weight[0]

    return {products.ONEDNN_LINEAR: operations}
