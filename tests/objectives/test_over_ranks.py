"""Two and four processes train exactly as one: shares and gradients add up to the whole."""

import pytest
import torch
from objective_cases import relative_error
from rank_worker import SPLITS, case_of, measure, parameter_gradients, work
from safetensors.torch import load_file
from torch.nn import functional as F

from mg3d.objectives.registry import OBJECTIVES

TOLERANCE = 1e-12  # relative to the largest value; measured: losses 3.9e-16, gradients 6.8e-16

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Number of processes -> what each of them measured."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.start_processes(
        work, args=(str(folder),), nprocs=4, start_method="forkserver"
    )
    return {
        world: [load_file(folder / f"rank{rank}of{world}.safetensors") for rank in range(world)]
        for world in (2, 4)
    }


def joined(key, parts):
    """What the ranks' parts are of the whole: rows one below the other, all else a sum."""
    if not key.startswith("grad.") or "logit_scale" in key or "logit_bias" in key:
        return sum(parts)
    if key.startswith("grad.clause_"):
        longest = max(part.shape[1] for part in parts)
        parts = [F.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts]
    return torch.cat(parts)


@pytest.mark.parametrize("name", list(OBJECTIVES))
@pytest.mark.parametrize("split", list(SPLITS))
def test_many_processes_equal_one(name, split, ranks):
    whole = measure(name, case_of(split, None))
    measured_by_rank = ranks[len(SPLITS[split][1])]
    parts = {key: [part[f"{split}/{name}/{key}"] for part in measured_by_rank] for key in whole}
    together = {key: joined(key, value) for key, value in parts.items()}
    for kind in ("loss", "metric.", "grad."):
        expected = {key: value for key, value in whole.items() if key.startswith(kind)}
        measured = {key: together[key] for key in expected}
        tolerance = 1e-6 if kind == "metric." else TOLERANCE  # shares of counts are float32: 8.1e-8
        assert relative_error(measured, expected) <= tolerance, (kind, measured, expected)


@pytest.mark.parametrize("split", list(SPLITS))
def test_parameters_under_ddp_get_the_gradients_of_one_process(split, ranks):
    """DDP averages, so the share times the number of ranks is what backward starts from."""
    expected = parameter_gradients(case_of(split, None), wrapped=False)
    for rank in ranks[len(SPLITS[split][1])]:
        measured = {key: rank[f"{split}/heads/{key}"] for key in expected}
        assert relative_error(measured, expected) <= TOLERANCE


def test_the_splits_try_what_they_say():
    longest = [case_of("unequal", rank).views.clause_mask.shape[1] for rank in range(2)]
    assert longest == [1, 5]
    assert not case_of("a rank without reports", 0).views.has_report.any()
    assert len(case_of("a rank without studies", 1).batch) == 0
