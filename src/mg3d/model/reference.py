"""ClauseReference: the fixed yardstick that says how alike two clauses read.

Sentence similarity compares visual features with these. Were they trained too, the two sides could
agree on a constant. Raw clause means of a BERT have cosines of .75 to .96, so the corpus mean is
taken off, and what counts as alike or unrelated comes from the training corpus.
Axes: B batch, L report tokens, S clauses, H text-encoder features.
"""

import copy
import math

import torch
from torch import Tensor, nn

from mg3d.errors import ConfigError
from mg3d.model.text import TextEncoder, clause_means


class ClauseReference(nn.Module):
    """A frozen text encoder, the corpus mean of its clauses, and two cosine cut-offs.

    The state dict holds all of it. Where the model's own text encoder is frozen it serves itself,
    and no copy is kept.
    """

    mean: Tensor
    _cutoffs: Tensor

    def __init__(self, text_encoder: TextEncoder) -> None:
        super().__init__()
        frozen = text_encoder.config.frozen
        self.encoder = None if frozen else copy.deepcopy(text_encoder).requires_grad_(False)
        self.register_buffer("mean", torch.zeros(text_encoder.hidden_size))
        self.register_buffer("_cutoffs", torch.full((2,), math.nan))

    @torch.no_grad()
    def forward(
        self,
        token_ids_BL: Tensor,
        token_mask_BL: Tensor,
        clause_ids_BL: Tensor,
        *,
        trained: TextEncoder,
        encoded: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Centred clause features (B, S, H), zeros on padding.

        Full precision also under autocast, so that cut-offs hold. ``trained`` is the model's text
        encoder, used where it is frozen; ``encoded`` what it said of these tokens, if known.
        """
        encoder = trained if self.encoder is None else self.encoder
        with torch.autocast(token_ids_BL.device.type, enabled=False):
            hidden_BLH, mask_BL = encoded or encoder(token_ids_BL, token_mask_BL, clause_ids_BL)
            clauses_BSH, clause_mask_BS = clause_means(hidden_BLH, mask_BL, clause_ids_BL)
            return (clauses_BSH - self.mean) * clause_mask_BS[:, :, None]

    @torch.no_grad()
    def freeze_(self, text_encoder: TextEncoder) -> None:
        """Copy the weights of ``text_encoder`` as they are now; forget mean and cut-offs."""
        if self.encoder is not None:
            self.encoder.load_state_dict(text_encoder.state_dict())
        self.mean.zero_()
        self._cutoffs.fill_(math.nan)

    @torch.no_grad()
    def set_(self, mean_H: Tensor, cutoffs: tuple[float, float]) -> None:
        """Store mean and cut-offs; see `VisionLanguageModel.set_reference`."""
        if not -1 <= cutoffs[0] < cutoffs[1] <= 1:
            raise ConfigError(
                f"similarity cut-offs {cutoffs} must be increasing cosines; give a lower "
                "dissimilar_below or a higher similar_above."
            )
        self.mean.copy_(mean_H)
        self._cutoffs.copy_(torch.tensor(cutoffs))

    @property
    def cutoffs(self) -> tuple[float, float] | None:
        """(dissimilar_below, similar_above), None before `set_`."""
        below, above = self._cutoffs.tolist()
        return None if math.isnan(below) else (below, above)
