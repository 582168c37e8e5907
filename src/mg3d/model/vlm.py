"""VisionLanguageModel: images and token ids in, what the objectives compare out.

The model knows nothing of losses, data or processes, and has all parameters; `assembly` says
which. Axes: B batch, X Y Z voxels in RAS+ order, N image tokens, L report tokens, S clauses,
M masked tokens, H text-encoder features, D features, E embedding.
Source: MG-3D, arXiv:2412.05876.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mg3d.errors import ConfigError
from mg3d.model.aggregation import GateAggregation
from mg3d.model.assembly import FULL_METHOD, AssembledModel, ModelConfig
from mg3d.model.canonical import CanonicalPairs
from mg3d.model.heads import EmbeddingHead
from mg3d.model.outputs import FusedFeatures, ImageFeatures, TextFeatures
from mg3d.model.text import clause_means

__all__ = ["FULL_METHOD", "ModelConfig", "VisionLanguageModel"]


class VisionLanguageModel(AssembledModel):
    """Image and text encoders with all that the objectives learn on top of them.

    Encode once: `encode_image`, `encode_text`. Embeddings for use: `embed_image`, `embed_text`,
    `similarity_map`. For objectives: `plain_embeddings`, `logit_scale`, `logit_bias`,
    `fuse_clean`, `global_pair`, `aggregation`, `masked_report`, `clause_targets`,
    `masked_volume`, `reference_clauses`. Before training: `align_plain_space_`, `whiten_heads_`,
    `set_reference`.
    """

    # Encoding

    def encode_image(self, image_B1XYZ: Tensor) -> ImageFeatures:
        """Projected and typed image tokens V of volumes in [0, 1].

        Raises:
            ConfigError: If the volumes do not have the model's grid.
        """
        if tuple(image_B1XYZ.shape[2:]) != self.config.grid:
            raise ConfigError(
                f"the volumes have {tuple(image_B1XYZ.shape[2:])} voxels, the model reads "
                f"{self.config.grid}; prepare the store with grid {list(self.config.grid)}."
            )
        features: ImageFeatures = self.image_encoder(image_B1XYZ)
        tokens_BND = self.image_projection(features.tokens)
        if self.wiring.text:
            tokens_BND = tokens_BND + self.type_embedding.weight[1]
        return ImageFeatures(tokens=tokens_BND, grid=features.grid)

    def encode_text(
        self,
        token_ids_BL: Tensor,
        token_mask_BL: Tensor,
        clause_ids_BL: Tensor,
        encoded: tuple[Tensor, Tensor] | None = None,
    ) -> TextFeatures:
        """Projected and typed report tokens W and their clause means Z.

        An image-only model reads nothing: all its features of a report are zero. ``encoded`` is
        what the text encoder says of these tokens, where that is known already.
        """
        if self.wiring.text:
            hidden_BLH, mask_BL = encoded or self.text_encoder(
                token_ids_BL, token_mask_BL, clause_ids_BL
            )
            tokens_BLD = self.text_projection(hidden_BLH) + self.type_embedding.weight[0]
        else:
            mask_BL = token_mask_BL
            weight = self.image_projection.weight
            tokens_BLD = weight.new_zeros((*token_ids_BL.shape, self.config.dim))
        clauses_BSD, clause_mask_BS = clause_means(tokens_BLD, mask_BL, clause_ids_BL)
        return TextFeatures(
            tokens=tokens_BLD,
            token_mask=mask_BL,
            clause_ids=clause_ids_BL,
            clauses=clauses_BSD,
            clause_mask=clause_mask_BS,
        )

    # The plain space: one modality at a time

    def embed_image(self, image_B1XYZ: Tensor) -> Tensor:
        """(B, E), L2-normalised, comparable with `embed_text`."""
        self._require_plain_space("embeddings")
        embedding_BE: Tensor = self.image_head(self._volume(self.encode_image(image_B1XYZ)))
        return embedding_BE

    def embed_text(
        self, token_ids_BL: Tensor, token_mask_BL: Tensor, clause_ids_BL: Tensor
    ) -> Tensor:
        """(B, E), L2-normalised, comparable with `embed_image`."""
        self._require_plain_space("embeddings")
        text = self.encode_text(token_ids_BL, token_mask_BL, clause_ids_BL)
        embedding_BE: Tensor = self.text_head(self._report(text))
        return embedding_BE

    def plain_embeddings(self, image: ImageFeatures, text: TextFeatures) -> tuple[Tensor, Tensor]:
        """Image-only and text-only embeddings, (B, E) each, L2-normalised."""
        self._require_plain_space("embeddings")
        return self.image_head(self._volume(image)), self.text_head(self._report(text))

    @property
    def logit_scale(self) -> Tensor:
        """(1,) factor on plain cosines, with gradient."""
        self._require_plain_space("temperature")
        factor: Tensor = self.temperature()
        return factor

    @property
    def logit_bias(self) -> Tensor | None:
        """(1,) offset of plain logits; None but for siglip."""
        self._require_plain_space("temperature")
        return self.temperature.bias

    @torch.no_grad()
    def similarity_map(self, image_B1XYZ: Tensor, text_embedding_BE: Tensor) -> Tensor:
        """Where in the volume does it say what the text says?

        The value of a token is how much the cosine of volume and text falls when that token is
        left out of the pooling (by a positional read-out: replaced by the volume's mean token):
        exact, without gradients, positive where the token speaks for the text. Compare with the
        map of a negated prompt to cancel what every volume shares.

        Args:
            image_B1XYZ: Volumes, (B, 1, X, Y, Z).
            text_embedding_BE: From `embed_text`, (B, E) or (1, E).

        Returns:
            (B, x, y, z): one value a token; the token grid covers the volume evenly.
        """
        self._require_plain_space("embeddings")
        image = self.encode_image(image_B1XYZ)
        whole_BE = self.image_head(self._volume(image))
        without_BNE = self.image_head(self.volume_pool.leave_one_out(image.tokens))
        lost_BN = ((whole_BE[:, None] - without_BNE) * text_embedding_BE[:, None]).sum(dim=-1)
        return torch.unflatten(lost_BN, 1, image.grid)

    # Both modalities together

    def fuse_clean(self, image: ImageFeatures, text: TextFeatures) -> FusedFeatures:
        """Clean volume and clean clauses after each has looked at the other.

        A side that no objective of this model reads is None.
        """
        if "global_alignment" in self.wiring:
            tokens_BND, clauses_BSD = self.image_fusion.fuse_both(*_fusion_inputs(image, text))
            return FusedFeatures(image_tokens=tokens_BND, clauses=clauses_BSD)
        if self.wiring.fused_volume_vector:
            tokens_BND = self.image_fusion(*_fusion_inputs(image, text))
            return FusedFeatures(image_tokens=tokens_BND, clauses=None)
        return FusedFeatures(image_tokens=None, clauses=None)

    def global_pair(
        self, image: ImageFeatures, text: TextFeatures, fused: FusedFeatures
    ) -> tuple[Tensor, Tensor]:
        """u of the fused and v of the plain vectors of both modalities, (B, E) each, normalised."""
        self._require_part("global_alignment")
        fused_B2D, plain_B2D = self._pair_vectors(image, text, fused)
        return self.fused_pair_head(fused_B2D), self.plain_pair_head(plain_B2D)

    def aggregation(
        self, image: ImageFeatures, text: TextFeatures, fused: FusedFeatures
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """What the volume shows of the clauses.

        Returns:
            y and its anchor, (B, E) each, L2-normalised, for aggregation_contrast (else None);
            e (B, S, clause_dim), zeros on padding, for sentence_similarity (else None).
        """
        visual_BSD, summary_BD = self._aggregate(image, text)
        aggregated_BE = anchor_BE = clause_visual = None
        if "aggregation_contrast" in self.wiring:
            aggregated_BE = self.aggregated_head(summary_BD)
            anchor_BE = self.anchor_head(self._anchor(text, fused))
        if "sentence_similarity" in self.wiring:
            clause_visual = self.clause_head(visual_BSD) * text.clause_mask[:, :, None]
        return aggregated_BE, anchor_BE, clause_visual

    def masked_report(
        self, masked_text: TextFeatures, image: ImageFeatures, masked_positions_BL: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read hidden words back with the help of the clean volume.

        Args:
            masked_text: The report with hidden words.
            image: The clean volume.
            masked_positions_BL: (B, L) bool, the M tokens to be told.

        Returns:
            Logits (M, vocabulary) in row-major order, and the reconstruction r (B, S, D) of each
            clause, zeros on padding.
        """
        self._require_part("masked_report")
        fused_BLD = self.report_fusion(
            masked_text.tokens, image.tokens, masked_text.token_mask, _everywhere(image)
        )
        embedding_VH = self.text_encoder.token_embedding.weight
        logits_MV = self.token_head(fused_BLD[masked_positions_BL], embedding_VH)
        clauses_BSD, mask_BS = clause_means(
            fused_BLD, masked_text.token_mask, masked_text.clause_ids
        )
        return logits_MV, self.reconstruction_head(clauses_BSD) * mask_BS[:, :, None]

    def clause_targets(self, text: TextFeatures) -> Tensor:
        """t (B, S, D): normalised clauses of the clean report, without gradient."""
        return F.layer_norm(text.clauses.detach(), text.clauses.shape[-1:])

    def masked_volume(self, masked_image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Fill in a volume (B, 1, X, Y, Z) with the help of the clean report.

        The image-only model (masked_volume alone) has no help.
        """
        self._require_part("masked_volume")
        tokens_BND = masked_image.tokens
        if self.wiring.text:
            tokens_BND = self.image_fusion(*_fusion_inputs(masked_image, text))
        volume_B1XYZ: Tensor = self.decoder(tokens_BND, masked_image.grid)
        return volume_B1XYZ

    # Before training

    def reference_clauses(
        self,
        token_ids_BL: Tensor,
        token_mask_BL: Tensor,
        clause_ids_BL: Tensor,
        encoded: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """m (B, S, H): what the frozen text encoder says of each clause, less the corpus mean.

        ``encoded``: as in `encode_text`, in full precision and only where that encoder is frozen.
        """
        self._require_part("sentence_similarity")
        clauses_BSH: Tensor = self.reference(
            token_ids_BL, token_mask_BL, clause_ids_BL, trained=self.text_encoder, encoded=encoded
        )
        return clauses_BSH

    def freeze_reference_(self) -> None:
        """Make the text encoder as it is now the reference, with mean 0 and no cut-offs."""
        self._require_part("sentence_similarity")
        self.reference.freeze_(self.text_encoder)

    def set_reference(self, mean_H: Tensor, cutoffs: tuple[float, float]) -> None:
        """Store the corpus mean (H,) of `reference_clauses` and the cosine cut-offs.

        Args:
            mean_H: Mean over the clauses of the training corpus, taken after `freeze_reference_`.
            cutoffs: (dissimilar_below, similar_above) cosines of the centred clauses.

        Raises:
            ConfigError: Unless -1 <= dissimilar_below < similar_above <= 1.
        """
        self._require_part("sentence_similarity")
        self.reference.set_(mean_H, cutoffs)

    @property
    def similarity_cutoffs(self) -> tuple[float, float] | None:
        """(dissimilar_below, similar_above), None before `set_reference`."""
        self._require_part("sentence_similarity")
        return self.reference.cutoffs

    @torch.no_grad()
    def read_pools(self, image: ImageFeatures, text: TextFeatures) -> tuple[Tensor, Tensor]:
        """What enters the last linear layers of the volume pool and of the report pool."""
        volume_BN: Tensor = self.volume_pool.read(image.tokens)
        report_BM: Tensor = self.report_pool.read(text.clauses, text.clause_mask)
        return volume_BN, report_BM

    @torch.no_grad()
    def align_plain_space_(self, pairs: CanonicalPairs) -> None:
        """Start the plain space from the best linear alignment of the two pools' readings.

        Args:
            pairs: `canonical_pairs` of `read_pools` over the training split, volumes on the left.
        """
        self._require_plain_space("plain space")
        kept = min(len(pairs.correlations), self.config.dim)
        for layer, found in (
            (self.volume_pool.out, pairs.left),
            (self.report_pool.out, pairs.right),
        ):
            layer.weight.mul_(torch.finfo(torch.float32).eps)  # outputs beyond the pairs: silent
            layer.bias.zero_()
            layer.weight[:kept] = found.weight[:kept].to(layer.weight)
            layer.bias[:kept] = found.bias[:kept].to(layer.bias)
        # The cosine of two studies then weighs each pair by how well it was seen to agree.
        for head in (self.image_head, self.text_head):
            head.scale_(pairs.correlations[:kept])

    @torch.no_grad()
    def whiten_heads_(
        self, image: ImageFeatures, text: TextFeatures, *, plain_space: bool = True
    ) -> None:
        """Centre and whiten all embedding heads on some studies (see `EmbeddingHead.whiten_`).

        Args:
            image: Clean volumes of a few hundred studies, best more than D.
            text: Their reports; studies without one are left out where both are read.
            plain_space: Also the two heads of the plain space.
        """
        for name, samples_KD in self._head_inputs(image, text).items():
            if not plain_space and name in ("image_head", "text_head"):
                continue
            head = self.get_submodule(name)
            assert isinstance(head, EmbeddingHead)
            head.whiten_(samples_KD)

    def _head_inputs(self, image: ImageFeatures, text: TextFeatures) -> dict[str, Tensor]:
        """What each embedding head reads of these studies."""
        inputs: dict[str, Tensor] = {}
        fused = self.fuse_clean(image, text) if self.wiring.text else None
        has_report_B = text.clause_mask.any(dim=1)
        if self.wiring.plain_space:
            inputs["image_head"] = self._volume(image)
            inputs["text_head"] = self._report(text)[has_report_B]
        if fused is not None and "global_alignment" in self.wiring:
            fused_B2D, plain_B2D = self._pair_vectors(image, text, fused)
            inputs["fused_pair_head"] = fused_B2D[has_report_B]
            inputs["plain_pair_head"] = plain_B2D[has_report_B]
        if fused is not None and "aggregation_contrast" in self.wiring:
            _, summary_BD = self._aggregate(image, text)
            assert summary_BD is not None
            inputs["aggregated_head"] = summary_BD[has_report_B]
            inputs["anchor_head"] = self._anchor(text, fused)[has_report_B]
        return inputs

    # Shared steps

    def _volume(self, image: ImageFeatures) -> Tensor:
        """c (B, D), pooled once for all who read it."""
        if image.pooled is None:
            image.pooled = self.volume_pool(image.tokens)
        return image.pooled

    def _report(self, text: TextFeatures) -> Tensor:
        """a (B, D), pooled once for all who read it."""
        if text.pooled is None:
            text.pooled = self.report_pool(text.clauses, text.clause_mask)
        return text.pooled

    def _fused_volume(self, fused: FusedFeatures) -> Tensor:
        """c' (B, D), pooled once for all who read it."""
        if fused.pooled_image is None:
            fused.pooled_image = self.fused_volume_pool(fused.image_tokens)
        return fused.pooled_image

    def _pair_vectors(
        self, image: ImageFeatures, text: TextFeatures, fused: FusedFeatures
    ) -> tuple[Tensor, Tensor]:
        """[a'; c'] and [a; c], (B, 2 D) each."""
        fused_report_BD = self.fused_report_pool(fused.clauses, text.clause_mask)
        fused_B2D = torch.cat([fused_report_BD, self._fused_volume(fused)], dim=1)
        return fused_B2D, torch.cat([self._report(text), self._volume(image)], dim=1)

    def _aggregate(self, image: ImageFeatures, text: TextFeatures) -> tuple[Tensor, Tensor | None]:
        """x (B, S, D) and y (B, D)."""
        if not self.wiring.aggregation:
            raise _missing("aggregation_contrast or sentence_similarity")
        source = (
            self._volume(image) if isinstance(self.aggregator, GateAggregation) else image.tokens
        )
        aggregated: tuple[Tensor, Tensor | None] = self.aggregator(
            text.clauses, text.clause_mask, source
        )
        return aggregated

    def _anchor(self, text: TextFeatures, fused: FusedFeatures) -> Tensor:
        """What y is told apart by: c' for the gate, else the report alone (c' reads the same V)."""
        gated = self.config.fusion.kind == "gate"
        return self._fused_volume(fused) if gated else self._report(text)

    def _require_plain_space(self, what: str) -> None:
        if not self.wiring.plain_space:
            raise ConfigError(
                f"this model has no {what}: it was built for {', '.join(self.config.parts)}. Train "
                "with plain_alignment, clip or siglip to compare volumes with texts."
            )

    def _require_part(self, part: str) -> None:
        if part not in self.wiring:
            raise _missing(part)


def _missing(part: str) -> ConfigError:
    return ConfigError(f"this model was built without {part}; add it to model.parts.")


def _everywhere(image: ImageFeatures) -> Tensor:
    """(B, N) mask of image tokens: all exist."""
    return torch.ones(image.tokens.shape[:2], dtype=torch.bool, device=image.tokens.device)


def _fusion_inputs(
    image: ImageFeatures, text: TextFeatures
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return image.tokens, text.clauses, _everywhere(image), text.clause_mask
