"""HU windows: several views of the same Hounsfield range as the channels of an encoder's input.

A radiologist reads one scan in a lung, a soft-tissue and a bone window; an encoder may be given the
same choice. The batch always holds the one image of HU [-1000, 1000] scaled to [0, 1]; the windows
are cut from it here, so that they travel with the weights and not with the data.
"""

import torch
from torch import Tensor, nn

from mg3d.errors import ConfigError
from mg3d.hu_window import WINDOW_HU


class HuWindows(nn.Module):
    """Image (B, 1, X, Y, Z) in [0, 1] -> (B, windows, X, Y, Z), each in [0, 1].

    Args:
        windows_hu: (low, high) of each channel in HU; none means the image as it is.

    Raises:
        ConfigError: If a window is empty or reaches beyond the image's range.
    """

    low: Tensor
    scale: Tensor

    def __init__(self, windows_hu: tuple[tuple[float, float], ...]) -> None:
        super().__init__()
        for low, high in windows_hu:
            if not WINDOW_HU[0] <= low < high <= WINDOW_HU[1]:
                raise ConfigError(
                    f"encoder.windows_hu: ({low:g}, {high:g}) HU is no window; low < high within "
                    f"[{WINDOW_HU[0]:g}, {WINDOW_HU[1]:g}] is allowed, e.g. (-160, 240)."
                )
        self.num_channels = max(1, len(windows_hu))
        self.windows_hu = windows_hu
        width = WINDOW_HU[1] - WINDOW_HU[0]
        lows = torch.tensor([(low - WINDOW_HU[0]) / width for low, _ in windows_hu])
        scales = torch.tensor([width / (high - low) for low, high in windows_hu])
        # constants of the configuration, not weights
        self.register_buffer("low", lows.view(-1, 1, 1, 1), persistent=False)
        self.register_buffer("scale", scales.view(-1, 1, 1, 1), persistent=False)

    def forward(self, image_B1XYZ: Tensor) -> Tensor:
        """Cut the windows, (B, 1, X, Y, Z) -> (B, windows, X, Y, Z)."""
        if not self.windows_hu:
            return image_B1XYZ
        return ((image_B1XYZ - self.low) * self.scale).clamp(0, 1)
