import pytest
import torch

from mg3d.objectives.precision import at_least_float32, full_precision


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_precision_is_raised_and_never_lowered(given, wanted):
    assert at_least_float32(torch.ones(2, dtype=given)).dtype == wanted


def test_products_keep_their_precision_inside_autocast():
    square = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (square @ square).dtype == torch.bfloat16
        with full_precision(square.device):
            assert (square @ square).dtype == torch.float32
        assert (square @ square).dtype == torch.bfloat16
