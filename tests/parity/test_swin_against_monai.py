"""Swin3D against MONAI's SwinTransformer from the same state dict: outputs and all gradients.

Random biases, norms and a bias table of unit size, so that an index mixed up anywhere is seen.
Errors are relative to the largest value of the tensor compared; each tolerance states what was
measured. MONAI ships no merging that computes "legacy": `AuthorsMerging` does, in this file.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor, nn

from mg3d.model.patch_merging import Merging
from mg3d.model.swin3d import Swin3D, SwinConfig


class AuthorsMerging(nn.Module):
    """The merging of MG-3D's public code, literally: eight reads, two of them twice."""

    def __init__(self, dim: int, norm_layer: Any = nn.LayerNorm, spatial_dims: int = 3) -> None:
        super().__init__()
        self.reduction = nn.Linear(8 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(8 * dim)

    def forward(self, x: Tensor) -> Tensor:
        d, h, w = x.shape[1:4]
        x = F.pad(x, (0, 0, 0, d % 2, 0, w % 2, 0, h % 2))
        offsets = [
            (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1),
        ]  # fmt: skip
        parts = [x[:, i::2, j::2, k::2] for i, j, k in offsets]
        return self.reduction(self.norm(torch.cat(parts, dim=-1)))


REFERENCE_MERGING: dict[Merging, Any] = {
    "canonical": "mergingv2",
    "monai": "merging",
    "legacy": AuthorsMerging,
}


def build_pair(config: SwinConfig) -> tuple[Swin3D, SwinTransformer]:
    torch.manual_seed(0)
    reference = SwinTransformer(
        in_chans=1,
        embed_dim=config.embed_dim,
        window_size=config.window,
        patch_size=(config.patch_size,) * 3,
        depths=config.depths,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        qkv_bias=config.qkv_bias,
        downsample=REFERENCE_MERGING[config.merging],
    )
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if name.endswith("bias_table"):
                parameter.normal_()
            elif parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    ours = Swin3D(config)
    ours.load_state_dict(reference.state_dict())  # strict, with MONAI's relative_position_index
    return ours, reference


def relative_error(ours: Tensor, reference: Tensor) -> float:
    assert ours.shape == reference.shape
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def compare(
    config: SwinConfig, shape: tuple[int, int, int], *, batch: int = 1, dtype: torch.dtype
) -> tuple[float, float]:
    """Worst relative error of the outputs, and of the gradients of the image and all weights."""
    ours, reference = (model.to(dtype) for model in build_pair(config))
    image = torch.rand(batch, 1, *shape, dtype=dtype)
    image_ours, image_reference = (image.clone().requires_grad_() for _ in range(2))
    maps = ours(image_ours, with_stages=True).stages
    expected = monai_maps(reference, image_reference)
    read_outs = [torch.randn_like(level) for level in expected]
    torch.autograd.backward(maps, read_outs)
    torch.autograd.backward(expected, read_outs)
    outputs = max(relative_error(a, b) for a, b in zip(maps, expected, strict=True))
    named = dict(reference.named_parameters())
    gradients = [relative_error(image_ours.grad, image_reference.grad)]
    gradients += [relative_error(p.grad, named[name].grad) for name, p in ours.named_parameters()]
    assert len(gradients) == len(named) + 1
    return outputs, max(gradients)


def monai_maps(reference: SwinTransformer, image: Tensor) -> list[Tensor]:
    """MONAI's own forward, for any number of stages (its `forward` insists on four)."""
    x = reference.patch_embed(image)
    maps = [reference.proj_out(x, True)]
    for stage in range(reference.num_layers):
        x = getattr(reference, f"layers{stage + 1}")[0](x.contiguous())
        maps.append(reference.proj_out(x, True))
    return maps


def narrow(**changes: Any) -> SwinConfig:
    settings: dict[str, Any] = {
        "embed_dim": 8,
        "depths": (2, 2),
        "num_heads": (1, 2),
        "relative_position_index": "truncated",
        **changes,
    }
    return SwinConfig(**settings)


# Grids of tokens: 36 x 29 x 44 then 18 x 15 x 22: padding at the end of every axis, windows of a
# single real plane, and all kinds of shifted boxes; a quarter of that with patches of 4.
# Measured in float64: outputs 1.5e-15, gradients 1.0e-14.
@pytest.mark.parametrize(("merging", "patch_size"), [("canonical", 2), ("monai", 4)])
def test_odd_sizes(merging: Merging, patch_size: int) -> None:
    config = narrow(merging=merging, patch_size=patch_size)
    outputs, gradients = compare(config, (72, 57, 88), dtype=torch.float64)
    assert outputs < 1e-13
    assert gradients < 1e-12


# The authors' merging pads an axis by another one's parity, so it runs only where all sizes are
# even or all are odd: grids 9 x 11 x 17 (merged to 5 x 6 x 9, not merged again) and 18 x 14 x 10.
@pytest.mark.parametrize(
    ("shape", "depths"), [((18, 22, 33), (2,)), ((17, 21, 34), (2,)), ((36, 28, 20), (2, 2))]
)
def test_legacy_merging(shape: tuple[int, int, int], depths: tuple[int, ...]) -> None:
    config = narrow(merging="legacy", depths=depths, num_heads=(1, 2)[: len(depths)])
    outputs, gradients = compare(config, shape, batch=2, dtype=torch.float64)
    assert outputs < 1e-13  # measured 1.2e-15
    assert gradients < 1e-12  # measured 6.6e-15


# Other windows, patches and widths; windows that shrink to the grid on some axes or all of them,
# where "truncated" reads the table at other places than "correct".
@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"patch_size": 4, "window": (4, 3, 4)}, (64, 48, 64)),
        ({"patch_size": 4, "window": (4, 3, 4)}, (40, 44, 36)),
        ({"depths": (3,), "num_heads": (4,), "window": (7, 7, 7)}, (16, 12, 30)),
        ({"depths": (2,), "num_heads": (2,), "window": (5, 6, 2)}, (10, 26, 7)),
        ({"qkv_bias": False, "mlp_ratio": 2.0}, (30, 20, 10)),
        ({"window": (2, 1, 3), "depths": (2,), "num_heads": (1,)}, (3, 1, 9)),
    ],
)
def test_other_shapes(changes: dict[str, Any], shape: tuple[int, int, int]) -> None:
    outputs, gradients = compare(narrow(**changes), shape, batch=2, dtype=torch.float64)
    assert outputs < 1e-13  # measured 9.9e-16
    assert gradients < 1e-12  # measured 6.4e-15


def test_correct_index_equals_truncated_index_on_full_windows() -> None:
    config = narrow(relative_position_index="correct", window=(3, 3, 3))
    outputs, gradients = compare(config, (28, 21, 35), dtype=torch.float64)
    assert outputs < 1e-13  # measured 7.4e-16
    assert gradients < 1e-12  # measured 2.7e-15


def test_correct_index_differs_from_monai_on_shrunken_windows() -> None:
    outputs, _ = compare(
        narrow(relative_position_index="correct"), (20, 20, 12), dtype=torch.float64
    )
    assert outputs > 0.01  # measured 0.055


# All four stages at the sizes of training, every order of merging; only the channels are few.
@pytest.mark.parametrize("shape", [(96, 96, 96), (128, 96, 128)])
@pytest.mark.parametrize("merging", list(REFERENCE_MERGING))
def test_narrow_encoder_at_full_size(merging: Merging, shape: tuple[int, int, int]) -> None:
    config = narrow(embed_dim=4, depths=(2, 2, 2, 2), num_heads=(1, 1, 2, 4), merging=merging)
    outputs, gradients = compare(config, shape, dtype=torch.float32)
    assert outputs < 1e-5  # measured 7.9e-7
    assert gradients < 2e-4  # measured 1.9e-5


def test_swin_b_at_96_cubed() -> None:
    config = SwinConfig(relative_position_index="truncated")
    outputs, gradients = compare(config, (96, 96, 96), dtype=torch.float32)
    assert outputs < 1e-5  # measured 6.8e-7
    assert gradients < 1e-4  # measured 1.7e-5, the patch embedding's weight


def test_swin_b_at_the_papers_grid() -> None:
    config = SwinConfig(merging="monai", relative_position_index="truncated")
    ours, reference = build_pair(config)
    image = torch.rand(1, 1, 128, 96, 128)
    with torch.no_grad():
        features = ours(image)
        expected = reference(image)[-1]
    assert features.grid == (4, 3, 4)
    tokens = expected.flatten(2).transpose(1, 2)
    assert relative_error(features.tokens, tokens) < 1e-5  # measured 5.0e-7
