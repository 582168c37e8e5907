"""Model + objectives -> losses of a batch: what DDP wraps.

`Views` are built once a step, so the clean volume and the clean report are encoded once and
shared by every objective. The one invariant: a view is built only if some objective needs it, and
every part of the model that exists is used, so that DDP never searches for unused parameters.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mg3d.batch import StudyBatch
from mg3d.distributed import world_size
from mg3d.model.outputs import ImageFeatures, TextFeatures
from mg3d.model.vlm import VisionLanguageModel
from mg3d.objectives.base import Counts, StepContext, Views
from mg3d.objectives.masked_report import MaskedReport
from mg3d.objectives.masked_volume import MaskedVolume
from mg3d.objectives.masking import MaskedTokens, mask_blocks, mask_words
from mg3d.objectives.precision import at_least_float32
from mg3d.objectives.registry import WeightedObjective
from mg3d.training.frozen_text import FrozenText

Modality = Literal["image", "report"]
_ANY_CUTOFFS = (-0.5, 0.5)  # cosines; those of the corpus are only known after the start


@dataclass(frozen=True)
class Vocabulary:
    """The token ids that masking has to know."""

    size: int
    mask_id: int
    special_ids: tuple[int, ...]


@dataclass(kw_only=True)
class TaskOutput:
    """What one forward pass gives the loop."""

    loss: Tensor
    """Scalar to call backward on: this rank's share times the number of ranks (DDP averages)."""
    shares: dict[str, Tensor]
    """This rank's shares of every loss and metric; their sum over ranks is the global value."""


class TrainingTask(nn.Module):
    """The model with its weighted objectives."""

    def __init__(
        self,
        model: VisionLanguageModel,
        objectives: Sequence[WeightedObjective],
        vocabulary: Vocabulary,
    ) -> None:
        super().__init__()
        self.model = model
        self.terms = tuple(objectives)
        self.vocabulary = vocabulary
        self.frozen_text: FrozenText | None = None
        """Set by who knows that the text encoder will not change any more."""
        self.coupled = tuple(t for t in self.terms if t.objective.couples_rows)
        self.separate = tuple(t for t in self.terms if not t.objective.couples_rows)

    def forward(
        self,
        batch: StudyBatch,
        step: StepContext,
        method: Callable[..., Any] | None = None,
        *given: Any,
    ) -> Any:
        """`losses`, or another method of this class.

        Autocast, DDP and FSDP act on `forward` alone, so whatever reads parameters in a step is
        called through it: ``wrapped(batch, step, TrainingTask.features)``.
        """
        return (method or TrainingTask.losses)(self, batch, step, *given)

    def losses(self, batch: StudyBatch, step: StepContext) -> TaskOutput:
        """Encode the batch once and apply every objective."""
        return self.apply_objectives(self.terms, self._whole_views(batch, step), batch, step)

    def rehearse(self, batch: StudyBatch, step: StepContext) -> TaskOutput:
        """`losses` before the start: any cut-offs stand in for those that it will find."""
        views = self._whole_views(batch, step)
        views.similarity_cutoffs = views.similarity_cutoffs or _ANY_CUTOFFS
        return self.apply_objectives(self.terms, views, batch, step)

    def _whole_views(self, batch: StudyBatch, step: StepContext) -> Views:
        views = self.views(batch, step, needs_of(self.terms))
        views.counts = views.count().over_ranks()
        return views

    def apply_objectives(
        self,
        terms: Sequence[WeightedObjective],
        views: Views,
        batch: StudyBatch,
        step: StepContext,
    ) -> TaskOutput:
        """The weighted sum of some objectives on what the model saw."""
        shares: dict[str, Tensor] = {}
        losses = []
        for term in terms:
            name = term.objective.name
            output = term.objective.forward(views, batch, step)
            losses.append(term.weight * output.loss)
            shares[f"loss.{name}"] = output.loss
            shares |= {f"{name}.{metric}": value for metric, value in output.metrics.items()}
        total = torch.stack(losses).sum()
        shares["loss.total"] = total
        return TaskOutput(loss=total * world_size(), shares=shares)

    # One micro-batch at a time: see `mg3d.training.accumulate`

    @torch.no_grad()
    def features(self, batch: StudyBatch, step: StepContext) -> Views:
        """What the coupled objectives look at, and these rows' own counts; nothing is decoded."""
        views = self.views(batch, step, needs_of(self.coupled))
        needs = needs_of(self.separate)
        if "token_targets" in needs:
            views.token_targets = self._hide_words(batch, step).targets
        if "voxel_mask" in needs:
            views.voxel_mask = self._hide_blocks(batch, step)
        views.counts = views.count()
        views.token_targets = views.voxel_mask = None
        return views

    def replay(
        self,
        batch: StudyBatch,
        step: StepContext,
        counts: Counts,
        gradients: Mapping[str, Tensor],
    ) -> TaskOutput:
        """Encode again with a graph, and send back what the coupled objectives have to say.

        Args:
            batch: One micro-batch.
            step: As in `features`, so that the same is hidden.
            counts: Of the global batch.
            gradients: Of the coupled losses with respect to fields of `Views`, for these rows;
                clauses beyond those of this micro-batch are zero.

        Returns:
            A loss whose gradient is this micro-batch's part of the whole; the shares are those of
            the separate objectives, whose part of ``loss.total`` they hold.
        """
        views = self.views(batch, step, needs_of(self.terms))
        views.counts = counts
        echoes = [_echo(getattr(views, name), gradients[name]) for name in gradients]
        shares: dict[str, Tensor] = {}
        if self.separate:
            output = self.apply_objectives(self.separate, views, batch, step)
            shares = output.shares
            echoes.append(shares["loss.total"])
        return TaskOutput(loss=torch.stack(echoes).sum() * world_size(), shares=shares)

    def views(
        self,
        batch: StudyBatch,
        step: StepContext,
        needs: frozenset[str],
        *,
        own_reports: bool = True,
    ) -> Views:
        """Everything that objectives with these needs look at, but for the counts.

        ``own_reports`` is false where the tokens are not those of the batch's studies.
        """
        model = self.model
        tokens = batch.token_ids, batch.token_mask, batch.clause_ids
        encoded = self.frozen_text(batch) if self.frozen_text and own_reports else None
        text = model.encode_text(*tokens, encoded)
        views = Views(has_report=text.clause_mask.any(dim=1), clause_mask=text.clause_mask)
        if not needs:
            return views
        image, hidden = self._encode_volumes(batch, step, views, needs)
        if "image_embedding" in needs:
            views.image_embedding, views.text_embedding = model.plain_embeddings(image, text)
            views.logit_scale, views.logit_bias = model.logit_scale, model.logit_bias
        if needs & {"fused_pair", "aggregated", "clause_visual"}:
            self._fused_views(views, needs, image, text)
        if "clause_reference" in needs:
            views.clause_reference = model.reference_clauses(*tokens, encoded)
            views.similarity_cutoffs = model.similarity_cutoffs
        if "token_logits" in needs:
            self._masked_report(views, batch, image, text, step)
        if hidden is not None:
            views.reconstruction = model.masked_volume(hidden, text)
        return views

    def _encode_volumes(
        self, batch: StudyBatch, step: StepContext, views: Views, needs: frozenset[str]
    ) -> tuple[ImageFeatures, ImageFeatures | None]:
        """The clean volumes and, where they are to be filled in, those with hidden blocks.

        Both in one pass of the encoder: what it costs whatever the number of volumes (a tenth of a
        step of 4 small ones; under FSDP, gathering its weights) is paid once.
        """
        if "reconstruction" not in needs:
            return self.model.encode_image(batch.image), None
        views.voxel_mask = self._hide_blocks(batch, step)
        volumes = torch.cat([batch.image, batch.image])
        volumes[len(batch) :].masked_fill_(views.voxel_mask, 0.0)
        both = self.model.encode_image(volumes)
        clean, hidden = (ImageFeatures(tokens=t, grid=both.grid) for t in both.tokens.chunk(2))
        return clean, hidden

    def _fused_views(
        self, views: Views, needs: frozenset[str], image: ImageFeatures, text: TextFeatures
    ) -> None:
        model = self.model
        fused = model.fuse_clean(image, text)
        if "fused_pair" in needs:
            views.fused_pair, views.plain_pair = model.global_pair(image, text, fused)
        if needs & {"aggregated", "clause_visual"}:
            views.aggregated, views.aggregation_anchor, views.clause_visual = model.aggregation(
                image, text, fused
            )

    def _masked_report(
        self,
        views: Views,
        batch: StudyBatch,
        image: ImageFeatures,
        text: TextFeatures,
        step: StepContext,
    ) -> None:
        words = self._hide_words(batch, step)
        masked = self.model.encode_text(words.token_ids, batch.token_mask, batch.clause_ids)
        views.token_logits, views.clause_reconstruction = self.model.masked_report(
            masked, image, words.masked_positions
        )
        views.token_targets = words.targets
        views.clause_target = self.model.clause_targets(text)

    def _hide_words(self, batch: StudyBatch, step: StepContext) -> MaskedTokens:
        return mask_words(
            batch.token_ids,
            batch.word_ids,
            batch.study_ids,
            seed=step.seed,
            epoch=step.epoch,
            vocab_size=self.vocabulary.size,
            mask_id=self.vocabulary.mask_id,
            special_ids=self.vocabulary.special_ids,
            ratio=self._settings(MaskedReport).mask_ratio,
        )

    def _hide_blocks(self, batch: StudyBatch, step: StepContext) -> Tensor:
        settings = self._settings(MaskedVolume)
        x, y, z = batch.image.shape[2:]
        return mask_blocks(
            batch.volume_ids,
            (x, y, z),
            seed=step.seed,
            epoch=step.epoch,
            block=settings.block,
            ratio=settings.mask_ratio,
            device=batch.image.device,
        )

    def _settings(self, kind: type[Any]) -> Any:
        return next(t.objective.settings for t in self.terms if isinstance(t.objective, kind))

    @torch.no_grad()
    def blanked(self, batch: StudyBatch, step: StepContext, modality: Modality) -> Views:
        """What the coupled objectives look at with all images, or all reports, alike."""
        poorer = {"image": self._without_images, "report": self._without_reports}[modality](batch)
        needs = needs_of(self.coupled)
        return self.views(poorer, step, needs, own_reports=modality != "report")

    def _without_images(self, batch: StudyBatch) -> StudyBatch:
        return replace(batch, image=torch.zeros_like(batch.image))

    def _without_reports(self, batch: StudyBatch) -> StudyBatch:
        """Every report becomes one clause of one mask token; who is whose negative stays."""
        ones = batch.token_ids.new_ones((len(batch), 1))
        return replace(
            batch,
            token_ids=ones * self.vocabulary.mask_id,
            token_mask=ones.bool(),
            clause_ids=ones,
            word_ids=ones,
        )


def needs_of(terms: Iterable[WeightedObjective]) -> frozenset[str]:
    """The fields of `Views` that some of these objectives looks at."""
    return frozenset[str]().union(*(term.objective.needs for term in terms))


def _echo(feature: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient with respect to ``feature`` is ``gradient``."""
    if feature.ndim > 1:
        gradient = gradient[:, : feature.shape[1]]
    return (at_least_float32(feature) * gradient).sum()
