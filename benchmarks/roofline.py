"""What an encoder needs at least: its operations, and how fast this machine multiplies."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from mg3d.model.products import linear
from mg3d.model.swin3d import SwinConfig
from mg3d.model.window_boxes import Triple, box_groups


def matrix_peak(dtype: torch.dtype, size: int = 1024) -> float:
    """GFLOP/s of the best product of two square matrices, by any kernel at hand."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    best = min(best_seconds(product, left, right) for product in (torch.mm, linear))
    return 2 * size**3 / best / 1e9


def best_seconds(product: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> float:
    """The fastest of many tries."""
    best = float("inf")
    for _ in range(50):
        began = time.perf_counter()
        product(left, right)
        best = min(best, time.perf_counter() - began)
    return best


def needed_flops(config: SwinConfig, shape: tuple[int, ...]) -> float:
    """Of the matrix products of a forward pass, without padding or anything computed twice."""
    sides: list[int] = [side // config.patch_size for side in shape[2:]]
    channels, flops = config.embed_dim, 2.0 * config.patch_size**3 * config.embed_dim
    flops *= sides[0] * sides[1] * sides[2]
    for depth in config.depths:
        grid: Triple = (sides[0], sides[1], sides[2])
        tokens = grid[0] * grid[1] * grid[2]
        for block in range(depth):
            flops += 2 * tokens * (4 + 2 * config.mlp_ratio) * channels**2
            groups = box_groups(grid, config.window, block % 2 == 1, "correct", torch.device("cpu"))
            for group in groups:
                pairs = group.token_index.numel() * (group.num_tokens + group.is_padded)
                flops += 4 * pairs * channels
        sides = [-(-side // 2) for side in grid]
        flops += 2 * sides[0] * sides[1] * sides[2] * 16 * channels**2
        channels *= 2
    return flops * shape[0]
