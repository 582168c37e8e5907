"""Which words of a report and which blocks of a volume are hidden.

Every draw belongs to (seed, epoch, study or volume, purpose) and to nothing else: the same study
gets the same mask at any place of any batch, on any rank, after any resume, and with any padding.
Drawn in NumPy, one short generator a study (about 0.1 ms); masked inputs are never stored.

Axes: B batch, L report tokens, M masked tokens, X Y Z voxels.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mg3d.errors import ConfigError
from mg3d.randomness import rng

# Of the tokens that are asked for: 80 % [MASK], 10 % a random token, 10 % left as they are.
# Source: BERT, arXiv:1810.04805, section 3.1.
_MASK_BELOW = 0.8
_RANDOM_BELOW = 0.9


@dataclass(frozen=True, kw_only=True)
class MaskedTokens:
    """Reports with hidden words, on the device of the original."""

    token_ids: Tensor
    """(B, L) int64, the input with words hidden."""
    masked_positions: Tensor
    """(B, L) bool: the original token is asked for here."""
    targets: Tensor
    """(M,) int64 original ids, in row-major order of ``masked_positions``."""


def mask_words(
    token_ids: Tensor,
    word_ids: Tensor,
    study_ids: Sequence[str],
    *,
    seed: int,
    epoch: int,
    vocab_size: int,
    mask_id: int,
    special_ids: Collection[int],
    ratio: float = 0.15,
) -> MaskedTokens:
    """Hide whole words: round(ratio * words) of each report, at least one where there is any.

    Args:
        token_ids: (B, L) int64.
        word_ids: (B, L) int64, 0 on special tokens and padding, else the number of the word.
        study_ids: B names; with seed and epoch they decide the draw.
        seed: The run's seed.
        epoch: Masks are drawn anew every epoch.
        vocab_size: Random tokens are drawn from range(vocab_size) without ``special_ids``.
        mask_id: The id of [MASK].
        special_ids: Ids that are never asked for and never put in; unknown-word tokens
            belong here, for there is nothing to be guessed.
        ratio: Share of words, in (0, 1].

    Returns:
        The masked reports. All tokens of a chosen word are asked for; each of them is then
        replaced, randomised or kept on its own.

    Raises:
        ConfigError: If ``ratio`` lies outside (0, 1] or the vocabulary holds special tokens only.
    """
    _check_ratio("masked_report.mask_ratio", ratio)
    specials = np.fromiter(special_ids, dtype=np.int64)
    ordinary = np.setdiff1d(np.arange(vocab_size), specials)
    if ordinary.size == 0:
        raise ConfigError(
            f"masked_report: all {vocab_size} tokens of the vocabulary are special; nothing can "
            "be masked. Train or name a tokenizer with a real vocabulary."
        )
    original_BL = token_ids.cpu().numpy()
    words_BL = np.where(np.isin(original_BL, specials), 0, word_ids.cpu().numpy())
    masked_BL = original_BL.copy()
    positions_BL = np.zeros(original_BL.shape, dtype=bool)
    for row, study_id in enumerate(study_ids):
        generator = rng(seed, epoch, study_id, "masked_report")
        asked = _choose_words(words_BL[row], ratio, generator)
        positions_BL[row, asked] = True
        masked_BL[row, asked] = _disguise(original_BL[row, asked], mask_id, ordinary, generator)
    positions = torch.from_numpy(positions_BL).to(token_ids.device)
    return MaskedTokens(
        token_ids=torch.from_numpy(masked_BL).to(token_ids.device),
        masked_positions=positions,
        targets=token_ids[positions],
    )


def _choose_words(
    words_L: NDArray[np.int64], ratio: float, generator: np.random.Generator
) -> NDArray[np.intp]:
    """Positions of all tokens of the chosen words."""
    words = np.unique(words_L[words_L > 0])
    if words.size == 0:
        return np.empty(0, dtype=np.intp)
    chosen = generator.choice(words, size=max(1, round(ratio * words.size)), replace=False)
    return np.flatnonzero(np.isin(words_L, chosen))


def _disguise(
    tokens_M: NDArray[np.int64],
    mask_id: int,
    ordinary: NDArray[np.int64],
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """What the model sees in place of the tokens that it is asked for."""
    fate_M = generator.random(tokens_M.size)
    random_M = generator.choice(ordinary, size=tokens_M.size)
    return np.where(
        fate_M < _MASK_BELOW, mask_id, np.where(fate_M < _RANDOM_BELOW, random_M, tokens_M)
    )


def mask_blocks(
    volume_ids: Sequence[str],
    grid: tuple[int, int, int],
    *,
    seed: int,
    epoch: int,
    block: int | tuple[int, int, int] = 16,
    ratio: float = 0.5,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Hide exactly round(ratio * blocks) blocks of each volume, independently of the others.

    Args:
        volume_ids: B names; with seed and epoch they decide the draw.
        grid: Voxels along (x, y, z).
        seed: The run's seed.
        epoch: Masks are drawn anew every epoch.
        block: Size of a block in voxels, one number or one an axis.
        ratio: Share of blocks, in (0, 1].
        device: Where the mask is wanted.

    Returns:
        (B, 1, X, Y, Z) bool, True where a voxel is hidden.

    Raises:
        ConfigError: If the blocks do not fill the grid or ``ratio`` lies outside (0, 1].
    """
    _check_ratio("masked_volume.mask_ratio", ratio)
    size = (block, block, block) if isinstance(block, int) else block
    if any(edge < 1 or axis % edge for axis, edge in zip(grid, size, strict=True)):
        raise ConfigError(
            f"masked_volume.block {size} does not divide the grid {grid}; choose a block whose "
            "edges divide it along x, y and z, or change the grid."
        )
    counts = [axis // edge for axis, edge in zip(grid, size, strict=True)]
    num_blocks = int(np.prod(counts))
    hidden_BN = np.zeros((len(volume_ids), num_blocks), dtype=bool)
    for row, volume_id in enumerate(volume_ids):
        generator = rng(seed, epoch, volume_id, "masked_volume")
        hidden_BN[row, generator.permutation(num_blocks)[: round(ratio * num_blocks)]] = True
    hidden = torch.from_numpy(hidden_BN).to(device).reshape(-1, 1, *counts)
    for axis, edge in enumerate(size, start=2):
        hidden = hidden.repeat_interleave(edge, dim=axis)
    return hidden


def _check_ratio(place: str, ratio: float) -> None:
    if not 0 < ratio <= 1:
        raise ConfigError(f"{place} is {ratio}; it is a share above 0 and at most 1.")
