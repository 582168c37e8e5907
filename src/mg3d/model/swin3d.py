"""The 3D Swin transformer: an image encoder that turns a CT volume into tokens.

The function is that of MONAI's `SwinTransformer` (and of MG-3D's public encoder, by option), from
the same state dict; how it is computed is not (`swin_block`). Positions enter by the relative
biases only, so any grid fits any weights.

Axes: B batch, X Y Z voxels or tokens, N tokens, C channels.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from mg3d.errors import ConfigError
from mg3d.model.linear import linear
from mg3d.model.outputs import FeatureInfo, ImageFeatures
from mg3d.model.patch_merging import Merging, PatchMerging
from mg3d.model.swin_block import SwinBlock
from mg3d.model.window_boxes import RelativePositions
from mg3d.model.windows import HuWindows


@dataclass(frozen=True, kw_only=True)
class SwinConfig:
    """A 3D Swin transformer; the defaults are Swin-B of MG-3D (8.06 million parameters)."""

    patch_size: int = 2
    """Side of the cube of voxels that becomes one token of the first stage."""
    embed_dim: int = 48
    """Channels of the first stage; each stage doubles them (48: Swin-B, 96: Swin-L)."""
    depths: tuple[int, ...] = (2, 2, 2, 2)
    """Blocks of each stage; every stage ends in a merging that halves the grid."""
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    """Attention heads of each stage; must divide the stage's channels."""
    window: tuple[int, int, int] = (7, 7, 7)
    """Tokens along (x, y, z) that attend to each other; dividing the grid avoids padding."""
    merging: Merging = "canonical"
    """Order of the eight sub-grids in patch merging: "canonical" (MONAI mergingv2), "monai" (MONAI
    1.5 or later, merging), or "legacy" for weights of MG-3D's public code or older MONAI (drops a
    quarter of the tokens; never for new training)."""
    relative_position_index: RelativePositions = "correct"
    """Biases of windows that a small grid shrinks: "correct" reads those of the true relative
    positions; "truncated" reads MONAI's, needed for weights that were trained with them."""
    mlp_ratio: float = 4.0
    """Hidden channels of the MLPs, as a multiple of the stage's channels."""
    qkv_bias: bool = True
    """Whether queries, keys and values have a bias."""
    recompute: bool = True
    """Keep little for the backward pass and compute it again: less memory, a little slower. Does
    not change what is computed; turn off for small volumes."""
    windows_hu: tuple[tuple[float, float], ...] = ()
    """HU windows (low, high) within [-1000, 1000], each an input channel; none: the image."""


class Swin3D(nn.Module):
    """The encoder; see `SwinConfig`.

    Raises:
        ConfigError: If the configuration contradicts itself.
    """

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.windows = HuWindows(config.windows_hu)
        self.patch_embed = PatchEmbed(
            self.windows.num_channels, config.embed_dim, config.patch_size
        )
        self.num_stages = len(config.depths)
        for stage in range(self.num_stages):
            # a list of one, and a number from 1: MONAI's names
            self.add_module(f"layers{stage + 1}", nn.ModuleList([SwinStage(config, stage)]))
        self.feature_info = tuple(
            FeatureInfo(channels=config.embed_dim * 2**level, stride=(stride, stride, stride))
            for level in range(self.num_stages + 1)
            if (stride := config.patch_size * 2**level)
        )

    def forward(self, image_B1XYZ: Tensor, *, with_stages: bool = False) -> ImageFeatures:
        """Encode volumes.

        Args:
            image_B1XYZ: HU [-1000, 1000] scaled to [0, 1], (B, 1, X, Y, Z). Sizes that the stride
                does not divide are padded with zeros on the way, as in MONAI.
            with_stages: Also return the map before each stage and after the last, as `feature_info`
                lists them.

        Returns:
            Tokens (B, N, C) of the last stage. They and the maps are normalised over channels by a
            LayerNorm without parameters.
        """
        x = self.patch_embed(self.windows(image_B1XYZ))
        maps = [x]
        for stage in range(self.num_stages):
            x = cast(nn.ModuleList, self.get_submodule(f"layers{stage + 1}"))[0](x)
            maps.append(x)
        last = _normalise(x)
        levels = [*map(_normalise, maps[:-1]), last] if with_stages else []
        return ImageFeatures(
            tokens=last.flatten(1, 3),
            grid=cast(tuple[int, int, int], tuple(last.shape[1:4])),
            stages=tuple(level.permute(0, 4, 1, 2, 3) for level in levels),
        )

    def check_grid(self, shape: tuple[int, int, int]) -> None:
        """Refuse a volume that would have to be padded.

        Raises:
            ConfigError: If the stride does not divide a side.
        """
        stride = self.feature_info[-1].stride
        if any(side < step or side % step for side, step in zip(shape, stride, strict=True)):
            nearest = tuple(
                max(1, round(side / step)) * step for side, step in zip(shape, stride, strict=True)
            )
            raise ConfigError(
                f"grid {shape} voxels: the image encoder needs multiples of its stride {stride} "
                f"(patch_size {self.config.patch_size}, {self.num_stages} stages). "
                f"The nearest grid is {nearest}; or use a smaller patch_size or fewer depths."
            )


class PatchEmbed(nn.Module):
    """Cubes of voxels -> tokens: a convolution with stride = kernel, as one matrix product."""

    def __init__(self, in_channels: int, embed_dim: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv3d(in_channels, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, image_BCXYZ: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> (B, X / patch, Y / patch, Z / patch, embed_dim)."""
        side = self.patch_size
        pads = [-size % side for size in image_BCXYZ.shape[2:]]
        if any(pads):
            image_BCXYZ = F.pad(image_BCXYZ, (0, pads[2], 0, pads[1], 0, pads[0]))
        B, C, X, Y, Z = image_BCXYZ.shape
        cubes = image_BCXYZ.reshape(B, C, X // side, side, Y // side, side, Z // side, side)
        cubes = cubes.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)
        tokens = linear(cubes, self.proj.weight.flatten(1), self.proj.bias)
        return tokens.to(self.proj.weight.dtype)


class SwinStage(nn.Module):
    """Blocks, unshifted and shifted in turn, then a merging."""

    def __init__(self, config: SwinConfig, stage: int) -> None:
        super().__init__()
        channels = config.embed_dim * 2**stage
        self.blocks = nn.ModuleList(
            SwinBlock(
                channels,
                config.num_heads[stage],
                config.window,
                shifted=block % 2 == 1,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                relative_positions=config.relative_position_index,
                recompute=config.recompute,
            )
            for block in range(config.depths[stage])
        )
        self.downsample = PatchMerging(channels, config.merging)

    def forward(self, x_BXYZC: Tensor) -> Tensor:
        """(B, X, Y, Z, C) -> (B, X / 2, Y / 2, Z / 2, 2 C)."""
        for block in self.blocks:
            x_BXYZC = block(x_BXYZC)
        # the residual stream stays in the weights' precision, also under autocast
        merged: Tensor = self.downsample(x_BXYZC)
        return merged.to(x_BXYZC.dtype)


def _normalise(x_BXYZC: Tensor) -> Tensor:
    return F.layer_norm(x_BXYZC, x_BXYZC.shape[-1:])


def _check(config: SwinConfig) -> None:
    if len(config.depths) != len(config.num_heads) or not config.depths:
        raise ConfigError(
            f"encoder: depths {config.depths} and num_heads {config.num_heads} describe different "
            "numbers of stages; give both one entry a stage."
        )
    for stage, heads in enumerate(config.num_heads):
        channels = config.embed_dim * 2**stage
        if heads < 1 or channels % heads:
            raise ConfigError(
                f"encoder.num_heads: {heads} heads cannot share the {channels} channels of stage "
                f"{stage + 1}; choose a divisor of {channels}."
            )
    if min(config.patch_size, config.embed_dim, *config.depths, *config.window) < 1:
        raise ConfigError(
            f"encoder: patch_size {config.patch_size}, embed_dim {config.embed_dim}, depths "
            f"{config.depths} and window {config.window} must all be 1 or more."
        )
    hidden = config.embed_dim * config.mlp_ratio
    if not (math.isfinite(hidden) and hidden >= 1):
        raise ConfigError(
            f"encoder.mlp_ratio: {config.mlp_ratio} leaves the MLP without channels; 4 is usual."
        )
