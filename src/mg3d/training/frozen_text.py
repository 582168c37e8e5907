"""FrozenText: what a frozen text encoder says of each report, remembered as long as there is room.

Each report is encoded alone and in full precision, so that what is remembered depends on nothing
but its text: a run that was stopped remembers nothing and gets the same bits. Encoding what is new
in a batch together would be quicker, but the shape of a product decides the order of its sums, on
CPUs and GPUs: the last bits would be those of the company a report was met in (measured 4e-7 of
the largest feature). Masked reports are never kept. The memory is that of the process, and each
process meets, in time, every report; nothing is written to the disk.
Axes: B batch, L report tokens, H text-encoder features.
"""

import torch
from torch import Tensor

from mg3d.batch import StudyBatch
from mg3d.distributed import rank
from mg3d.model.text import TextEncoder
from mg3d.progress import console


class FrozenText:
    """A text encoder that does not learn any more, and its answers so far."""

    def __init__(self, encoder: TextEncoder, most_bytes: float) -> None:
        """Begin with an empty memory.

        Args:
            encoder: Frozen; its weights must stay as they are from now on.
            most_bytes: Memory for answers; reports beyond it are encoded in every step.
        """
        self._encoder = encoder
        self._room = self._most_bytes = most_bytes
        self._is_full = most_bytes <= 0  # then nobody asked for a memory, and nothing need be said
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
        hidden_BLH, mask_BL = answers[0][0].new_zeros(size), answers[0][1].new_zeros(size[:2])
        for row, (hidden_LH, mask_L) in enumerate(answers):
            hidden_BLH[row, : len(mask_L)] = hidden_LH
            mask_BL[row, : len(mask_L)] = mask_L
        return hidden_BLH.to(batch.token_ids.device), mask_BL.to(batch.token_ids.device)

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
        elif not self._is_full:
            self._is_full = True
            self._say_full()
        return answer

    def _say_full(self) -> None:
        if rank() == 0:
            console.print(
                f"[yellow]text_cache_gb {self._most_bytes / 1e9:g} is full after "
                f"{len(self._known)} reports; the frozen text encoder reads others again in every "
                "step. If each process has the memory, raise it until the training split fits."
            )
