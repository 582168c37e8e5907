import torch
from objective_cases import MIXED, apply, build_case

from mg3d.objectives.clip import Clip, ClipConfig


def test_clip_is_plain_alignment_under_its_own_name_and_off_by_default():
    case = build_case(MIXED)
    assert torch.equal(apply("clip", case).loss, apply("plain_alignment", case).loss)
    assert Clip(ClipConfig()).name == "clip"
    assert ClipConfig().weight == 0
