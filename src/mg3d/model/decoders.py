"""The voxel decoder: from tokens back to a volume of the input's size (objective masked_volume).

Axes: B batch, N tokens, D features, C channels, X Y Z voxels.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mg3d.errors import ConfigError

NEGATIVE_SLOPE = 0.01  # of the LeakyReLU, as in MG-3D's public code
MIN_CHANNELS = 16


@dataclass(frozen=True, kw_only=True)
class VoxelDecoderConfig:
    """A decoder of one stage for each doubling of the resolution."""

    in_channels: int = 768
    """Features of a token."""
    stride: int = 32
    """Voxels that a token spans along each axis; a power of two. Fixes the number of stages."""
    channels: tuple[int, ...] = ()
    """Channels after each stage, coarsest first; none: halved at each stage down to a sixteenth of
    in_channels (384, 192, 96, 48, 48 for 768 and stride 32, as in the paper), at least 16."""


class VoxelDecoder(nn.Module):
    """Stages of convolution, InstanceNorm, LeakyReLU and x2 upsampling, then a 1x1x1 convolution.

    Raises:
        ConfigError: If the stride is no power of two or `channels` does not fit it.

    Source:
        MG-3D's public code, the head of its masked image modelling.
    """

    def __init__(self, config: VoxelDecoderConfig) -> None:
        super().__init__()
        num_stages = config.stride.bit_length() - 1
        if config.stride < 2 or 2**num_stages != config.stride:
            raise ConfigError(
                f"decoder.stride: {config.stride} voxels a token cannot be undone by doubling; "
                "choose an encoder whose stride is a power of two (2, 4, 8, 16, 32)."
            )
        channels = config.channels or default_channels(config.in_channels, num_stages)
        if len(channels) != num_stages or min(channels) < 1:
            raise ConfigError(
                f"decoder.channels: {channels} must hold {num_stages} positive numbers, one for "
                f"each doubling up to the stride of {config.stride}; or leave it out."
            )
        self.stride = config.stride
        widths = (config.in_channels, *channels)
        self.stages = nn.ModuleList(
            DecoderStage(wide, narrow) for wide, narrow in zip(widths, channels, strict=False)
        )
        self.head = nn.Conv3d(channels[-1], 1, kernel_size=1)

    def forward(self, tokens_BND: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Reconstruct the image.

        Args:
            tokens_BND: Tokens, x-major (z fastest).
            grid: Tokens along (x, y, z); their product is N.

        Returns:
            (B, 1, X, Y, Z) with X = grid[0] * stride and so on; no activation.
        """
        B, N, D = tokens_BND.shape
        assert math.prod(grid) == N, f"{N} tokens do not fill a grid of {grid}"
        x = tokens_BND.view(B, *grid, D).permute(0, 4, 1, 2, 3)
        for stage in self.stages[:-1]:
            x = double(stage(x))
        # A 1x1x1 convolution commutes with interpolation: the last doubling costs 1 channel, not C.
        return double(self.head(self.stages[-1](x)))


class DecoderStage(nn.Module):
    """Convolution, normalisation, activation: (B, C, X, Y, Z) -> (B, C', X, Y, Z)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        # no bias: the normalisation would remove it, and its gradient would be 0
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.norm = nn.InstanceNorm3d(out_channels)
        self.activation = nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)

    def forward(self, x_BCXYZ: Tensor) -> Tensor:
        """Refine at the same resolution."""
        # Channels last, as the tokens come: on CPU the interpolation that follows is 3 to 11 times
        # as fast, the convolution 1.4 to 2 times; InstanceNorm falls back to channels first.
        refined: Tensor = self.activation(self.norm(self._convolve(x_BCXYZ)))
        return refined.contiguous(memory_format=torch.channels_last_3d)

    def _convolve(self, x_BCXYZ: Tensor) -> Tensor:
        """``self.conv``, past a defect of oneDNN 3.x on two planes of voxels.

        Its bfloat16 weight gradient of a padded convolution over an axis x of exactly two planes
        adds memory that was never written. Padding that axis beforehand takes another kernel.
        """
        if x_BCXYZ.shape[2] != 2:
            convolved: Tensor = self.conv(x_BCXYZ)
            return convolved
        padded = F.pad(x_BCXYZ, (0, 0, 0, 0, 1, 1))
        return F.conv3d(padded, self.conv.weight, padding=(0, 1, 1))


def double(x_BCXYZ: Tensor) -> Tensor:
    """Trilinear interpolation to twice the resolution along each axis."""
    doubled: Tensor = F.interpolate(x_BCXYZ, scale_factor=2, mode="trilinear")
    return doubled


def default_channels(in_channels: int, num_stages: int) -> tuple[int, ...]:
    """Halve at each stage, not below a sixteenth of ``in_channels`` nor below `MIN_CHANNELS`."""
    floor = max(MIN_CHANNELS, in_channels // 16)
    return tuple(max(floor, in_channels // 2 ** (stage + 1)) for stage in range(num_stages))
