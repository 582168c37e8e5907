"""Swin3D and MONAI's SwinTransformer with the same weights, and how far apart they are."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor, nn

from mg3d.model.swin3d import Swin3D, SwinConfig

Encode = Callable[[Tensor], Tensor]


def build_reference(config: SwinConfig, *, flash: bool = False) -> SwinTransformer:
    """MONAI's encoder of the same function."""
    torch.manual_seed(0)
    return SwinTransformer(
        in_chans=1,
        embed_dim=config.embed_dim,
        window_size=config.window,
        patch_size=(config.patch_size,) * 3,
        depths=config.depths,
        num_heads=config.num_heads,
        downsample="mergingv2",
        use_flash_attention=flash,
    )


def build_pair(config: SwinConfig, *, flash: bool = False) -> tuple[Swin3D, SwinTransformer]:
    """Both encoders with the same weights."""
    reference = build_reference(config, flash=flash)
    ours = Swin3D(config)
    ours.load_state_dict(reference.state_dict())
    return ours, reference


def ours_last_map(encoder: Swin3D) -> Encode:
    """Image -> last map (B, C, X, Y, Z)."""
    return lambda image: encoder(image, with_stages=True).stages[-1]


def reference_last_map(encoder: SwinTransformer) -> Encode:
    """Image -> last map, stage by stage: MONAI's own forward insists on four stages."""

    def encode(image: Tensor) -> Tensor:
        x = encoder.patch_embed(image)
        for stage in range(encoder.num_layers):
            x = getattr(encoder, f"layers{stage + 1}")[0](x.contiguous())
        last: Tensor = encoder.proj_out(x, True)
        return last

    return encode


def last_maps(pair: tuple[Swin3D, SwinTransformer]) -> tuple[Encode, Encode]:
    """Both sides as functions of the image."""
    return ours_last_map(pair[0]), reference_last_map(pair[1])


def forward(encode: Encode, image: Tensor, *, bfloat16: bool = False) -> Tensor:
    """The last map; autograd is as the caller has it."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        return encode(image)


def forward_backward(encode: Encode, image: Tensor, *, bfloat16: bool = False) -> None:
    """One pass in each direction."""
    forward(encode, image, bfloat16=bfloat16).float().square().mean().backward()


def with_parts_of(pair: tuple[Swin3D, SwinTransformer], part: str, config: SwinConfig) -> nn.Module:
    """Our encoder with MONAI's blocks or merging in place of ours."""
    mixed = Swin3D(config)
    for stage in range(len(config.depths)):
        name = f"layers{stage + 1}"
        theirs = getattr(pair[1], name)[0]
        ours = mixed.get_submodule(name)[0]  # type: ignore[index]
        if part == "downsample":
            ours.downsample = theirs.downsample
        else:
            ours.blocks = nn.ModuleList([Rearranged(theirs)])
    return mixed


class Rearranged(nn.Module):
    """All blocks of one of MONAI's stages, on tokens with channels last."""

    def __init__(self, stage: Any) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x_BXYZC: Tensor) -> Tensor:
        """As MONAI's stage calls them, without its merging."""
        with patch.object(self.stage, "downsample", None):
            result: Tensor = self.stage(x_BXYZC.permute(0, 4, 1, 2, 3))
        return result.permute(0, 2, 3, 4, 1)


def results(
    encode: Encode, encoder: nn.Module, image: Tensor, *, bfloat16: bool = False
) -> list[Tensor]:
    """The last map, and the gradients of the image and of all weights by name."""
    leaf = image.clone().requires_grad_()
    last = forward(encode, leaf, bfloat16=bfloat16).float()
    torch.manual_seed(2)
    inputs = [leaf, *(value for _, value in sorted(encoder.named_parameters()))]
    return [last.detach(), *torch.autograd.grad(last, inputs, torch.randn_like(last))]


def worst(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Largest error of any tensor, each relative to its largest value."""
    pairs = zip(found, truth, strict=True)
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)


@contextmanager
def scaled_scores(pair: Sequence[nn.Module], scale: float) -> Iterator[None]:
    """Within the block both encoders' queries and keys are ``scale`` times as large."""
    layers = [
        module
        for encoder in pair
        for name, module in encoder.named_modules()
        if name.endswith("qkv")
    ]
    _multiply_queries_and_keys(layers, scale)
    try:
        yield
    finally:
        _multiply_queries_and_keys(layers, 1 / scale)


@torch.no_grad()
def _multiply_queries_and_keys(layers: Sequence[Any], factor: float) -> None:
    for layer in layers:
        layer.weight[: 2 * layer.in_features].mul_(factor)


@torch.no_grad()
def largest_score(encoder: SwinTransformer, image: Tensor) -> float:
    """What enters any softmax, at most."""
    seen: list[float] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, args: seen.append(args[0].max().item()))
        for module in encoder.modules()
        if isinstance(module, nn.Softmax)
    ]
    reference_last_map(encoder)(image)
    for hook in hooks:
        hook.remove()
    return max(seen)
