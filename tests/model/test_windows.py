"""HU windows as input channels."""

import pytest
import torch

from mg3d.errors import ConfigError
from mg3d.model.windows import HuWindows


def image_of(*hu: float) -> torch.Tensor:
    return ((torch.tensor(hu) + 1000) / 2000).view(1, 1, -1, 1, 1)


def test_no_window_is_the_image() -> None:
    image = torch.rand(2, 1, 3, 3, 3)
    stem = HuWindows(())
    assert stem(image) is image
    assert stem.num_channels == 1


def test_each_window_spreads_its_range_over_0_to_1() -> None:
    stem = HuWindows(((-1000.0, 1000.0), (-160.0, 240.0)))
    channels = stem(image_of(-1000, -160, 40, 240, 1000))
    assert stem.num_channels == 2
    torch.testing.assert_close(channels[0, 0].flatten(), torch.tensor([0, 0.42, 0.52, 0.62, 1]))
    torch.testing.assert_close(
        channels[0, 1].flatten(), torch.tensor([0, 0, 0.5, 1, 1]), rtol=0, atol=1e-6
    )  # measured 3e-8


def test_windows_are_no_weights() -> None:
    assert HuWindows(((-160.0, 240.0),)).state_dict() == {}


@pytest.mark.parametrize("window", [(240.0, -160.0), (0.0, 0.0), (-1350.0, 150.0), (0.0, 1500.0)])
def test_impossible_windows_are_refused(window: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"windows_hu: .*within \[-1000, 1000\]"):
        HuWindows((window,))
