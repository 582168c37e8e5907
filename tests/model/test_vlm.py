"""The whole model: no dead parameter under any choice of objectives, padding, order, the maps."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mg3d.errors import ConfigError
from mg3d.model.fusion import FusionConfig
from mg3d.model.pooling import PoolingConfig
from mg3d.model.swin3d import SwinConfig
from mg3d.model.text import TextConfig
from mg3d.model.vlm import FULL_METHOD, ModelConfig, VisionLanguageModel

CLS, SEP = 2, 3
IDS = torch.tensor(
    [
        [CLS, 11, 12, 13, 21, 22, 14, 15, SEP],
        [CLS, 31, 11, 16, SEP, 0, 0, 0, 0],
        [CLS, SEP, 0, 0, 0, 0, 0, 0, 0],  # a study without a report
    ]
)
CLAUSES = torch.tensor(
    [[0, 1, 1, 1, 2, 2, 3, 3, 0], [0, 1, 1, 2, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0]]
)
MASK = IDS != 0
HIDDEN = torch.isin(IDS, torch.tensor([12, 22, 31]))
SMALL = ModelConfig(
    grid=(16, 16, 24),
    dim=16,
    embedding_dim=12,
    clause_dim=6,
    image=SwinConfig(embed_dim=4, depths=(1, 1), num_heads=(1, 2), window=(2, 2, 2)),
    text=TextConfig(
        vocabulary_size=40, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=16,
        clause_scope="clause",
    ),
    fusion=FusionConfig(heads=2, mlp_ratio=1.0),
    pooling=PoolingConfig(num_queries=2, heads=2, token_channels=2),
)  # fmt: skip


def build(**options: Any) -> VisionLanguageModel:
    torch.manual_seed(0)
    return VisionLanguageModel(replace(SMALL, **options)).double()


def volumes() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(3, 1, *SMALL.grid).double()


def outputs(
    model: VisionLanguageModel,
    image: Tensor,
    ids: Tensor = IDS,
    mask: Tensor = MASK,
    clauses: Tensor = CLAUSES,
    hidden: Tensor = HIDDEN,
) -> dict[str, Tensor]:
    """Everything that the objectives of this model look at, as a training step builds it."""
    wiring, found = model.wiring, {}
    vision, text = model.encode_image(image), model.encode_text(ids, mask, clauses)
    fused = model.fuse_clean(vision, text)
    if wiring.plain_space:
        found["image"], found["text"] = model.plain_embeddings(vision, text)
        found["scale"] = model.logit_scale
        if model.logit_bias is not None:
            found["bias"] = model.logit_bias
    if "global_alignment" in wiring:
        found["u"], found["v"] = model.global_pair(vision, text, fused)
    if wiring.aggregation:
        y, anchor, visual = model.aggregation(vision, text, fused)
        found |= {k: t for k, t in {"y": y, "anchor": anchor, "e": visual}.items() if t is not None}
    if "sentence_similarity" in wiring:
        found["m"] = model.reference_clauses(ids, mask, clauses)
    if "masked_report" in wiring:
        masked = model.encode_text(ids.masked_fill(hidden, 4), mask, clauses)
        found["logits"], found["r"] = model.masked_report(masked, vision, hidden)
        found["t"] = model.clause_targets(text)
    if "masked_volume" in wiring:
        found["volume"] = model.masked_volume(model.encode_image(image * (image > 0.5)), text)
    return found


def random_readout(found: dict[str, Tensor]) -> Tensor:
    parts = [(t * torch.randn_like(t)).sum() for t in found.values() if t.requires_grad]
    return torch.stack(parts).sum()


PARTS_CHOICES = [
    *(choice for size in (1, 2, 5, 6) for choice in combinations(FULL_METHOD, size)),
    ("clip",),
    ("siglip",),
]


@pytest.mark.parametrize(
    ("fusion", "readout", "report_readout"),
    [("cross_attention", "attention", "attention"), ("gate", "positional", "mean")],
)
def test_every_parameter_has_a_gradient_under_every_choice_of_objectives(
    fusion: Any, readout: Any, report_readout: Any
) -> None:
    for parts in PARTS_CHOICES:
        model = build(
            parts=parts,
            fusion=replace(SMALL.fusion, kind=fusion),
            pooling=replace(SMALL.pooling, kind=readout, report_kind=report_readout),
        )
        random_readout(outputs(model, volumes())).backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, (parts, name)
                softmax_key = name.endswith("key.bias")  # BERT's: cancels in the softmax
                assert softmax_key or parameter.grad.abs().max() > 1e-10, (parts, name)


@pytest.mark.parametrize("fusion", ["cross_attention", "gate"])
@pytest.mark.parametrize("scope", ["report", "clause"])
def test_padding_changes_nothing(fusion: Any, scope: Any) -> None:
    model = build(
        fusion=replace(SMALL.fusion, kind=fusion), text=replace(SMALL.text, clause_scope=scope)
    )
    found = outputs(model, volumes())
    wide = [nn.functional.pad(t.long(), (0, 4)) for t in (IDS, MASK, CLAUSES, HIDDEN)]
    padded = outputs(model, volumes(), wide[0], wide[1].bool(), wide[2], wide[3].bool())
    for name, value in found.items():
        torch.testing.assert_close(padded[name], value, rtol=0, atol=1e-12)  # measured 4e-16
    # A study alone has fewer clauses and tokens to pad to.
    alone = outputs(
        model, volumes()[1:2], IDS[1:2, :5], MASK[1:2, :5], CLAUSES[1:2, :5], HIDDEN[1:2, :5]
    )
    for name in ("image", "text", "u", "v", "y", "anchor", "e", "m", "r", "t", "volume"):
        value = found[name][1:2]
        if name in {"e", "m", "r", "t"}:
            assert name == "t" or not value[:, 2:].any()
            value = value[:, :2]
        torch.testing.assert_close(alone[name], value, rtol=0, atol=1e-12)  # measured 2e-15


@pytest.mark.parametrize("fusion", ["cross_attention", "gate"])
def test_order_of_studies_does_not_matter(fusion: Any) -> None:
    model = build(fusion=replace(SMALL.fusion, kind=fusion))
    found, turn = outputs(model, volumes()), torch.tensor([2, 0, 1])
    turned = outputs(model, volumes()[turn], IDS[turn], MASK[turn], CLAUSES[turn], HIDDEN[turn])
    for name, value in found.items():
        if name not in {"scale", "logits"}:
            torch.testing.assert_close(turned[name], value[turn], rtol=0, atol=1e-12)  # measured 0


def test_logits_are_those_of_the_hidden_tokens_in_row_major_order() -> None:
    model = build()
    everything = outputs(model, volumes(), hidden=HIDDEN)
    assert everything["logits"].shape == (3, 40)
    only_last = HIDDEN & (torch.arange(3)[:, None] == 1)
    vision = model.encode_image(volumes())
    masked = model.encode_text(IDS.masked_fill(HIDDEN, 4), MASK, CLAUSES)
    logits, _ = model.masked_report(masked, vision, only_last)
    torch.testing.assert_close(logits, everything["logits"][2:], rtol=0, atol=1e-12)
    nothing, _ = model.masked_report(masked, vision, torch.zeros_like(HIDDEN))
    assert nothing.shape == (0, 40)


def test_all_reports_missing_is_finite_and_reaches_every_parameter() -> None:
    model = build()
    empty = torch.zeros_like(IDS)
    found = outputs(model, volumes(), empty, empty.bool(), empty, empty.bool())
    random_readout(found).backward()
    for name, value in found.items():
        assert torch.isfinite(value).all(), name
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_embeddings_for_use_are_those_of_training() -> None:
    model = build()
    found = outputs(model, volumes())
    assert torch.equal(model.embed_image(volumes()), found["image"])
    assert torch.equal(model.embed_text(IDS, MASK, CLAUSES), found["text"])


def test_fused_vectors_are_pooled_once() -> None:
    model = build(fusion=replace(SMALL.fusion, kind="gate"))
    calls: list[str] = []
    for name, module in model.named_modules():
        if name.endswith("_pool"):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    outputs(model, volumes())
    assert sorted(calls) == sorted(set(calls))
    assert set(calls) == {"volume_pool", "report_pool", "fused_volume_pool", "fused_report_pool"}


def test_image_only_model_reads_nothing() -> None:
    model = build(parts=("masked_volume",))
    text = model.encode_text(IDS, MASK, CLAUSES)
    assert not text.clauses.any()
    assert torch.equal(text.clause_mask.sum(dim=1), torch.tensor([3, 2, 0]))
    assert not any("text" in name for name in model.state_dict())
    with pytest.raises(ConfigError, match=r"no embeddings.*masked_volume.*plain_alignment"):
        model.embed_image(volumes())


@pytest.mark.parametrize("readout", ["attention", "positional"])
def test_similarity_map_is_what_the_cosine_loses_without_a_token(readout: Any) -> None:
    model = build(parts=("clip",), pooling=replace(SMALL.pooling, kind=readout))
    text = model.embed_text(IDS, MASK, CLAUSES)
    found = model.similarity_map(volumes(), text)
    assert found.shape == (3, 2, 2, 3)
    vision = model.encode_image(volumes())
    whole = (model.image_head(model.volume_pool(vision.tokens)) * text).sum(-1)
    for place, n in (((0, 0, 0), 0), ((1, 0, 2), 1 * 6 + 2), ((0, 1, 1), 1 * 3 + 1)):
        without = model.image_head(model.volume_pool.leave_one_out(vision.tokens)[:, n])
        lost = whole - (without * text).sum(-1)
        torch.testing.assert_close(found[(slice(None), *place)], lost, rtol=0, atol=1e-12)  # 2e-16
    one = model.similarity_map(volumes(), text[:1])
    torch.testing.assert_close(one[0], found[0], rtol=0, atol=1e-12)


def test_whitening_spreads_every_contrasted_embedding() -> None:
    for fusion in ("cross_attention", "gate"):
        model = build(fusion=replace(SMALL.fusion, kind=fusion))
        torch.manual_seed(2)
        lengths = torch.randint(1, 9, (40,))
        ids = torch.randint(5, 40, (40, 8)) * (torch.arange(8) < lengths[:, None])
        clauses = (ids > 0).long() * (1 + torch.arange(8) // 3)
        image = torch.rand(40, 1, 4, 4, 6).double().repeat_interleave(4, -1)
        image = image.repeat_interleave(4, -2).repeat_interleave(4, -3)
        arguments = image, ids, ids > 0, clauses, torch.zeros_like(ids, dtype=torch.bool)
        before = outputs(model, *arguments)
        with torch.no_grad():
            model.whiten_heads_(model.encode_image(image), model.encode_text(*arguments[1:4]))
        after = outputs(model, *arguments)
        for name in ("image", "text", "u", "v", "y", "anchor"):
            common_before, common = (t[name].mean(dim=0).norm() for t in (before, after))
            assert common < 0.3 * common_before, (fusion, name)  # measured at most 0.2


def test_whitening_leaves_studies_without_a_report_out_of_text() -> None:
    model = build()
    with torch.no_grad():
        vision, text = model.encode_image(volumes()), model.encode_text(IDS, MASK, CLAUSES)
        model.whiten_heads_(vision, text)
        heads = (model.image_head, vision.pooled), (model.text_head, text.pooled)
        images, reports = (head.project(head.norm(pooled)) for head, pooled in heads)
    assert images.mean(dim=0).abs().max() < 1e-10  # all three are the centre
    assert reports[:2].mean(dim=0).abs().max() < 1e-10  # the two that exist are
    assert reports.mean(dim=0).abs().max() > 0.1


def test_reference_lives_in_the_model() -> None:
    model = build()
    assert model.similarity_cutoffs is None
    model.freeze_reference_()
    raw = model.reference_clauses(IDS, MASK, CLAUSES)
    mean = raw[model.encode_text(IDS, MASK, CLAUSES).clause_mask].mean(dim=0)
    model.set_reference(mean, (0.125, 0.5))
    assert model.similarity_cutoffs == (0.125, 0.5)
    rebuilt = build(parts=FULL_METHOD)
    rebuilt.load_state_dict(model.state_dict())
    torch.testing.assert_close(rebuilt.reference_clauses(IDS, MASK, CLAUSES)[0], raw[0] - mean)
    with pytest.raises(ConfigError, match="built without sentence_similarity"):
        build(parts=("clip",)).freeze_reference_()


def test_frozen_text_encoder_gets_no_gradient_but_its_projection_does() -> None:
    model = build(text=replace(SMALL.text, frozen=True))
    random_readout(outputs(model, volumes())).backward()
    assert all(p.grad is None for p in model.text_encoder.parameters())
    assert model.text_projection.weight.grad is not None
    assert not any(name.startswith("reference.encoder") for name in model.state_dict())


def test_autocast_stays_close_to_full_precision() -> None:
    model = build().float()
    image = volumes().float()
    exact = outputs(model, image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = outputs(model, image)
    random_readout(rounded).backward()
    for name in ("image", "text", "u", "v", "y", "anchor"):
        assert rounded[name].dtype == torch.float32
        # measured 0.005 of components up to 0.6
        torch.testing.assert_close(rounded[name], exact[name], rtol=0, atol=0.02)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_grids_that_do_not_fit_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"\(16, 15, 24\).*\(16, 16, 24\)"):
        build(grid=(16, 15, 24))
    with pytest.raises(ConfigError, match=r"\(8, 8, 16\) voxels.*\(16, 16, 24\).*prepare"):
        build().encode_image(torch.zeros(1, 1, 8, 8, 16).double())
