"""What a model is assembled from: its configuration, and the modules that its objectives need.

`VisionLanguageModel` adds what it computes. Axes: N image tokens, C encoder channels, D features.
"""

import math
from dataclasses import dataclass, field

from torch import nn

from mg3d.model.aggregation import AttentionAggregation, GateAggregation
from mg3d.model.decoders import VoxelDecoder, VoxelDecoderConfig
from mg3d.model.fusion import FusionConfig, FusionStack
from mg3d.model.heads import ContrastiveScale, EmbeddingHead, MaskedTokenHead, MlpHead
from mg3d.model.linear import Linear
from mg3d.model.parts import Wiring
from mg3d.model.pooling import PoolingConfig, build_report_pool, build_volume_pool
from mg3d.model.reference import ClauseReference
from mg3d.model.swin3d import Swin3D, SwinConfig
from mg3d.model.text import TextConfig, TextEncoder

FULL_METHOD = (
    "masked_report",
    "masked_volume",
    "plain_alignment",
    "global_alignment",
    "aggregation_contrast",
    "sentence_similarity",
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Architecture of a run. The defaults have the paper's sizes."""

    grid: tuple[int, int, int] = (128, 96, 128)
    """Voxels of a volume along x (left to right), y (back to front), z (feet to head)."""
    parts: tuple[str, ...] = FULL_METHOD
    """Objectives whose parameters exist; without text ones the model is image-only."""
    dim: int = 768
    """Features of image and report tokens after their projections."""
    embedding_dim: int = 512
    """Size of every L2-normalised embedding that is contrasted."""
    clause_dim: int = 128
    """Size of the visual feature of a clause (sentence_similarity)."""
    image: SwinConfig = field(default_factory=SwinConfig)
    """Image encoder."""
    text: TextConfig = field(default_factory=TextConfig)
    """Text encoder."""
    fusion: FusionConfig = field(default_factory=FusionConfig)
    """How the modalities are mixed."""
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    """How tokens become one vector."""
    decoder_channels: tuple[int, ...] = ()
    """Channels after each upsampling of the voxel decoder (masked_volume); empty = halved each
    time, down to a sixteenth of dim."""
    tied_tokens: bool = True
    """Decode masked tokens with the text encoder's input embeddings instead of an own matrix."""


class AssembledModel(nn.Module):
    """Every parameter of a run, from encoders to temperatures; none that no objective reads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.wiring = Wiring.of(config.parts, config.fusion.kind)
        self.image_encoder = Swin3D(config.image)
        self.image_encoder.check_grid(config.grid)
        last = self.image_encoder.feature_info[-1]
        self.num_tokens = math.prod(config.grid) // math.prod(last.stride)
        self.image_projection = Linear(last.channels, config.dim)
        if self.wiring.text:
            self._build_text()
        self._build_pools()
        self._build_heads()
        if "masked_volume" in self.wiring:
            self.decoder = VoxelDecoder(
                VoxelDecoderConfig(
                    in_channels=config.dim, stride=last.stride[0], channels=config.decoder_channels
                )
            )

    def _build_text(self) -> None:
        config, wiring = self.config, self.wiring
        self.text_encoder = TextEncoder(config.text)
        self.text_projection = Linear(self.text_encoder.hidden_size, config.dim)
        self.type_embedding = nn.Embedding(2, config.dim)
        nn.init.normal_(self.type_embedding.weight, std=0.02)  # as BERT's own type embedding
        if wiring.image_fusion:
            self.image_fusion = FusionStack(
                config.dim, config.fusion, both_sides="global_alignment" in wiring
            )
        if "masked_report" in wiring:
            self.report_fusion = FusionStack(
                config.dim,
                config.fusion,
                both_sides=False,
                mean_over_padding=config.fusion.mean_over_padding,
            )
        if wiring.aggregation:
            self.aggregator: GateAggregation | AttentionAggregation = (
                GateAggregation(config.dim)
                if config.fusion.kind == "gate"
                else AttentionAggregation(
                    config.dim,
                    heads=config.fusion.heads,
                    summary="aggregation_contrast" in wiring,
                )
            )
        if "sentence_similarity" in wiring:
            self.reference = ClauseReference(self.text_encoder)

    def _build_pools(self) -> None:
        config, num_tokens = self.config, self.num_tokens
        if self.wiring.volume_vector:
            self.volume_pool = build_volume_pool(config.dim, num_tokens, config.pooling)
        if self.wiring.report_vector:
            self.report_pool = build_report_pool(config.dim, config.pooling)
        if self.wiring.fused_volume_vector:
            self.fused_volume_pool = build_volume_pool(config.dim, num_tokens, config.pooling)
        if "global_alignment" in self.wiring:
            self.fused_report_pool = build_report_pool(config.dim, config.pooling)

    def _build_heads(self) -> None:
        config, wiring = self.config, self.wiring
        dim, embedding_dim = config.dim, config.embedding_dim
        if wiring.plain_space:
            self.image_head = EmbeddingHead(dim, embedding_dim)
            self.text_head = EmbeddingHead(dim, embedding_dim)
            self.temperature = (
                ContrastiveScale(scale=10.0, bias=-10.0)
                if "siglip" in wiring
                else ContrastiveScale()
            )
        if "global_alignment" in wiring:
            self.fused_pair_head = EmbeddingHead(2 * dim, embedding_dim)
            self.plain_pair_head = EmbeddingHead(2 * dim, embedding_dim)
        if "aggregation_contrast" in wiring:
            self.aggregated_head = EmbeddingHead(dim, embedding_dim)
            self.anchor_head = EmbeddingHead(dim, embedding_dim)
        if "sentence_similarity" in wiring:
            self.clause_head = MlpHead(dim, dim // 2, config.clause_dim)
        if "masked_report" in wiring:
            table = self.text_encoder.token_embedding
            self.token_head = MaskedTokenHead(
                dim,
                table.num_embeddings,
                tied_features=table.embedding_dim if config.tied_tokens else None,
            )
            self.reconstruction_head = MlpHead(dim, dim, dim)
