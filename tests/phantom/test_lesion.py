import numpy as np
import pytest

from mg3d.phantom.anatomy import draw_anatomy
from mg3d.phantom.lesion import Draw, severity
from mg3d.phantom.settings import DIFFICULTIES


@pytest.mark.parametrize(
    ("size", "expected"), [(10, "mild"), (19.9, "mild"), (20, "moderate"), (35, "severe")]
)
def test_severity_by_thirds(size, expected):
    assert severity(size, 10, 40) == expected


@pytest.mark.parametrize("name", ["easy", "standard"])
def test_sizes_keep_to_the_level(name):
    level = DIFFICULTIES[name]
    draw = Draw(source=np.random.default_rng(0), anatomy=draw_anatomy(0, 0), level=level)
    sizes = [draw.size(10, 30) for _ in range(500)]
    low, high = (10 + 20 * share for share in level.lesion_scale)
    assert low <= min(sizes) < low + 1
    assert high - 1 < max(sizes) <= high


def test_counts_include_both_ends():
    draw = Draw(
        source=np.random.default_rng(0), anatomy=draw_anatomy(0, 0), level=DIFFICULTIES["easy"]
    )
    assert {draw.count(2, 4) for _ in range(100)} == {2, 3, 4}
