"""FrozenText: what a frozen text encoder says of each report, asked once and remembered.

Each report is encoded alone and in full precision, so that what is remembered depends on nothing
but its text: a run that was stopped remembers nothing and gets the same bits. Masked reports are
never kept. The memory is that of the process; nothing is written to the disk.
Axes: B batch, L report tokens, H text-encoder features.
"""

import torch
from torch import Tensor

from mg3d.batch import StudyBatch
from mg3d.model.text import TextEncoder


class FrozenText:
    """A text encoder that does not learn any more, and its answers so far."""

    def __init__(self, encoder: TextEncoder, most_bytes: float) -> None:
        """Begin with an empty memory.

        Args:
            encoder: Frozen; its weights must stay as they are from now on.
            most_bytes: Memory for answers; reports beyond it are encoded in every step.
        """
        self._encoder = encoder
        self._room = most_bytes
        self._known: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, batch: StudyBatch) -> tuple[Tensor, Tensor]:
        """As `TextEncoder.forward` of a batch's own, unmasked reports: (B, L, H) and (B, L) bool.

        A study has one report, so its id stands for the text.
        """
        answers = [
            self._known.get(study_id) or self._ask(batch, row)
            for row, study_id in enumerate(batch.study_ids)
        ]
        size = (*batch.token_ids.shape, self._encoder.hidden_size)
        hidden_BLH = answers[0][0].new_zeros(size, device=batch.token_ids.device)
        mask_BL = torch.zeros_like(batch.token_mask)
        for row, (hidden_LH, mask_L) in enumerate(answers):
            hidden_BLH[row, : len(mask_L)] = hidden_LH.to(hidden_BLH.device, non_blocking=True)
            mask_BL[row, : len(mask_L)] = mask_L.to(mask_BL.device, non_blocking=True)
        return hidden_BLH, mask_BL

    @torch.no_grad()
    def _ask(self, batch: StudyBatch, row: int) -> tuple[Tensor, Tensor]:
        length = max(1, int(batch.token_mask[row].sum()))
        own = slice(row, row + 1), slice(length)
        with torch.autocast(batch.token_ids.device.type, enabled=False):
            hidden_1LH, mask_1L = self._encoder(
                batch.token_ids[own], batch.token_mask[own], batch.clause_ids[own]
            )
        answer = hidden_1LH[0].cpu(), mask_1L[0].cpu()
        num_bytes = sum(tensor.nbytes for tensor in answer)
        if num_bytes <= self._room:
            self._room -= num_bytes
            self._known[batch.study_ids[row]] = answer
        return answer
