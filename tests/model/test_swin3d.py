"""The encoder's contract: sizes, features, coverage of the image, refusals, other precisions."""

import copy

import pytest
import torch

from mg3d.errors import ConfigError
from mg3d.model.outputs import FeatureInfo
from mg3d.model.swin3d import Swin3D, SwinConfig

TINY = SwinConfig(
    patch_size=4, embed_dim=12, depths=(2, 2), num_heads=(3, 6), window=(4, 3, 4)
)  # stride 16


def count(config: SwinConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Swin3D(config).parameters())


def test_parameter_counts_of_the_paper() -> None:
    assert count(SwinConfig()) == 8_062_002
    assert count(SwinConfig(embed_dim=96)) == 31_593_474


def test_feature_info_tells_channels_and_strides() -> None:
    info = Swin3D(TINY).feature_info
    assert info == (
        FeatureInfo(channels=12, stride=(4, 4, 4)),
        FeatureInfo(channels=24, stride=(8, 8, 8)),
        FeatureInfo(channels=48, stride=(16, 16, 16)),
    )


def test_tokens_are_the_last_map_x_major_and_normalised() -> None:
    torch.manual_seed(0)
    encoder = Swin3D(TINY)
    features = encoder(torch.rand(2, 1, 64, 48, 32), with_stages=True)
    assert features.grid == (4, 3, 2)
    assert [tuple(level.shape[1:]) for level in features.stages] == [
        (12, 16, 12, 8),
        (24, 8, 6, 4),
        (48, 4, 3, 2),
    ]
    assert torch.equal(features.tokens, features.stages[-1].flatten(2).transpose(1, 2))
    for level in features.stages:
        assert level.mean(1).abs().max() < 1e-5  # measured 1e-7
        assert (level.var(1, correction=0) - 1).abs().max() < 0.05  # eps of the norm; measured 6e-4
    assert encoder(torch.rand(1, 1, 16, 16, 16)).stages == ()


@pytest.mark.parametrize("merging", ["canonical", "monai"])
def test_no_voxel_is_without_gradient(merging: str) -> None:
    torch.manual_seed(0)
    encoder = Swin3D(SwinConfig(embed_dim=6, num_heads=(1, 1, 1, 1), merging=merging)).double()
    image = torch.rand(1, 1, 32, 64, 32, dtype=torch.float64, requires_grad=True)
    tokens = encoder(image).tokens
    tokens.backward(torch.randn_like(tokens))
    assert image.grad.ne(0).all()


def test_every_parameter_gets_a_gradient_and_only_key_biases_get_zero() -> None:
    torch.manual_seed(0)
    encoder = Swin3D(TINY).double()
    tokens = encoder(torch.rand(2, 1, 64, 48, 64, dtype=torch.float64)).tokens
    tokens.backward(torch.randn_like(tokens))
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        if name.endswith("qkv.bias"):  # a common key shift moves no softmax; nothing is padded here
            queries, keys, values = parameter.grad.chunk(3)
            assert keys.abs().max() < 1e-12 * values.abs().max()  # measured 7e-17
            assert queries.all()
            assert values.all()
        else:
            assert parameter.grad.any(), name


def test_batch_rows_do_not_meet() -> None:
    torch.manual_seed(0)
    encoder = Swin3D(TINY).double()
    images = torch.rand(3, 1, 32, 48, 32, dtype=torch.float64)
    together = encoder(images).tokens
    alone = torch.cat([encoder(image[None]).tokens for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-13)  # measured 2e-15


def test_hu_windows_widen_the_stem() -> None:
    config = SwinConfig(
        embed_dim=6, depths=(1,), num_heads=(1,), windows_hu=((-160, 240), (-1000, 0))
    )
    encoder = Swin3D(config)
    assert encoder.patch_embed.proj.in_channels == 2
    image = torch.full((1, 1, 4, 4, 4), 0.9)  # 800 HU: above both windows
    assert torch.equal(encoder(image).tokens, encoder(torch.ones_like(image)).tokens)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (2, 2)}, "depths .* num_heads .* different numbers of stages"),
        ({"num_heads": (3, 6, 12, 25)}, "25 heads cannot share the 384 channels of stage 4"),
        ({"window": (7, 0, 7)}, "must all be 1 or more"),
        ({"mlp_ratio": 0.0}, "mlp_ratio: 0.0"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Swin3D(SwinConfig(**changes))


def test_indivisible_grids_are_refused_with_the_nearest_one() -> None:
    encoder = Swin3D(TINY)
    encoder.check_grid((64, 48, 64))
    with pytest.raises(
        ConfigError, match=r"multiples of its stride .*nearest grid is \(64, 48, 16\)"
    ):
        encoder.check_grid((64, 50, 4))


def test_state_dict_with_monai_index_loads_strictly() -> None:
    encoder = Swin3D(TINY)
    weights = encoder.state_dict()
    assert not any("index" in name for name in weights)
    extended = dict(weights)
    extended["layers1.0.blocks.0.attn.relative_position_index"] = torch.zeros(48, 48).long()
    Swin3D(TINY).load_state_dict(extended)
    assert "layers1.0.blocks.0.attn.relative_position_index" in extended


def test_copies_and_frozen_encoders_work() -> None:
    torch.manual_seed(0)
    encoder = Swin3D(TINY)
    copied = copy.deepcopy(encoder)
    image = torch.rand(1, 1, 32, 48, 32)
    for parameter in copied.layers1.parameters():
        parameter.requires_grad_(False)
    for model in (encoder, copied):
        model(image).tokens.square().sum().mul(0.5).backward()
    for (name, free), frozen in zip(encoder.named_parameters(), copied.parameters(), strict=True):
        if name.startswith("layers1."):
            assert frozen.grad is None
        else:
            assert torch.equal(free.grad, frozen.grad), name
