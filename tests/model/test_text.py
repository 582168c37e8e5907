"""Text encoder: clauses alone and in reports, padding, frozen and named encoders."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from mg3d.errors import ConfigError
from mg3d.model.text import TextConfig, TextEncoder, clause_means

SMALL = {
    "vocabulary_size": 40,
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "intermediate_size": 24,
}
CLS, SEP = 2, 3

# Two reports: three clauses, of which the first and the last read the same; one clause.
IDS = torch.tensor(
    [[CLS, 11, 12, 13, 21, 22, 11, 12, 13, SEP], [CLS, 31, 11, SEP, 0, 0, 0, 0, 0, 0]]
)
CLAUSES = torch.tensor([[0, 1, 1, 1, 2, 2, 3, 3, 3, 0], [0, 1, 1, 0, 0, 0, 0, 0, 0, 0]])
MASK = IDS != 0


def build(**options: object) -> TextEncoder:
    torch.manual_seed(0)
    encoder = TextEncoder(TextConfig(**{**SMALL, **options})).double()  # type: ignore[arg-type]
    with torch.no_grad():  # BERT's spread of 0.02 makes attention all but uniform
        for parameter in encoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return encoder


def one_by_one(encoder: TextEncoder) -> Tensor:
    """Each clause through the backbone alone, no padding, no sharing: (B, L, H)."""
    config, hidden = encoder.config, torch.zeros(*IDS.shape, encoder.hidden_size).double()
    for row in range(len(IDS)):
        for clause in range(1, int(CLAUSES[row].max()) + 1):
            places = [i for i, k in enumerate(CLAUSES[row].tolist()) if k == clause]
            words = [int(IDS[row, i]) for i in places]
            before = [] if config.start_id is None else [config.start_id]
            after = [] if config.end_id is None else [config.end_id]
            ids = torch.tensor([before + words + after])
            out = encoder.backbone(input_ids=ids).last_hidden_state[0]
            if config.token_skip:
                table = encoder.token_embedding(ids)[0]
                out = out + torch.nn.functional.layer_norm(table, table.shape[-1:])
            hidden[row, places] = out[len(before) : len(before) + len(words)]
    return hidden


@pytest.mark.parametrize("specials", [{}, {"start_id": CLS, "end_id": SEP}, {"end_id": SEP}])
@pytest.mark.parametrize("token_skip", [False, True])
@pytest.mark.parametrize("least", [1, 64])  # a group for each clause, and one for all
def test_clauses_and_their_gradients_equal_encoding_one_by_one(
    least: int, specials: dict[str, int], token_skip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mg3d.model.text.LEAST_CLAUSES", least)
    encoder = build(clause_scope="clause", token_skip=token_skip, **specials)
    hidden, mask = encoder(IDS, MASK, CLAUSES)
    expected = one_by_one(encoder)
    assert torch.equal(mask, CLAUSES > 0)
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-12)  # measured 0

    readout = torch.randn_like(hidden)
    parameters = [p for n, p in encoder.named_parameters() if not n.endswith("key.bias")]
    ours = torch.autograd.grad((hidden * readout).sum(), parameters)
    theirs = torch.autograd.grad((expected * readout).sum(), parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)  # measured 4e-14 of up to 50


def test_gradient_of_shared_clauses_is_the_same_to_the_bit_on_any_day() -> None:
    """Plain indexing adds shared gradients in the order of threads."""
    torch.manual_seed(0)
    encoder = TextEncoder(TextConfig(**{**SMALL, "hidden_size": 128}, clause_scope="clause"))  # type: ignore[arg-type]
    ids = torch.randint(5, 40, (6, 8))[torch.randint(0, 6, (16, 30))].flatten(1)
    clauses = torch.arange(1, 31).repeat_interleave(8).expand(16, -1)
    readout = torch.randn(16, 240, 128)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        runs = []
        for _ in range(6):
            hidden, _ = encoder(ids, ids > 0, clauses)
            table = encoder.token_embedding.weight
            runs.append(torch.autograd.grad((hidden * readout).sum(), table)[0])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(run, runs[0]) for run in runs)


def test_prompt_means_the_same_alone_and_inside_a_report() -> None:
    prompt = torch.tensor([[CLS, 21, 22, SEP]]), torch.tensor([[0, 1, 1, 0]])
    for scope, same in (("clause", True), ("report", False)):
        encoder = build(clause_scope=scope)
        alone, _ = encoder(prompt[0], torch.ones_like(prompt[0], dtype=torch.bool), prompt[1])
        inside, _ = encoder(IDS, MASK, CLAUSES)
        error = (alone[0, 1:3] - inside[0, 4:6]).abs().max().item()
        assert (error < 1e-12) == same  # measured 0 against 1.4


@pytest.mark.parametrize("scope", ["report", "clause"])
def test_padding_and_neighbours_change_nothing(scope: str) -> None:
    encoder = build(clause_scope=scope, token_skip=True)
    hidden, mask = encoder(IDS, MASK, CLAUSES)
    pad = torch.zeros(2, 5, dtype=torch.int64)
    wide = [torch.cat([tensor.long(), pad], dim=1) for tensor in (IDS, MASK, CLAUSES)]
    padded, padded_mask = encoder(wide[0], wide[1].bool(), wide[2])
    alone, alone_mask = encoder(IDS[1:], MASK[1:], CLAUSES[1:])
    torch.testing.assert_close(padded[:, :10][mask], hidden[mask], rtol=0, atol=1e-12)  # 3e-15
    torch.testing.assert_close(alone[alone_mask], hidden[1][mask[1]], rtol=0, atol=1e-12)
    assert torch.equal(padded_mask[:, :10], mask)
    assert not padded_mask[:, 10:].any()


@pytest.mark.parametrize("scope", ["report", "clause"])
def test_reports_without_words_are_finite_and_attached(scope: str) -> None:
    encoder = build(clause_scope=scope)
    empty = torch.zeros(2, 4, dtype=torch.int64)
    hidden, mask = encoder(empty, empty.bool(), empty)
    assert torch.isfinite(hidden).all()
    assert not mask.any()
    hidden[mask].sum().backward()
    gradients = [parameter.grad for parameter in encoder.parameters()]
    assert all(grad is not None and not grad.any() for grad in gradients)


def test_skip_adds_the_normalised_embedding() -> None:
    plain, skipping = build(), build(token_skip=True)
    table = plain.token_embedding(IDS)
    centred = table - table.mean(dim=-1, keepdim=True)
    expected = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    added = skipping(IDS, MASK, CLAUSES)[0] - plain(IDS, MASK, CLAUSES)[0]
    torch.testing.assert_close(added, expected, rtol=0, atol=1e-12)


def test_backbone_never_drops_and_frozen_never_learns() -> None:
    for frozen in (False, True):
        encoder = build(frozen=frozen).train()
        assert not any(module.training for module in encoder.backbone.modules())
        first, _ = encoder(IDS, MASK, CLAUSES)
        assert torch.equal(first, encoder(IDS, MASK, CLAUSES)[0])
        assert first.requires_grad != frozen
        assert all(p.requires_grad != frozen for p in encoder.parameters())


def test_every_parameter_of_the_embedded_encoder_learns() -> None:
    encoder = build(clause_scope="clause")
    hidden, mask = encoder(IDS, MASK, CLAUSES)
    (hidden[mask] * torch.randn_like(hidden[mask])).sum().backward()
    silent = [
        n for n, p in encoder.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-9
    ]
    assert all(name.endswith("key.bias") for name in silent)


def test_named_encoder_loads_in_float32_without_pooler(tmp_path: Path) -> None:
    sizes = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
    )
    saved = BertModel(sizes).half()
    saved.save_pretrained(tmp_path)
    encoder = TextEncoder(TextConfig(name_or_path=str(tmp_path)))
    assert (encoder.hidden_size, encoder.vocabulary_size, encoder.max_tokens) == (16, 40, 512)
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    assert not any("pooler" in name for name in encoder.state_dict())
    expected = saved.float().eval()(input_ids=IDS, attention_mask=MASK.long()).last_hidden_state
    found, _ = encoder(IDS, MASK, CLAUSES)
    torch.testing.assert_close(found[MASK], expected[MASK], rtol=0, atol=1e-5)  # measured 0


def test_architecture_can_be_rebuilt_without_weights(tmp_path: Path) -> None:
    encoder = TextEncoder(TextConfig(**SMALL))  # type: ignore[arg-type]
    encoder.save_architecture(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    rebuilt = TextEncoder(TextConfig(name_or_path=str(tmp_path), pretrained=False))
    rebuilt.load_state_dict(encoder.state_dict())
    assert torch.equal(rebuilt(IDS, MASK, CLAUSES)[0], encoder(IDS, MASK, CLAUSES)[0])


def test_texts_beyond_the_positions_are_refused(tmp_path: Path) -> None:
    encoder = build(max_positions=8)
    with pytest.raises(ConfigError, match=r"a text of 10 tokens .* at most 8.*max_tokens"):
        encoder(IDS, MASK, CLAUSES)
    clauses = build(max_positions=8, clause_scope="clause")
    clauses(IDS, MASK, CLAUSES)  # no clause is that long

    sizes = RobertaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=14, pad_token_id=1,
    )  # fmt: skip
    RobertaModel(sizes).save_pretrained(tmp_path)
    shifted = TextEncoder(TextConfig(name_or_path=str(tmp_path)))
    assert shifted.max_tokens == 12  # positions count from behind the padding id
    full = torch.full((1, 12), 7)
    assert torch.isfinite(shifted(full, full > 0, full)[0]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 10, "num_heads": 4}, "text.hidden_size 10 .* text.num_heads 4"),
        ({"name_or_path": "no/such/folder/here"}, "no/such/folder/here.*local folder"),
    ],
)
def test_impossible_settings_say_what_to_do(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TextEncoder(TextConfig(**options))  # type: ignore[arg-type]


def test_encoder_decoders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5", "is_encoder_decoder": true}')
    with pytest.raises(ConfigError, match="encoder-decoder"):
        TextEncoder(TextConfig(name_or_path=str(tmp_path)))


def test_clause_means_equal_loops_and_ignore_padding() -> None:
    tokens = torch.randn(2, 10, 3).double()
    tokens[~MASK] = math.nan
    means, mask = clause_means(tokens, MASK, CLAUSES)
    assert torch.equal(mask, torch.tensor([[True, True, True], [True, False, False]]))
    for row, clause in mask.nonzero().tolist():
        places = (CLAUSES[row] == clause + 1) & MASK[row]
        torch.testing.assert_close(means[row, clause], tokens[row, places].mean(dim=0))
    assert not means[~mask].any()


def test_clause_means_of_nothing_keep_one_empty_clause() -> None:
    empty = torch.zeros(2, 4, dtype=torch.int64)
    means, mask = clause_means(torch.randn(2, 4, 3), empty.bool(), empty)
    assert means.shape == (2, 1, 3)
    assert not means.any()
    assert not mask.any()
