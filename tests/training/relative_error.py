"""How far two sets of tensors are apart. A NaN is an error of NaN, which no limit lets pass."""

from collections.abc import Mapping

import torch
from torch import Tensor


def relative_error(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], kind: str) -> float:
    """Over the names that start with ``kind``: largest difference by largest expected value."""
    names = [name for name in expected if name.startswith(kind)]
    for name in names:
        assert found[name].shape == expected[name].shape, name  # nothing is broadcast
    differences = [(found[name] - expected[name]).abs().max().double() for name in names]
    sizes = [expected[name].abs().max().double() for name in names]
    # Not the built-in max, which keeps 1e-16 of (1e-16, nan).
    return float(torch.stack(differences).max() / torch.stack(sizes).max())
