"""Work: what a step computes, moves and holds, noted operator by operator while it runs.

Which operators run, how often and on how much follows from the recipe and the batch, not from the
machine; a `Calibration` says how long they take there.
"""

import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mg3d.model import products

VIEW = "view"
"""Kind of the operators that only look at memory in another way."""
_LOOKUPS = ("index", "gather", "embedding", "scatter")


class Operation(NamedTuple):
    """One call of an operator."""

    kind: str
    """Its name and the number format of its result; `VIEW` for all that move nothing."""
    flops: float
    """Floating-point operations of a product or convolution, 0 of all others."""
    moved_bytes: float
    """What it reads and writes."""
    seconds: float
    """How long it took here."""


class Load(NamedTuple):
    """All operations of a kind together."""

    calls: float = 0.0
    flops: float = 0.0
    moved_bytes: float = 0.0


@dataclass(frozen=True)
class Work:
    """Of one pass over some rows; what lies on a line through two is work, too."""

    loads: dict[str, Load]
    """By kind of operator."""
    held_bytes: float
    """Most memory that tensors made in the pass took at one moment."""

    def grown(self, other: "Work", rows: float) -> "Work":
        """This work, of n rows, carried on along the line through ``other``, of n + 1 rows."""

        def carry_on(one: float, two: float) -> float:
            return max(0.0, one + rows * (two - one))

        nothing = Load()
        return Work(
            {
                kind: Load(
                    *map(carry_on, self.loads.get(kind, nothing), other.loads.get(kind, nothing))
                )
                for kind in self.loads.keys() | other.loads.keys()
            },
            carry_on(self.held_bytes, other.held_bytes),
        )


@dataclass(frozen=True)
class Trace:
    """A pass as it went."""

    operations: list[Operation]
    held_bytes: float

    @property
    def work(self) -> Work:
        """The same in sums."""
        loads: dict[str, Load] = {}
        for kind, *amounts, _ in self.operations:
            so_far = loads.get(kind, Load())
            loads[kind] = Load(
                so_far.calls + 1, so_far.flops + amounts[0], so_far.moved_bytes + amounts[1]
            )
        return Work(loads, self.held_bytes)


def trace(function: Callable[[], object]) -> Trace:
    """Run and note every operator, those of the backward pass included.

    Returns:
        All operators in their order. The clock stands between them, so what Python does there is
        not in their seconds.
    """
    notes = _Notes()
    with notes:
        function()
    return Trace(notes.operations, notes.most_bytes)


class _Notes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Times operators, and follows each piece of memory from its first use to its end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.most_bytes = 0.0
        self._bytes_now = 0
        self._alive: dict[int, object] = {}
        self._formulas = FlopCounterMode(
            display=False, custom_mapping=_onednn_formula()
        ).flop_registry
        self._on_gpu = torch.cuda.is_available()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator and note it."""
        kwargs = kwargs or {}
        self._wait()
        began = perf_counter()
        result = func(*args, **kwargs)
        self._wait()
        seconds = perf_counter() - began
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        places = {_place(tensor) for tensor in read}
        new = [tensor for tensor in written if _place(tensor) not in places]
        for tensor in new:
            self._follow(tensor)
        if not new and not func._schema.is_mutable:
            self.operations.append(Operation(VIEW, 0.0, 0.0, seconds))
            return result
        formula = self._formulas.get(func._overloadpacket)
        flops = formula(*args, **kwargs, out_val=result) if formula else 0
        kind, moved = _kind(func, written), _moved_bytes(func, read, written)
        self.operations.append(Operation(kind, float(flops), float(moved), seconds))
        return result

    def _wait(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize()

    def _follow(self, tensor: Tensor) -> None:
        storage, place = tensor.untyped_storage(), _place(tensor)
        if place in self._alive:
            return
        size = storage.nbytes()
        self._bytes_now += size
        self.most_bytes = max(self.most_bytes, self._bytes_now)

        def end(_: object) -> None:
            self._bytes_now -= size
            del self._alive[place]

        self._alive[place] = weakref.ref(storage, end)


def _moved_bytes(func: Any, read: list[Tensor], written: list[Tensor]) -> int:
    """Rows that are looked up or put in place are moved, not the table they belong to."""
    if written and any(word in func._schema.name for word in _LOOKUPS):
        return 2 * (read[-1] if func._schema.is_mutable else written[0]).nbytes
    return sum(min(t.nbytes, t.untyped_storage().nbytes()) for t in read + written)


def _kind(func: Any, written: list[Tensor]) -> str:
    name = str(func._overloadpacket).rstrip("_")  # in place or not makes no difference
    dtype = str(written[0].dtype).removeprefix("torch.") if written else "none"
    return sys.intern(f"{name} {dtype}")  # there are hundreds of thousands


def _place(tensor: Tensor) -> int:
    place: int = tensor.untyped_storage()._cdata
    return place


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
