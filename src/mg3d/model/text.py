"""Report text to token features: any Hugging Face encoder, or an embedded small BERT.

Not here: tokenisation, the projection to the model's width, pooling. The invariant: a token's
feature never depends on padding, on other reports, or, under ``clause_scope="clause"``, on other
clauses. Axes: B batch, L report tokens, S clauses, H hidden size, R distinct clauses of the
batch, T tokens of the longest clause.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from mg3d.errors import ConfigError
from mg3d.model.linear import use_in_

NUM_LENGTH_GROUPS = 4  # clauses are encoded in at most this many groups of similar length
LEAST_CLAUSES = 64  # of a group; below, one more pass costs more than the padding it saves


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Which text encoder reads the reports, and how much of a report a token may see."""

    name_or_path: str | None = None
    """Hugging Face name or local folder of an encoder; none = a small BERT of the sizes below."""
    pretrained: bool = True
    """Load the weights of `name_or_path`; false builds its architecture only (from config.json)."""
    vocabulary_size: int = 4096
    """Token ids of the embedded BERT, >= 1; a named encoder brings its own."""
    hidden_size: int = 128
    """Features a token of the embedded BERT, a multiple of `num_heads`."""
    num_layers: int = 2
    """Transformer layers of the embedded BERT, >= 1."""
    num_heads: int = 4
    """Attention heads of the embedded BERT."""
    intermediate_size: int = 512
    """Width of the feed-forward layers of the embedded BERT."""
    max_positions: int = 512
    """Longest text in tokens that the embedded BERT can read."""
    frozen: bool = False
    """Keep the encoder's weights as they are once pre-training begins (the paper freezes RadBERT);
    corpus training comes before."""
    clause_scope: Literal["report", "clause"] = "report"
    """What a token attends to: the whole report, or its own clause, so that a clause means the
    same alone (as a prompt) and inside any report. With "clause", special tokens are left out."""
    start_id: int | None = None
    """Token id put before each clause under clause scope ([CLS]); none = nothing."""
    end_id: int | None = None
    """Token id put after each clause under clause scope ([SEP]); none = nothing."""
    token_skip: bool = False
    """Add the normalised input embedding of each token to its output, so that words already tell
    reports apart before the encoder has learned anything."""

    def __post_init__(self) -> None:
        if self.name_or_path is None and self.hidden_size % self.num_heads:
            raise ConfigError(
                f"text.hidden_size {self.hidden_size} is not a multiple of text.num_heads "
                f"{self.num_heads}; change one of them."
            )


class TextEncoder(nn.Module):
    """A text encoder without pooler, in float32, that never drops anything.

    The backbone stays in evaluation mode for good: method and cached-feature accumulation need
    the same output for the same input, and identical clauses are encoded only once.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        # Any: transformers' annotations differ from version to version
        self.backbone: Any = _build_backbone(config)
        use_in_(self.backbone)
        self.backbone.eval()
        self.is_frozen = config.frozen
        self.backbone.requires_grad_(not config.frozen)
        if config.token_skip and self.token_embedding.embedding_dim != self.hidden_size:
            raise ConfigError(
                f"text.token_skip: the embeddings of {config.name_or_path!r} have "
                f"{self.token_embedding.embedding_dim} features, its output {self.hidden_size}; "
                "turn text.token_skip off for this encoder."
            )

    @property
    def hidden_size(self) -> int:
        """Features a token."""
        return int(self.backbone.config.hidden_size)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids."""
        return int(self.token_embedding.num_embeddings)

    @property
    def max_tokens(self) -> int | float:
        """Longest text in tokens, infinite for an encoder without a table of positions."""
        table = getattr(getattr(self.backbone, "embeddings", None), "position_embeddings", None)
        if not isinstance(table, nn.Embedding):
            return math.inf
        # RoBERTa and its kin count positions from behind their padding id.
        return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)

    @property
    def token_embedding(self) -> nn.Embedding:
        """The table of input embeddings, (vocabulary, features)."""
        table = self.backbone.get_input_embeddings()
        assert isinstance(table, nn.Embedding)
        return table

    def train(self, mode: bool = True) -> "TextEncoder":
        """Set the mode of the module; the backbone itself stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    @contextmanager
    def thawed(self) -> Iterator[None]:
        """Within the block the encoder can be trained, even if the configuration freezes it."""
        self.is_frozen = False
        self.backbone.requires_grad_(True)
        try:
            yield
        finally:
            self.is_frozen = self.config.frozen
            self.backbone.requires_grad_(not self.config.frozen)

    def save_architecture(self, folder: Path) -> None:
        """Write ``config.json``, from which ``pretrained=False`` rebuilds the backbone."""
        self.backbone.config.save_pretrained(folder)

    def forward(
        self, token_ids_BL: Tensor, token_mask_BL: Tensor, clause_ids_BL: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode reports.

        Args:
            token_ids_BL: (B, L) int64.
            token_mask_BL: (B, L) bool, False on padding.
            clause_ids_BL: (B, L) int64, 0 special token or padding, else the clause; never
                decreasing from one clause token of a report to the next.

        Returns:
            Features (B, L, H), unspecified where masked, and their mask (B, L) bool: under clause
            scope the special tokens of the report are masked too.

        Raises:
            ConfigError: If a text is longer than the encoder can read.
        """
        track = torch.is_grad_enabled() and not self.is_frozen
        with torch.set_grad_enabled(track):
            if self.config.clause_scope == "report":
                return self._encode_rows(token_ids_BL, token_mask_BL), token_mask_BL
            return self._encode_clauses(token_ids_BL, token_mask_BL, clause_ids_BL)

    def _encode_rows(self, ids_RT: Tensor, mask_RT: Tensor) -> Tensor:
        """Features (R, T, H) of rows that know nothing of each other."""
        if ids_RT.shape[1] > self.max_tokens:
            raise ConfigError(
                f"a text of {ids_RT.shape[1]} tokens does not fit the text encoder, which reads at "
                f"most {self.max_tokens}; lower the tokenizer's max_tokens, or choose an encoder "
                "with more positions (text.max_positions of the embedded BERT)."
            )
        # A row without any token would attend to nothing and give NaN: let it see its padding.
        attended_RT = mask_RT | ~mask_RT.any(dim=1, keepdim=True)
        hidden_RTH: Tensor = self.backbone(
            input_ids=ids_RT, attention_mask=attended_RT.long()
        ).last_hidden_state
        if self.config.token_skip:
            # Raw BERT embeddings have a spread of 0.02 and would drown beside outputs of 1.
            skip_RTH = F.layer_norm(self.token_embedding(ids_RT), (self.hidden_size,))
            hidden_RTH = hidden_RTH + skip_RTH
        return hidden_RTH

    def _encode_clauses(
        self, ids_BL: Tensor, mask_BL: Tensor, clause_ids_BL: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode every distinct clause once, in a row of its own, and put the tokens back."""
        inside_BL = mask_BL & (clause_ids_BL > 0)
        rows_M, positions_M, num_rows = _clause_rows(clause_ids_BL, inside_BL)
        starts = self.config.start_id is not None
        lengths_R = torch.bincount(rows_M, minlength=num_rows) + int(starts)
        num_positions = max(1, int(lengths_R.max()) + int(self.config.end_id is not None))
        rows_RT = ids_BL.new_full((num_rows, num_positions), self._pad_id)
        rows_RT[rows_M, positions_M + int(starts)] = ids_BL[inside_BL]
        if self.config.start_id is not None:
            rows_RT[:, 0] = self.config.start_id
        if self.config.end_id is not None:
            rows_RT.scatter_(1, lengths_R[:, None], self.config.end_id)
            lengths_R = lengths_R + 1
        # Reports repeat themselves ("no pleural effusion."): the same clause is encoded once.
        keyed_RK = torch.cat([lengths_R[:, None], rows_RT], dim=1)
        keyed_UK, unique_R = torch.unique(keyed_RK, dim=0, return_inverse=True)
        hidden_UTH = self._encode_sorted(keyed_UK[:, 1:], keyed_UK[:, 0])
        # A table look-up, because the gradient of plain indexing adds up the uses of a shared
        # clause in whatever order the threads arrive, and a resumed run would drift off.
        places_M = unique_R[rows_M] * num_positions + positions_M + int(starts)
        hidden_BLH = hidden_UTH.new_zeros((*ids_BL.shape, self.hidden_size))
        hidden_BLH[inside_BL] = F.embedding(places_M, hidden_UTH.flatten(0, 1))
        return hidden_BLH, inside_BL

    def _encode_sorted(self, rows_UT: Tensor, lengths_U: Tensor) -> Tensor:
        """Features (U, T, H) of rows that lie in order of length: a few at a time, less padding.

        One clause of 28 tokens among 400 of about 10 made all of this 1.8 times as slow.
        """
        size = max(LEAST_CLAUSES, math.ceil(len(rows_UT) / NUM_LENGTH_GROUPS))
        ends = torch.arange(size, len(rows_UT) + size, size, device=rows_UT.device) - 1
        longest = lengths_U[ends.clamp(max=len(rows_UT) - 1)].clamp(min=1).tolist()
        features = []
        for rows_uT, lengths_u, length in zip(
            torch.split(rows_UT, size), torch.split(lengths_U, size), longest, strict=True
        ):
            inside_uT = torch.arange(length, device=rows_uT.device) < lengths_u[:, None]
            hidden_uTH = self._encode_rows(rows_uT[:, :length], inside_uT)
            features.append(F.pad(hidden_uTH, (0, 0, 0, rows_UT.shape[1] - length)))
        return torch.cat(features)

    @property
    def _pad_id(self) -> int:
        return int(getattr(self.backbone.config, "pad_token_id", None) or 0)


def _clause_rows(clause_ids_BL: Tensor, inside_BL: Tensor) -> tuple[Tensor, Tensor, int]:
    """Number the clauses of a batch through.

    Returns:
        For each of the M tokens inside a clause, in row-major order, the number of its clause and
        its place in it, both (M,) int64; and the number of clauses, at least 1.
    """
    num_clauses_B = torch.where(inside_BL, clause_ids_BL, 0).amax(dim=1)
    first_B = num_clauses_B.cumsum(0) - num_clauses_B
    rows_M = (first_B[:, None] + clause_ids_BL - 1)[inside_BL]
    num_rows = max(1, int(num_clauses_B.sum()))
    lengths_R = torch.bincount(rows_M, minlength=num_rows)
    starts_R = lengths_R.cumsum(0) - lengths_R
    positions_M = torch.arange(len(rows_M), device=rows_M.device) - starts_R[rows_M]
    return rows_M, positions_M, num_rows


def clause_means(
    tokens_BLD: Tensor, token_mask_BL: Tensor, clause_ids_BL: Tensor
) -> tuple[Tensor, Tensor]:
    """Average the tokens of each clause.

    Args:
        tokens_BLD: Token features (B, L, D).
        token_mask_BL: (B, L) bool; masked tokens belong to no clause.
        clause_ids_BL: (B, L) int64, 0 = no clause, 1..S = clause.

    Returns:
        (B, S, D), zeros for clauses without a token, and (B, S) bool: which have one. S is the
        largest clause id of the batch, at least 1.
    """
    num_clauses = max(1, int(clause_ids_BL.max())) if clause_ids_BL.numel() else 1
    numbers_S = torch.arange(1, num_clauses + 1, device=clause_ids_BL.device)
    member_BSL = (clause_ids_BL[:, None, :] == numbers_S[:, None]) & token_mask_BL[:, None, :]
    counts_BS = member_BSL.sum(dim=2)
    # 0 * inf of an unspecified padding feature would be NaN, so padding is cleared first.
    clean_BLD = tokens_BLD.masked_fill(~token_mask_BL[:, :, None], 0)
    sums_BSD = member_BSL.to(tokens_BLD.dtype) @ clean_BLD
    return sums_BSD / counts_BS.clamp(min=1)[:, :, None], counts_BS > 0


def _build_backbone(config: TextConfig) -> nn.Module:
    if config.name_or_path is None:
        sizes = BertConfig(
            vocab_size=config.vocabulary_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=config.max_positions,
            type_vocab_size=1,
        )
        small: nn.Module = BertModel(sizes, add_pooling_layer=False)
        return small
    return _named_backbone(config.name_or_path, pretrained=config.pretrained)


def _named_backbone(name_or_path: str, *, pretrained: bool) -> nn.Module:
    try:
        architecture = AutoConfig.from_pretrained(name_or_path)
        if architecture.is_encoder_decoder:
            raise ConfigError(
                f"text.name_or_path {name_or_path!r} is an encoder-decoder "
                f"({architecture.model_type}); name an encoder such as a BERT or RoBERTa."
            )
        loader: Any = AutoModel
        backbone: nn.Module = (
            loader.from_pretrained(name_or_path) if pretrained else loader.from_config(architecture)
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"text.name_or_path {name_or_path!r} could not be loaded as a Hugging Face encoder "
            f"({type(error).__name__}). Check the name, or download it once and name the local "
            "folder; without it the embedded BERT is used (text.name_or_path: null)."
        ) from error
    if getattr(backbone, "pooler", None) is not None:
        # Nothing reads it, so it would never get a gradient.
        backbone.register_module("pooler", None)
    return backbone.float()
