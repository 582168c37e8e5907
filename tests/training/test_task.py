"""The whole method as it is trained: what must change nothing, and that nothing is dead."""

from dataclasses import replace

import pytest
import torch
from relative_error import relative_error
from safetensors.torch import load_file
from task_worker import (
    CONTEXT,
    FUSIONS,
    MODEL,
    OBJECTIVES,
    SPLIT,
    VOCABULARY,
    make_batch,
    make_task,
    measure,
    rows_of,
    with_fusion,
    work,
)
from torch import Tensor
from torch.nn import functional as F

from mg3d.batch import StudyBatch
from mg3d.cli import parse
from mg3d.objectives.masking import MaskedTokens, mask_blocks, mask_words
from mg3d.training.pretrain import PretrainConfig
from mg3d.training.task import needs_of

# Relative to the largest loss or gradient, in float64. Measured: two processes 1.5e-15, padding
# 1.7e-17, order of the batch 9.9e-16.
TOLERANCE = 1e-12
RECIPES = ("mg3d", "mg3d-paper", "clip", "siglip", "phantom-tiny", "phantom-base")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.start_processes(
        work, args=(str(folder),), nprocs=2, start_method="forkserver"
    )
    return [load_file(folder / f"rank{rank}.safetensors") for rank in range(2)]


@pytest.mark.distributed
@pytest.mark.parametrize("fusion", FUSIONS)
def test_two_processes_have_the_loss_and_all_gradients_of_one(fusion, ranks) -> None:
    whole = measure(make_task(with_fusion(fusion)), make_batch())
    # Shares add up; DDP has averaged the gradients, so each process holds all of them.
    shares = {k: ranks[0][f"{fusion}/{k}"] + ranks[1][f"{fusion}/{k}"]
              for k in whole if k.startswith("share.loss")}  # fmt: skip
    errors = [relative_error(shares, whole, "share.loss")]
    for rank in ranks:
        gradients = {key: rank[f"{fusion}/{key}"] for key in whole if key.startswith("grad.")}
        errors.append(relative_error(gradients, whole, "grad."))
    print(f"{fusion}: losses {errors[0]:.1e}, gradients {max(errors[1:]):.1e}")
    assert all(error <= TOLERANCE for error in errors)


def test_the_split_is_not_an_easy_one() -> None:
    parts = [rows_of(make_batch(), rows) for rows in SPLIT]
    assert parts[0].token_ids.shape[1] != parts[1].token_ids.shape[1]
    assert int(parts[0].clause_ids.max()) != int(parts[1].clause_ids.max())
    assert not parts[0].clause_ids[3].any()  # no report
    whole = make_batch()
    assert whole.report_ids[0] == whole.report_ids[6]  # relatives on both processes


@pytest.mark.parametrize("fusion", FUSIONS)
def test_padding_changes_no_loss_and_no_gradient(fusion) -> None:
    batch = make_batch()
    wide = replace(
        batch,
        **{
            name: F.pad(getattr(batch, name), (0, 5))
            for name in ("token_ids", "token_mask", "clause_ids", "word_ids")
        },
    )
    expected, found = (measure(make_task(with_fusion(fusion)), given) for given in (batch, wide))
    errors = [relative_error(found, expected, kind) for kind in ("share.loss", "grad.")]
    print(f"{fusion}: losses {errors[0]:.1e}, gradients {errors[1]:.1e}")
    assert all(error <= TOLERANCE for error in errors)


def test_the_order_of_the_batch_changes_no_loss_and_no_gradient() -> None:
    batch = make_batch()
    order = [5, 2, 7, 0, 3, 6, 1, 4]
    changes = {}
    for name in vars(batch):
        value = getattr(batch, name)
        if value is not None:
            picked = value[order] if isinstance(value, Tensor) else tuple(value[i] for i in order)
            changes[name] = picked
    expected = measure(make_task(MODEL), batch)
    found = measure(make_task(MODEL), replace(batch, **changes))
    errors = [relative_error(found, expected, kind) for kind in ("share.loss", "grad.")]
    print(f"losses {errors[0]:.1e}, gradients {errors[1]:.1e}")
    assert all(error <= TOLERANCE for error in errors)


def hidden_words(batch: StudyBatch) -> MaskedTokens:
    return mask_words(
        batch.token_ids, batch.word_ids, batch.study_ids, seed=CONTEXT.seed, epoch=CONTEXT.epoch,
        vocab_size=VOCABULARY.size, mask_id=VOCABULARY.mask_id, special_ids=VOCABULARY.special_ids,
        ratio=OBJECTIVES.masked_report.mask_ratio,
    )  # fmt: skip


@torch.no_grad()
def test_every_view_is_what_passes_of_their_own_give() -> None:
    """The task encodes clean and hidden volumes together; measured: no difference."""
    task, batch = make_task(MODEL), make_batch()
    batch = replace(batch, volume_ids=tuple(f"{name}_2" for name in batch.study_ids))
    model, words, rest = task.model, hidden_words(batch), (batch.token_mask, batch.clause_ids)
    settings = OBJECTIVES.masked_volume
    blocks = mask_blocks(
        batch.volume_ids, MODEL.grid, seed=CONTEXT.seed, epoch=CONTEXT.epoch,
        block=settings.block, ratio=settings.mask_ratio,
    )  # fmt: skip
    text, masked = (model.encode_text(ids, *rest) for ids in (batch.token_ids, words.token_ids))
    image, hidden = (
        model.encode_image(volumes)
        for volumes in (batch.image, batch.image.masked_fill(blocks, 0.0))
    )
    fused = model.fuse_clean(image, text)
    logits, clauses = model.masked_report(masked, image, words.masked_positions)
    image_embedding, text_embedding = model.plain_embeddings(image, text)
    fused_pair, plain_pair = model.global_pair(image, text, fused)
    aggregated, aggregation_anchor, clause_visual = model.aggregation(image, text, fused)
    expected = {
        "image_embedding": image_embedding,
        "text_embedding": text_embedding,
        "fused_pair": fused_pair,
        "plain_pair": plain_pair,
        "aggregated": aggregated,
        "aggregation_anchor": aggregation_anchor,
        "clause_visual": clause_visual,
        "clause_reference": model.reference_clauses(batch.token_ids, *rest),
        "token_logits": logits,
        "clause_reconstruction": clauses,
        "clause_target": model.clause_targets(text),
        "reconstruction": model.masked_volume(hidden, text),
    }
    views = task.views(batch, CONTEXT, needs_of(task.terms))
    for name, value in expected.items():
        found = {name: getattr(views, name)}
        assert relative_error(found, {name: value}, name) <= TOLERANCE, name
    assert torch.equal(views.voxel_mask, blocks)
    assert torch.equal(views.token_targets, batch.token_ids[words.masked_positions])


def test_hidden_voxels_are_seen_in_the_clean_volume_alone() -> None:
    task, batch = make_task(MODEL), make_batch()
    batch.image.requires_grad_()
    views = task.views(batch, CONTEXT, needs_of(task.terms))
    seen = {}
    for name in ("reconstruction", "image_embedding"):
        view = getattr(views, name)
        read_out = torch.rand(view.shape, generator=torch.Generator().manual_seed(0)).double()
        (gradient,) = torch.autograd.grad((view * read_out).sum(), batch.image, retain_graph=True)
        seen[name] = gradient != 0
    assert 0.4 < views.voxel_mask.double().mean() < 0.6
    assert not (seen["reconstruction"] & views.voxel_mask).any()
    assert (seen["reconstruction"] | views.voxel_mask).all()
    assert seen["image_embedding"].all()


def test_hidden_words_are_asked_for_and_not_seen() -> None:
    task, batch = make_task(MODEL), make_batch()
    words = hidden_words(batch)
    hidden = words.masked_positions & (words.token_ids != batch.token_ids)  # a tenth is kept
    assert hidden.sum() >= 4
    other = replace(batch, token_ids=batch.token_ids.where(~hidden, 64 - batch.token_ids))
    given, changed = (task.views(b, CONTEXT, needs_of(task.terms)) for b in (batch, other))
    assert torch.equal(given.token_logits, changed.token_logits)
    assert not torch.equal(given.token_targets, changed.token_targets)
    assert not torch.equal(given.text_embedding, changed.text_embedding)


def small_settings(recipe: str, tmp_path) -> tuple:
    """The recipe's objectives, and the small model with its choices of parts."""
    found = parse(PretrainConfig, "pretrain", [recipe, str(tmp_path), str(tmp_path)])
    chosen = found.model
    text = replace(
        MODEL.text,
        frozen=chosen.text.frozen,
        clause_scope=chosen.text.clause_scope,
        token_skip=chosen.text.token_skip,
    )
    pooling = replace(
        MODEL.pooling, kind=chosen.pooling.kind, report_kind=chosen.pooling.report_kind
    )
    fusion = replace(
        MODEL.fusion,
        kind=chosen.fusion.kind,
        layers=chosen.fusion.layers,
        mean_over_padding=chosen.fusion.mean_over_padding,
    )
    model = replace(
        MODEL, text=text, pooling=pooling, fusion=fusion, tied_tokens=chosen.tied_tokens
    )
    blocks = replace(found.objectives.masked_volume, block=OBJECTIVES.masked_volume.block)
    return model, replace(found.objectives, masked_volume=blocks)


@pytest.mark.parametrize("recipe", ["full method", *RECIPES])
def test_every_parameter_of_every_recipe_is_trained(recipe, tmp_path) -> None:
    model, objectives = (
        (MODEL, OBJECTIVES) if recipe == "full method" else small_settings(recipe, tmp_path)
    )
    task = make_task(model, objectives)
    task(make_batch(), CONTEXT).loss.backward()
    trained = [name for name, p in task.named_parameters() if p.requires_grad]
    assert any(name.startswith("model.text_encoder") for name in trained) != model.text.frozen
    for name, parameter in task.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            softmax_key = name.endswith("key.bias")  # BERT's: cancels in the softmax
            assert softmax_key or parameter.grad.abs().max() > 1e-12, name
        else:
            assert parameter.grad is None, name


def test_the_logged_total_is_the_weighted_sum_and_what_backward_starts_from() -> None:
    task = make_task(MODEL)
    output = task(make_batch(), CONTEXT)
    weighted = sum(
        term.weight * output.shares[f"loss.{term.objective.name}"] for term in task.terms
    )
    torch.testing.assert_close(output.shares["loss.total"], weighted, rtol=1e-14, atol=0)
    assert output.loss.item() == output.shares["loss.total"].item()  # one process


def test_clean_volume_and_report_are_encoded_once_a_step(monkeypatch) -> None:
    task = make_task(MODEL)
    calls = []
    for name in ("encode_image", "encode_text"):
        original = getattr(task.model, name)
        monkeypatch.setattr(
            task.model,
            name,
            lambda *a, n=name, f=original: (calls.append((n, len(a[0]))), f(*a))[1],
        )
    batch = make_batch()
    rows = len(batch)
    task(batch, CONTEXT)  # clean and masked: volumes together, reports one after the other
    assert sorted(calls) == [("encode_image", 2 * rows), *[("encode_text", rows)] * 2]


def test_identities_are_hashed_once_a_step(monkeypatch) -> None:
    hashed, original = [], StudyBatch._hashed_identities

    def counted(self: StudyBatch) -> Tensor:
        hashed.append(len(self))
        return original(self)

    monkeypatch.setattr(StudyBatch, "_hashed_identities", counted)
    batch = make_batch()
    make_task(MODEL)(batch.to("cpu"), CONTEXT)  # four terms ask who is who
    assert hashed == [len(batch)]


@pytest.mark.parametrize("modality", ["image", "report"])
def test_nothing_is_seen_of_a_blanked_side(modality) -> None:
    task, batch = make_task(MODEL), make_batch()
    words = batch.token_ids
    others = {
        "image": replace(batch, image=batch.image.flip(0)),
        "report": replace(batch, token_ids=words.where(words < 5, 64 - words)),
    }
    expected = task.blanked(batch, CONTEXT, modality)
    assert not expected.image_embedding.requires_grad
    for changed, other in others.items():
        found = task.blanked(other, CONTEXT, modality)
        same = [
            torch.equal(getattr(found, name), getattr(expected, name))
            for name in ("image_embedding", "text_embedding", "fused_pair", "aggregated")
        ]
        assert all(same) == (changed == modality), changed
    assert torch.equal(expected.has_report, torch.ones(len(batch)).bool()) == (modality == "report")
