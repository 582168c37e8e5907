"""The clause reference: frozen, centred, saved with the weights."""

import pytest
import torch

from mg3d.errors import ConfigError
from mg3d.model.reference import ClauseReference
from mg3d.model.text import TextConfig, TextEncoder, clause_means

IDS = torch.tensor([[2, 11, 12, 21, 3], [2, 13, 3, 0, 0]])
CLAUSES = torch.tensor([[0, 1, 1, 2, 0], [0, 1, 0, 0, 0]])
MASK = IDS != 0


def build(*, frozen: bool = False) -> tuple[TextEncoder, ClauseReference]:
    torch.manual_seed(8)
    encoder = TextEncoder(
        TextConfig(
            vocabulary_size=30,
            hidden_size=8,
            num_layers=1,
            num_heads=2,
            intermediate_size=8,
            frozen=frozen,
        )
    )
    return encoder, ClauseReference(encoder)


def test_it_is_the_clause_mean_of_the_encoder_less_the_corpus_mean() -> None:
    encoder, reference = build()
    mean = torch.randn(8)
    reference.set_(mean, (0.1, 0.9))
    clauses, mask = clause_means(*encoder(IDS, MASK, CLAUSES), CLAUSES)
    found = reference(IDS, MASK, CLAUSES, trained=encoder)
    torch.testing.assert_close(found[mask], clauses[mask] - mean)
    assert not found[~mask].any()
    assert not found.requires_grad


def test_it_stays_while_the_encoder_learns_and_follows_only_when_asked() -> None:
    encoder, reference = build()
    before = reference(IDS, MASK, CLAUSES, trained=encoder)
    with torch.no_grad():
        encoder.token_embedding.weight.add_(1 + torch.randn_like(encoder.token_embedding.weight))
    assert torch.equal(reference(IDS, MASK, CLAUSES, trained=encoder), before)
    reference.set_(torch.ones(8), (0.1, 0.9))
    reference.freeze_(encoder)
    clauses, mask = clause_means(*encoder(IDS, MASK, CLAUSES), CLAUSES)
    after = reference(IDS, MASK, CLAUSES, trained=encoder)
    torch.testing.assert_close(after[mask], clauses[mask])
    assert reference.cutoffs is None  # those of the encoder before do not hold any more
    assert not any(parameter.requires_grad for parameter in reference.parameters())


def test_a_frozen_encoder_serves_itself() -> None:
    encoder, reference = build(frozen=True)
    assert list(reference.parameters()) == []
    clauses, mask = clause_means(*encoder(IDS, MASK, CLAUSES), CLAUSES)
    found = reference(IDS, MASK, CLAUSES, trained=encoder)
    torch.testing.assert_close(found[mask], clauses[mask])


def test_everything_travels_in_the_state_dict() -> None:
    encoder, reference = build()
    reference.set_(torch.arange(8.0), (0.25, 0.75))
    torch.manual_seed(9)
    other = ClauseReference(TextEncoder(encoder.config))
    assert other.cutoffs is None
    other.load_state_dict(reference.state_dict())
    assert other.cutoffs == (0.25, 0.75)
    found = other(IDS, MASK, CLAUSES, trained=encoder)
    assert torch.equal(found, reference(IDS, MASK, CLAUSES, trained=encoder))


def test_autocast_does_not_round_it() -> None:
    encoder, reference = build()
    exact = reference(IDS, MASK, CLAUSES, trained=encoder)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(reference(IDS, MASK, CLAUSES, trained=encoder), exact)


@pytest.mark.parametrize("cutoffs", [(0.9, 0.1), (0.5, 0.5), (0.5, 1.5)])
def test_cutoffs_must_be_increasing_cosines(cutoffs: tuple[float, float]) -> None:
    _, reference = build()
    with pytest.raises(ConfigError, match="increasing cosines"):
        reference.set_(torch.zeros(8), cutoffs)
