"""Heads: the last layers in front of each objective, and the temperatures.

Objectives hold no parameters; everything they learn is here. Nothing uses batch statistics, so
the answer for a study never depends on the studies beside it.
Axes: B batch, K samples, S clauses, M masked tokens, D features, E embedding, V vocabulary.
Source: MG-3D, arXiv:2412.05876.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mg3d.errors import DataError
from mg3d.model.linear import Linear, linear

MAX_LOGIT_SCALE = 100.0
"""Ceiling of 1 / temperature, as in CLIP (arXiv:2103.00020)."""


class EmbeddingHead(nn.Module):
    """``L2(Linear(LayerNorm(x)))``: a point on the unit sphere."""

    def __init__(self, in_features: int, embedding_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_features)
        self.project = Linear(in_features, embedding_dim)

    def forward(self, vectors: Tensor) -> Tensor:
        """Embed (..., D) to (..., E), of length 1, in float32 or better."""
        projected = self.project(self.norm(vectors))
        return F.normalize(
            projected.to(torch.promote_types(projected.dtype, torch.float32)), dim=-1
        )

    @torch.no_grad()
    def scale_(self, factors_R: Tensor) -> None:
        """Set the weights to pass the first R features on, each times its factor."""
        nn.init.ones_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)
        nn.init.zeros_(self.project.bias)
        kept = min(len(factors_R), *self.project.weight.shape)
        # The other weights stay as drawn, but say nothing until they have been trained.
        self.project.weight.mul_(torch.finfo(torch.float32).eps)
        self.project.weight[:kept, :kept] += factors_R[:kept].diag().to(self.project.weight)

    @torch.no_grad()
    def whiten_(self, samples_KD: Tensor, *, shrinkage: float = 0.1) -> None:
        """Set the weights so that the samples' embeddings are centred and of equal spread.

        Fresh features of different studies point almost the same way, so the first cosines say
        little. BatchNorm would take that common part off, but makes an answer depend on the other
        studies of the batch; doing it once, before training, does not. In trials whitening by
        itself did not make the contrast of a small run take off: what volumes and reports share
        has to be found first (`mg3d.model.canonical`).

        Args:
            samples_KD: What the head will be given, (K, D), for K >= 2 different studies. The E
                directions of largest variance are kept, in decreasing order.
            shrinkage: In (0, 1]: how far variances are drawn to their mean before division, which
                keeps directions that the samples hardly show from being blown up.

        Raises:
            DataError: If there are fewer than 2 samples.
        """
        if len(samples_KD) < 2:
            raise DataError(
                f"whitening the embedding heads got {len(samples_KD)} usable studies and needs 2 "
                "or more, best several hundred; add studies with a report, or switch whitening off."
            )
        nn.init.ones_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)
        normed_KD = self.norm(samples_KD.to(self.norm.weight.dtype)).double()
        mean_D = normed_KD.mean(dim=0)
        centred_KD = normed_KD - mean_D
        covariance_DD = centred_KD.T @ centred_KD / len(centred_KD)
        variances_D, directions_DD = torch.linalg.eigh(covariance_DD)
        variances_D, directions_DD = variances_D.flip(0), directions_DD.flip(1)
        spread_D = torch.lerp(variances_D, variances_D.mean().expand_as(variances_D), shrinkage)
        eps = torch.finfo(spread_D.dtype).eps
        whitening_DD = directions_DD.T / spread_D.clamp(min=eps).sqrt()[:, None]
        kept = min(self.project.out_features, len(whitening_DD))
        nn.init.zeros_(self.project.weight)  # rows beyond D say nothing until they are trained
        self.project.weight[:kept] = whitening_DD[:kept].to(self.project.weight.dtype)
        self.project.bias.copy_(-self.project.weight.double() @ mean_D)


class ContrastiveScale(nn.Module):
    """Learned factor on cosines (1 / temperature) and, for a sigmoid loss, a learned offset."""

    def __init__(self, *, scale: float = 1 / 0.07, bias: float | None = None) -> None:
        """Start values of CLIP; SigLIP (arXiv:2303.15343) uses scale 10 and bias -10."""
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((1,), math.log(scale)))
        self.bias = None if bias is None else nn.Parameter(torch.full((1,), bias))

    def forward(self) -> Tensor:
        """The factor, (1,), at most `MAX_LOGIT_SCALE`.

        The ceiling lets the gradient through, so a scale that has reached it can come down again.
        """
        excess = (self.log_scale - math.log(MAX_LOGIT_SCALE)).clamp(min=0).detach()
        return (self.log_scale - excess).exp()


class MaskedTokenHead(nn.Module):
    """Which token was here? Dense, GELU, LayerNorm, then one logit a vocabulary entry."""

    def __init__(
        self, in_features: int, vocabulary_size: int, *, tied_features: int | None = None
    ) -> None:
        """Build the head.

        Args:
            in_features: Features D of the tokens.
            vocabulary_size: Token ids V.
            tied_features: Width H of the text encoder's input embeddings, if these decode instead
                of an own matrix.
        """
        super().__init__()
        width = in_features if tied_features is None else tied_features
        self.dense = Linear(in_features, width)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.decoder = Linear(width, vocabulary_size, bias=False) if tied_features is None else None

    def forward(self, tokens_MD: Tensor, tied_VH: Tensor | None = None) -> Tensor:
        """Logits of masked tokens.

        Args:
            tokens_MD: Features (M, D); M may be 0.
            tied_VH: The input embeddings (V, H), for a tied head only.

        Returns:
            (M, V).
        """
        hidden_MH = self.norm(F.gelu(self.dense(tokens_MD)))
        weight_VH = tied_VH if self.decoder is None else self.decoder.weight
        assert weight_VH is not None, "a tied head decodes with the input embeddings"
        return linear(hidden_MH, weight_VH, self.bias)


class MlpHead(nn.Module):
    """Linear, LayerNorm, GELU, Linear: clause features for similarity and for reconstruction."""

    def __init__(self, in_features: int, hidden_features: int, out_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Linear(in_features, hidden_features),
            nn.LayerNorm(hidden_features),
            nn.GELU(),
            Linear(hidden_features, out_features),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (..., D) to (..., out)."""
        mapped: Tensor = self.layers(vectors)
        return mapped
