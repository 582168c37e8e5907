import pytest
import torch
from objective_cases import MIXED, apply, build_case
from objective_references import clause_pairs, sentence_similarity
from torch.utils._python_dispatch import TorchDispatchMode

from mg3d.objectives import clause_pairs as module
from mg3d.objectives.clause_pairs import ClausePairs, PairErrors


class LargestTensor(TorchDispatchMode):
    """Remembers the most numbers that any operator returned."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else [result]:
            if isinstance(each, torch.Tensor):
                self.numel = max(self.numel, each.numel())
        return result


@pytest.mark.parametrize("block", [1, 22, 50, 10**6])  # a row, a row, two rows, all of 22 clauses
def test_blocks_change_neither_loss_nor_gradient(monkeypatch, block):
    """Against loops over pairs in float64; measured 2e-16 and 3e-17."""
    monkeypatch.setitem(module.BLOCK_PAIRS, "cpu", block)
    case, looped = build_case(MIXED), build_case(MIXED)
    output = apply("sentence_similarity", case)
    output.loss.backward()
    expected = sentence_similarity(looped)
    expected.backward()
    torch.testing.assert_close(output.loss, expected.squeeze(), rtol=1e-13, atol=0)
    torch.testing.assert_close(
        case.views.clause_visual.grad, looped.views.clause_visual.grad, rtol=0, atol=1e-14
    )


def test_the_number_of_pairs_is_that_of_loops():
    case = build_case(MIXED)
    pairs = ClausePairs.of(case.views.clause_mask, case.batch.identities())
    assert pairs.num_pairs.item() == len(clause_pairs(case))


def test_nothing_of_the_size_of_all_pairs_exists(monkeypatch):
    monkeypatch.setitem(module.BLOCK_PAIRS, "cpu", 500)
    num_clauses, width = 400, 3
    features = torch.nn.functional.normalize(torch.randn(num_clauses, width), dim=1)
    identities = torch.arange(12).reshape(4, 3)
    pairs = ClausePairs.of(torch.ones(4, num_clauses // 4, dtype=torch.bool), identities)
    visual = features.clone().requires_grad_()
    with LargestTensor() as largest:
        error, _ = PairErrors.apply(visual, visual, features, features, pairs, (-0.5, 0.5), True)
        error.backward()
    assert visual.grad.abs().sum() > 0
    assert largest.numel == num_clauses * width  # the features themselves; all pairs are 160,000


def test_no_clause_at_all_costs_nothing():
    nobody = torch.zeros(0, 3, requires_grad=True)
    pairs = ClausePairs.of(torch.zeros(2, 1, dtype=torch.bool), torch.arange(6).reshape(2, 3))
    error, counts = PairErrors.apply(nobody, nobody, nobody, nobody, pairs, (0.0, 0.5), True)
    error.backward()
    assert (error.item(), counts.tolist(), pairs.num_pairs.item()) == (0, [0, 0], 0)
