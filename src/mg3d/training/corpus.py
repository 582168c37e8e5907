"""Training the text encoder alone, on the reports of the training split, before the volumes come.

Masked language modelling on what the encoder will read: whole reports, or single clauses where
clauses are encoded independently. Deterministic and short (minutes), hence repeated from the start
when killed; its result is one file, so it is never done twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from mg3d.data.tokens import TokenizedReport
from mg3d.errors import DataError
from mg3d.model.heads import MaskedTokenHead
from mg3d.model.text import TextEncoder
from mg3d.objectives.masking import mask_words
from mg3d.progress import track
from mg3d.randomness import rng
from mg3d.training.task import Vocabulary


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Masked language modelling on the training split's reports before pre-training."""

    steps: int = 0
    """Optimiser steps, >= 0; 0 leaves the text encoder as it was built or loaded."""
    batch_size: int = 128
    """Documents (clauses or reports) a step, > 0."""
    lr: float = 1e-3
    """Peak learning rate of AdamW, > 0; it rises over the first tenth and falls to 0 linearly."""
    word_ratio: float = 0.15
    """Share of whole words hidden, in (0, 1)."""


def train_on_corpus(
    encoder: TextEncoder,
    documents: Sequence[TokenizedReport],
    vocabulary: Vocabulary,
    settings: CorpusConfig,
    seed: int,
) -> float:
    """Train ``encoder`` in place to fill in hidden words.

    Args:
        encoder: The text encoder; its device is used.
        documents: What it reads, without duplicates; from the training split only.
        vocabulary: Ids for masking.
        settings: Length and rate.
        seed: The run's seed.

    Returns:
        Mean loss in nats a token over the last tenth of the steps.

    Raises:
        DataError: If the loss is not finite or there is no document.
    """
    if not documents:
        raise DataError("the training split holds no report text to train the text encoder on")
    torch.manual_seed(seed)
    device = next(encoder.parameters()).device
    width = encoder.token_embedding.embedding_dim
    head = MaskedTokenHead(encoder.hidden_size, vocabulary.size, tied_features=width).to(device)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _triangle(step, settings.steps)
    )
    losses = []
    for step in track(range(settings.steps), total=settings.steps, description="text encoder"):
        chosen = _draw(len(documents), settings.batch_size, seed, step)
        batch = [documents[i] for i in chosen]
        words = _hide_words(batch, vocabulary, settings.word_ratio, seed, step)
        loss = _masked_loss(encoder, head, words.to(device))
        if not torch.isfinite(loss):
            raise DataError(
                f"text encoder, step {step + 1}: the loss is {loss.item()}; lower corpus.lr"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses[-max(1, settings.steps // 10) :]))


def _triangle(step: int, steps: int) -> float:
    rise = max(1, steps // 10)
    return min((step + 1) / rise, (steps - step) / max(1, steps - rise))


def _draw(count: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Documents of one step, without repetition where there are enough."""
    size = min(batch_size, count)
    return sorted(rng(seed, step, "corpus").choice(count, size=size, replace=False).tolist())


@dataclass(frozen=True, kw_only=True)
class _HiddenWords:
    """A padded batch of documents with words hidden; (B, L) each but ``targets`` (M,)."""

    token_ids: Tensor
    token_mask: Tensor
    clause_ids: Tensor
    hidden: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Self:
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def _hide_words(
    documents: Sequence[TokenizedReport], vocabulary: Vocabulary, ratio: float, seed: int, step: int
) -> _HiddenWords:
    def padded(name: str) -> Tensor:
        rows = [torch.as_tensor(getattr(document, name)) for document in documents]
        return pad_sequence(rows, batch_first=True)

    lengths = torch.tensor([len(document.token_ids) for document in documents])
    token_ids = padded("token_ids")
    masked = mask_words(
        token_ids,
        padded("word_ids"),
        [f"document {place}" for place in range(len(documents))],
        seed=seed,
        epoch=step,
        vocab_size=vocabulary.size,
        mask_id=vocabulary.mask_id,
        special_ids=vocabulary.special_ids,
        ratio=ratio,
    )
    return _HiddenWords(
        token_ids=masked.token_ids,
        token_mask=torch.arange(token_ids.shape[1]) < lengths[:, None],
        clause_ids=padded("clause_ids"),
        hidden=masked.masked_positions,
        targets=masked.targets,
    )


def _masked_loss(encoder: TextEncoder, head: MaskedTokenHead, words: _HiddenWords) -> Tensor:
    tokens, _ = encoder(words.token_ids, words.token_mask, words.clause_ids)
    logits = head(tokens[words.hidden], encoder.token_embedding.weight)
    return F.cross_entropy(logits, words.targets)
