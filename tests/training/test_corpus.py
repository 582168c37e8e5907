"""The text encoder learns the corpus: words, negation, and nothing that depends on chance."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from mg3d.data.text.reports import Report
from mg3d.data.text.tokens import ReportTokenizer
from mg3d.errors import ConfigError, DataError
from mg3d.model.text import TextConfig, TextEncoder, clause_means
from mg3d.training.corpus import Corpus, CorpusConfig, train_on_corpus
from mg3d.training.task import Vocabulary

FINDINGS = ("pleural effusion", "lung nodule", "emphysema", "hiatal hernia", "pneumonia")
SETTINGS = CorpusConfig(steps=60, batch_size=16, lr=5e-3, section_reports=16)


def reports() -> list[Report]:
    """Every combination of five findings: all are named, the impression repeats what is there."""
    made = []
    for code in range(1, 2 ** len(FINDINGS)):
        present = [bool(code >> place & 1) for place in range(len(FINDINGS))]
        said = [n if yes else f"no {n}" for n, yes in zip(FINDINGS, present, strict=True)]
        there = [n for n, yes in zip(FINDINGS, present, strict=True) if yes]
        made.append(Report(f"{'. '.join(said)}.", f"{'. '.join(there)}."))
    return made


TOKENIZER = ReportTokenizer.train([f"{r.findings} {r.impression}" for r in reports()], 200)
VOCABULARY = Vocabulary(TOKENIZER.vocab_size, TOKENIZER.mask_token_id, TOKENIZER.special_token_ids)
CORPUS = Corpus(
    documents=[TOKENIZER(report) for report in reports()],
    sections=[(TOKENIZER(Report(r.findings)), TOKENIZER(Report("", r.impression)))
              for r in reports()],
)  # fmt: skip


def make_encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(
        TextConfig(
            vocabulary_size=TOKENIZER.vocab_size,
            hidden_size=32,
            num_layers=1,
            num_heads=2,
            intermediate_size=32,
            clause_scope="clause",
        )
    )


def trained(settings: CorpusConfig = SETTINGS, corpus: Corpus = CORPUS, seed: int = 1) -> tuple:
    encoder = make_encoder()
    loss = train_on_corpus(encoder, corpus, VOCABULARY, settings, seed)
    return encoder, loss


def section_vectors(encoder: TextEncoder, part: int) -> torch.Tensor:
    """Mean clause of one section of every report."""
    vectors = []
    for pair in CORPUS.sections:
        ids, clause_ids = (torch.from_numpy(pair[part].__dict__[k])[None] for k in
                           ("token_ids", "clause_ids"))  # fmt: skip
        hidden, mask = encoder(ids, ids > 0, clause_ids)
        clauses, _ = clause_means(hidden, mask, clause_ids)
        vectors.append(clauses[0].mean(dim=0))
    return torch.stack(vectors)


def test_hidden_words_are_learned() -> None:
    _, first = trained(replace(SETTINGS, steps=1))
    _, last = trained()
    print(f"nats a hidden word: {first:.2f} in the first step, {last:.2f} in the last ones")
    assert last < first - 1.5  # measured 2.09 against 4.99


@torch.no_grad()
def matched(encoder: TextEncoder) -> float:
    """Share of reports whose findings lie nearest to their own impression (chance 3 %)."""
    findings, impressions = (section_vectors(encoder, part) for part in range(2))
    findings, impressions = (
        F.normalize(vectors - vectors.mean(dim=0), dim=1) for vectors in (findings, impressions)
    )
    best = (findings @ impressions.T).argmax(dim=1)
    return float((best == torch.arange(len(best))).float().mean())


def test_sections_find_each_other_only_when_they_are_matched() -> None:
    """All findings name the same five; which of them are denied is all that tells them apart."""
    alone, _ = trained(replace(SETTINGS, section_weight=0.0))
    both, _ = trained()
    print(f"sections matched: words alone {matched(alone):.0%}, both tasks {matched(both):.0%}")
    assert matched(both) > matched(alone) + 0.3  # measured 97 % against 16 %


def test_the_same_seed_gives_the_same_bits_and_another_other_ones() -> None:
    short = replace(SETTINGS, steps=3)
    first, again, other = (trained(short, seed=seed)[0] for seed in (1, 1, 2))
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(first.token_embedding.weight, other.token_embedding.weight)


@pytest.mark.parametrize("num_sections", [0, 1])
def test_a_corpus_without_sections_to_match_trains_on_words(num_sections: int) -> None:
    corpus, short = replace(CORPUS, sections=CORPUS.sections[:num_sections]), 2
    found, loss = trained(replace(SETTINGS, steps=short), corpus)
    words_alone, expected = trained(replace(SETTINGS, steps=short, section_reports=0))
    assert loss == expected
    for got, wanted in zip(found.parameters(), words_alone.parameters(), strict=True):
        assert torch.equal(got, wanted)
    assert not torch.equal(found.token_embedding.weight, make_encoder().token_embedding.weight)


def test_a_corpus_without_text_is_refused() -> None:
    with pytest.raises(DataError, match="no report text"):
        trained(corpus=Corpus(documents=[], sections=[]))


def test_a_rate_that_breaks_the_encoder_is_named() -> None:
    encoder = make_encoder()
    with pytest.raises(DataError, match=r"text encoder, step \d+: the loss is nan; lower corpus"):
        train_on_corpus(encoder, CORPUS, VOCABULARY, replace(SETTINGS, lr=1e30), 1)
    assert gradients(encoder) == []


def gradients(encoder: TextEncoder) -> list[str]:
    return [name for name, p in encoder.named_parameters() if p.grad is not None]


def test_no_gradient_is_left_whatever_way_it_ends(monkeypatch) -> None:
    encoder, _ = trained(replace(SETTINGS, steps=2))
    assert gradients(encoder) == []
    encoder = make_encoder()

    def interrupted(*_arguments: object) -> None:
        assert gradients(encoder) != []  # the backward pass is done, the step is not
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_on_corpus(encoder, CORPUS, VOCABULARY, SETTINGS, 1)
    assert gradients(encoder) == []


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"batch_size": 0}, {"word_ratio": 1.5}])
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CorpusConfig(**wrong)
