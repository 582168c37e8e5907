"""What the encoder benchmark compares is the same function, and it counts what is needed."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mg3d.model.swin3d import SwinConfig

TINY = SwinConfig(
    patch_size=2,
    embed_dim=8,
    depths=(2, 2),
    num_heads=(1, 2),
    window=(3, 3, 3),
    relative_position_index="truncated",
)


@pytest.mark.parametrize("part", ["blocks", "downsample"])
def test_an_encoder_with_monais_parts_is_the_same_encoder(part: str) -> None:
    import encoder_pair

    pair = encoder_pair.build_pair(TINY)
    mixed = encoder_pair.with_parts_of(pair, part, TINY)
    mixed.patch_embed = pair[0].patch_embed
    for stage in range(2):
        ours, other = (m.get_submodule(f"layers{stage + 1}")[0] for m in (pair[0], mixed))
        if part == "blocks":
            other.downsample = ours.downsample
        else:
            other.blocks = ours.blocks
    image = torch.rand(1, 1, 16, 14, 20)
    expected = encoder_pair.ours_last_map(pair[0])(image)
    actual = encoder_pair.ours_last_map(mixed)(image)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)  # measured 1e-6


def test_needed_flops_are_those_of_windows_that_neither_pad_nor_shift() -> None:
    import encoder_pair
    import roofline

    config = replace(TINY, depths=(1, 1), window=(4, 2, 4))
    shape = (2, 1, 16, 16, 16)
    reference = encoder_pair.build_reference(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder_pair.reference_last_map(reference)(torch.rand(shape))
    assert roofline.needed_flops(config, shape) == counter.get_total_flops()


def test_errors_are_relative_to_each_tensor_and_scores_come_back() -> None:
    import encoder_pair

    ones = torch.ones(3)
    assert encoder_pair.worst([ones, 10 * ones], [ones, 8 * ones]) == pytest.approx(0.25)
    pair = encoder_pair.build_pair(TINY)
    before = [parameter.clone() for parameter in pair[1].parameters()]
    image = torch.rand(1, 1, 16, 14, 20)
    normal = encoder_pair.largest_score(pair[1], image)
    with encoder_pair.scaled_scores(pair, 4.0):
        assert encoder_pair.largest_score(pair[1], image) > 4 * normal
        truth = encoder_pair.results(encoder_pair.reference_last_map(pair[1]), pair[1], image)
        found = encoder_pair.results(encoder_pair.ours_last_map(pair[0]), pair[0], image)
        assert encoder_pair.worst(found, truth) < 1e-4  # measured 6e-6
    assert all(map(torch.equal, before, pair[1].parameters()))


def test_every_case_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import encoder
    import encoder_pair
    from comparison import Comparison

    setting = encoder.Setting("tiny", TINY, (1, 1, 16, 12, 16), 1, 1)
    table = Comparison("unsaved")
    monkeypatch.setattr(encoder, "best_seconds", lambda *_: 1.0)
    for case in ("fp32", "bf16", "flash", "ablation", "windows", "products"):
        encoder.CASES[case](setting, table)
    encoder.compare_seconds_a_volume(setting, table, bfloat16=True)
    assert len(table.rows) == 9 + 9 + 2 + 9 + 3 + 2 + 1
    assert all(row["ours"] > 0 for row in table.rows)
    assert isinstance(encoder_pair.build_reference(TINY), nn.Module)
