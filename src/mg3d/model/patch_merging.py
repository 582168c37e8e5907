"""Patch merging: eight neighbouring tokens become one, with twice the channels.

Three orders of the eight sub-grids exist in the field; `MERGING_ORDERS` names them. "legacy" is not
an order but a defect that old weights were trained with (Swin UNETR before MONAI 1.5, and MG-3D's
public code): it reads two sub-grids twice and two never. It exists to load those weights.

Axes: B batch, X Y Z grid, C channels.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mg3d.errors import ConfigError
from mg3d.model.linear import Linear

Merging = Literal["canonical", "monai", "legacy"]

MERGING_ORDERS: dict[Merging, tuple[int, ...]] = {
    "canonical": (0b000, 0b001, 0b010, 0b011, 0b100, 0b101, 0b110, 0b111),
    "monai": (0b000, 0b100, 0b010, 0b001, 0b110, 0b101, 0b011, 0b111),
    "legacy": (0b000, 0b100, 0b010, 0b001, 0b101, 0b010, 0b001, 0b111),
}
"""Sub-grids in the order in which their channels are concatenated; the bits are the offsets along
x, y and z. MONAI calls "canonical" mergingv2 and, since 1.5, "monai" merging."""


class PatchMerging(nn.Module):
    """LayerNorm over the eight tokens' channels, then a linear map (8 C -> 2 C)."""

    def __init__(self, channels: int, merging: Merging) -> None:
        super().__init__()
        self.merging = merging
        self.norm = nn.LayerNorm(8 * channels)
        self.reduction = Linear(8 * channels, 2 * channels, bias=False)

    def forward(self, x_BXYZC: Tensor) -> Tensor:
        """Halve the grid (odd sizes are padded), (B, X, Y, Z, C) -> (B, X', Y', Z', 2 C).

        Raises:
            ConfigError: If "legacy" meets a grid with odd and even sizes; it never worked there.
        """
        X, Y, Z = x_BXYZC.shape[1:4]
        pad_x, pad_y, pad_z = X % 2, Y % 2, Z % 2
        if self.merging == "legacy" and not pad_x == pad_y == pad_z:
            raise ConfigError(
                f"encoder.merging: 'legacy' cannot merge a grid of {(X, Y, Z)} tokens; it needs "
                "sizes that are all even or all odd. Choose an image whose sides are divisible by "
                "the encoder's stride, or merging 'canonical'."
            )
        if pad_x or pad_y or pad_z:
            x_BXYZC = F.pad(x_BXYZC, (0, 0, 0, pad_z, 0, pad_y, 0, pad_x))
        # One permuted copy. Concatenating eight strided slices took 29 ms with its backward where
        # this takes 4 (48 x 48 x 48 tokens of 48 channels, one core).
        B, X, Y, Z, C = x_BXYZC.shape
        pairs = x_BXYZC.view(B, X // 2, 2, Y // 2, 2, Z // 2, 2, C)
        cells = pairs.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6)
        if self.merging != "canonical":
            cells = cells[:, :, :, :, list(MERGING_ORDERS[self.merging])]
        merged: Tensor = self.reduction(self.norm(cells.flatten(4)))
        return merged
