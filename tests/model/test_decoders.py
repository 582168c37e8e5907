"""The voxel decoder: shapes, the paper's widths, and that its shortcuts change nothing."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from mg3d.errors import ConfigError
from mg3d.model.decoders import VoxelDecoder, VoxelDecoderConfig


def test_the_papers_decoder() -> None:
    decoder = VoxelDecoder(VoxelDecoderConfig(in_channels=768, stride=32))
    shapes = [tuple(stage.conv.weight.shape[:2]) for stage in decoder.stages]
    assert shapes == [(384, 768), (192, 384), (96, 192), (48, 96), (48, 48)]
    assert tuple(decoder.head.weight.shape) == (1, 48, 1, 1, 1)


def test_equals_the_literal_stack_of_layers() -> None:
    """Convolution, InstanceNorm, LeakyReLU, x2 for each stage, then 1x1x1: in this order."""
    torch.manual_seed(0)
    config = VoxelDecoderConfig(in_channels=12, stride=8, channels=(6, 5, 4))
    decoder = VoxelDecoder(config).double()
    grid = (2, 3, 4)
    tokens = torch.randn(2, 24, 12, dtype=torch.float64, requires_grad=True)
    reconstruction = decoder(tokens, grid)
    x = tokens.transpose(1, 2).reshape(2, 12, *grid)
    for stage in decoder.stages:
        x = F.conv3d(x, stage.conv.weight, padding=1)
        x = F.leaky_relu(F.instance_norm(x), 0.01)
        x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
    expected = F.conv3d(x, decoder.head.weight, decoder.head.bias)
    assert reconstruction.shape == (2, 1, 16, 24, 32)
    torch.testing.assert_close(reconstruction, expected, rtol=0, atol=1e-13)  # measured 1.1e-15
    inputs = (tokens, *decoder.parameters())
    read_out = torch.randn_like(expected)
    actual = torch.autograd.grad(reconstruction, inputs, read_out)
    wanted = torch.autograd.grad(expected, inputs, read_out)
    for ours, theirs in zip(actual, wanted, strict=True):
        assert theirs.any()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)  # measured 3.1e-13


WEIGHT_GRADIENT_ON_TWO_PLANES = """
import torch
from mg3d.model.decoders import DecoderStage
torch.manual_seed(0)
stage = DecoderStage(16, 8)
stage.norm = stage.activation = torch.nn.Identity()
x, read_out = torch.randn(4, 16, 2, 3, 2), torch.randn(4, 8, 2, 3, 2)
gradients = []
for enabled in (False, True):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        result = stage(x).float()
    gradients += torch.autograd.grad(result, stage.conv.weight, read_out)
exact, rounded = gradients
print(((rounded - exact).abs().max() / exact.abs().max()).item())
"""


def test_the_bfloat16_gradient_on_two_planes_holds_no_foreign_memory() -> None:
    """glibc fills fresh memory with 3.4e38; `nn.Conv3d` by itself then answers inf or NaN."""
    poison = {"MALLOC_PERTURB_": "128", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    command = [sys.executable, "-c", WEIGHT_GRADIENT_ON_TWO_PLANES]
    answer = subprocess.run(
        command, env=os.environ | poison, capture_output=True, text=True, check=True
    )
    assert float(answer.stdout) < 0.02  # measured 0.007


def test_default_channels_have_a_floor() -> None:
    decoder = VoxelDecoder(VoxelDecoderConfig(in_channels=64, stride=16))
    assert [stage.conv.out_channels for stage in decoder.stages] == [32, 16, 16, 16]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (VoxelDecoderConfig(stride=12), "decoder.stride: 12 .*power of two"),
        (VoxelDecoderConfig(stride=1), "decoder.stride: 1 "),
        (VoxelDecoderConfig(stride=8, channels=(4, 4)), "decoder.channels: .*3 positive numbers"),
        (VoxelDecoderConfig(stride=4, channels=(4, 0)), "decoder.channels"),
    ],
)
def test_impossible_decoders_are_refused(config: VoxelDecoderConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VoxelDecoder(config)
