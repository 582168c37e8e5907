"""Two embeddings of each study against those of all others: InfoNCE, and how often it is right.

    L = - 1 / (2 n) * sum_i [ log softmax_{j in C(i)} (scale * <l_i, r_j>)  at j = i
                            + log softmax_{j in C(i)} (scale * <r_i, l_j>)  at j = i ]

i runs over the n rows of the global batch that have a report, C(i) is i itself and every such row
that shares no study, patient or report with i: those are related, hence never negatives.
Source: A. van den Oord et al., arXiv:1807.03748 (InfoNCE); the symmetric form is that of CLIP,
arXiv:2103.00020. What this file is not: it knows nothing of where the embeddings come from.

Axes: B rows of this rank (K of them with a report), G the same over all ranks, E embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mg3d.distributed import all_gather_rows, first_row, sum_over_ranks
from mg3d.errors import ConfigError
from mg3d.objectives.precision import at_least_float32, full_precision


@dataclass(frozen=True, kw_only=True)
class PairCosines:
    """This rank's studies against everybody's; studies without a report are in neither."""

    left_to_right: Tensor
    """(K, G) cosines of the left embeddings here with the right ones of all ranks."""
    right_to_left: Tensor
    """(K, G) cosines of the right embeddings here with the left ones of all ranks."""
    own_column: Tensor
    """(K,) int64 column of the row's own pair."""
    is_negative: Tensor
    """(K, G) bool: no study, patient or report in common."""

    @property
    def is_own(self) -> Tensor:
        """(K, G) bool: the own pair."""
        columns_G = torch.arange(self.num_studies, device=self.own_column.device)
        return columns_G == self.own_column[:, None]

    @property
    def num_studies(self) -> int:
        """G, rows of the global batch that have a report."""
        return self.left_to_right.shape[1]


def pair_cosines(
    left_BE: Tensor, right_BE: Tensor, has_report_B: Tensor, identities_B3: Tensor
) -> PairCosines:
    """Compare both embeddings of this rank's studies with those of all ranks.

    Args:
        left_BE: L2-normalised, (B, E).
        right_BE: L2-normalised, (B, E).
        has_report_B: (B,) bool; rows without a report are dropped before anything is compared.
        identities_B3: `StudyBatch.identities`.

    Returns:
        Cosines in float32 or better, differentiable with respect to the rows of all ranks.
    """
    left_KE = at_least_float32(left_BE[has_report_B])
    right_KE = at_least_float32(right_BE[has_report_B])
    identities_K3 = identities_B3[has_report_B]
    left_GE, right_GE = all_gather_rows(torch.cat([left_KE, right_KE], dim=1)).chunk(2, dim=1)
    identities_G3 = all_gather_rows(identities_K3)
    num_own = left_KE.shape[0]
    start = first_row(num_own, left_KE.device)
    with full_precision(left_KE.device):
        return PairCosines(
            left_to_right=left_KE @ right_GE.T,
            right_to_left=right_KE @ left_GE.T,
            own_column=torch.arange(start, start + num_own, device=left_KE.device),
            is_negative=~related(identities_K3, identities_G3),
        )


def related(rows_R3: Tensor, columns_C3: Tensor) -> Tensor:
    """(R, C) bool: the two share a study, a patient or a report."""
    same = torch.zeros(len(rows_R3), len(columns_C3), dtype=torch.bool, device=rows_R3.device)
    for rows_R, columns_C in zip(rows_R3.unbind(1), columns_C3.unbind(1), strict=True):
        same |= rows_R[:, None] == columns_C[None, :]
    return same


def inverse_temperature(objective: str, temperature: float) -> float:
    """The factor on the cosines that ``temperature`` means.

    Raises:
        ConfigError: If the temperature is not a positive number.
    """
    if not 0 < temperature < float("inf"):
        raise ConfigError(
            f"objectives.{objective}.temperature is {temperature}; it divides cosines and must "
            "be above 0, commonly 0.01 to 1."
        )
    return 1 / temperature


def info_nce_share(pairs: PairCosines, scale: Tensor | float) -> Tensor:
    """This rank's share of the symmetric InfoNCE of the global batch.

    Args:
        pairs: From `pair_cosines`.
        scale: Positive factor on the cosines, 1 / temperature; (1,) when learned.

    Returns:
        Scalar; 0, still attached to the embeddings, where no row has a report.
    """
    is_choice_KG = pairs.is_own | pairs.is_negative
    right_K, left_K = (
        F.cross_entropy(
            (scale * cosines_KG).masked_fill(~is_choice_KG, -torch.inf),
            pairs.own_column,
            reduction="none",
        )
        for cosines_KG in (pairs.left_to_right, pairs.right_to_left)
    )
    return (right_K + left_K).sum() / max(2 * pairs.num_studies, 1)


def top1_share(pairs: PairCosines) -> Tensor:
    """This rank's share of how often the own pair beats every negative, over both directions.

    Rows without any negative are not counted (they would always be right) and a tie is a miss
    (embeddings that all collapsed to one point score 0, not 1 / G).
    """
    has_negative_K = pairs.is_negative.any(dim=1)
    num_right = torch.zeros((), dtype=torch.int64, device=has_negative_K.device)
    for cosines_KG in (pairs.left_to_right.detach(), pairs.right_to_left.detach()):
        own_K1 = cosines_KG.gather(1, pairs.own_column[:, None])
        is_beaten_K = ((cosines_KG >= own_K1) & pairs.is_negative).any(dim=1)
        num_right += (has_negative_K & ~is_beaten_K).sum()
    num_counted = sum_over_ranks(has_negative_K.sum())
    return num_right / (2 * num_counted).clamp(min=1)
