"""All pairs of clauses, a block of rows at a time: what their cosines miss, and its gradient.

The number of pairs grows with the square of the number of studies, and each has two cosines, a
target and who is whose. Written as whole matrices that was most of the memory and time of large
batches; here the largest tables have a row a study and hold truth values. The loss is a sum of
absolute values, so its gradient needs signs only and is taken in the same pass.

Axes: B studies of this rank, C clauses of this rank, A those of all ranks, c rows of a block,
E and H features.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mg3d.distributed import all_gather_rows
from mg3d.objectives.contrast import related

BLOCK_PAIRS = {"cpu": 2**20, "cuda": 2**27}
"""Pairs of a block: 4 MB of cosines stay in a core's cache, 512 MB fill a GPU."""
_PATIENT = 1  # column of StudyBatch.identities()


@dataclass(frozen=True, kw_only=True)
class ClausePairs:
    """Who is whose: every clause of this rank with every clause of all ranks."""

    row: Tensor
    """(C,) int64: the study of each clause here, as a row of the tables below."""
    other_patient: Tensor
    """(B, A) bool: only these are pairs."""
    unrelated: Tensor
    """(B, A) bool: no study, patient or report in common."""

    @classmethod
    def of(cls, clause_mask_BS: Tensor, identities_B3: Tensor) -> "ClausePairs":
        """Gather from all ranks (collective).

        Args:
            clause_mask_BS: (B, S) bool.
            identities_B3: `StudyBatch.identities`.
        """
        row_C = clause_mask_BS.nonzero()[:, 0]
        identities_A3 = all_gather_rows(identities_B3[row_C])
        return cls(
            row=row_C,
            other_patient=identities_B3[:, None, _PATIENT] != identities_A3[None, :, _PATIENT],
            unrelated=~related(identities_B3, identities_A3),
        )

    @property
    def num_pairs(self) -> Tensor:
        """() int64: pairs of clauses of different patients."""
        num_B = torch.bincount(self.row, minlength=len(self.other_patient))
        return (num_B * self.other_patient.sum(dim=1)).sum()

    def blocks(self) -> list[slice]:
        """Rows of C that are worked on together."""
        size = BLOCK_PAIRS.get(self.row.device.type, BLOCK_PAIRS["cuda"])
        rows = max(1, size // max(1, self.other_patient.shape[1]))
        return [slice(i, i + rows) for i in range(0, len(self.row), rows)]


class PairErrors(torch.autograd.Function):
    """Sum of |P - Q| over similar and of |P| over dissimilar pairs, and how many there are of each.

    ``apply(visual_CE, visual_AE, reference_CH, reference_AH, pairs, cutoffs, differentiable)``, all
    rows L2-normalised, gives a scalar and (2,) int64. Gradients flow to both visual features.
    """

    @staticmethod
    def forward(
        ctx: Any,
        visual_CE: Tensor,
        visual_AE: Tensor,
        reference_CH: Tensor,
        reference_AH: Tensor,
        pairs: ClausePairs,
        cutoffs: tuple[float, float],
        differentiable: bool,
    ) -> tuple[Tensor, Tensor]:
        """Go over the blocks."""
        below, above = cutoffs
        total = visual_CE.new_zeros(())
        counts = torch.zeros(2, dtype=torch.int64, device=visual_CE.device)
        signs_by_A = torch.zeros_like(visual_CE)
        signs_by_C = torch.zeros_like(visual_AE)
        for block in pairs.blocks():
            row_c = pairs.row[block]
            text_cA = reference_CH[block] @ reference_AH.T
            positive_cA = (text_cA >= above) & pairs.other_patient[row_c]
            negative_cA = (text_cA <= below) & pairs.unrelated[row_c]
            counts += torch.stack([positive_cA.sum(), negative_cA.sum()])
            # where, for masked_fill takes five times as long on a CPU
            error_cA = visual_CE[block] @ visual_AE.T - torch.where(positive_cA, text_cA, 0)
            error_cA = torch.where(positive_cA | negative_cA, error_cA, 0)
            total += error_cA.abs().sum()
            if differentiable:
                sign_cA = error_cA.sign_()
                signs_by_A[block] = sign_cA @ visual_AE
                signs_by_C.addmm_(sign_cA.T, visual_CE[block])
        ctx.save_for_backward(signs_by_A, signs_by_C)
        ctx.mark_non_differentiable(counts)
        return total, counts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        """Scale what the forward pass found."""
        signs_by_A, signs_by_C = ctx.saved_tensors
        return grad_total * signs_by_A, grad_total * signs_by_C, None, None, None, None, None
