"""1 = 2 = 4 processes = accumulated: the same losses and gradients, for DDP and for FSDP2."""

import socket
from dataclasses import replace
from functools import cache

import pytest
import torch
from gradients_worker import CASES, MICRO_SIZES, STRATEGIES, gradients, sizes_of, task_of, work
from relative_error import relative_error
from safetensors.torch import load_file
from task_worker import CONTEXT, make_batch, measure
from torch import Tensor, nn

from mg3d.errors import ConfigError
from mg3d.training.accumulate import accumulate, require_no_batch_statistics
from mg3d.training.engine import launch

# Relative to the largest loss or gradient of the undivided batch in one process, in float64.
# Measured: losses 3.6e-16, gradients 3.8e-15 and, of sentence_similarity alone, 2.6e-14.
TOLERANCE = 1e-12
FLOAT32_TOLERANCE = 1e-5  # measured: 1.2e-6
METRIC_TOLERANCE = 1e-6  # shares of counts are float32; measured: 8.1e-8


@cache
def undivided(case: str) -> dict[str, Tensor]:
    """One process, one batch, float64."""
    return gradients(case, torch.float64)


def errors(found: dict[str, Tensor], case: str) -> tuple[float, float]:
    """Of the losses and of the gradients, relative to the largest of each; metrics are checked."""
    expected = undivided(case)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.startswith("share."):
            assert float(found[name]) == pytest.approx(float(value), METRIC_TOLERANCE), name
    losses, grads = (relative_error(found, expected, kind) for kind in ("share.loss", "grad."))
    return losses, grads


@pytest.mark.parametrize("case", CASES)
def test_micro_batches_have_the_gradient_of_the_batch(case: str) -> None:
    for micro in sizes_of(case, 1):
        losses, grads = errors(gradients(case, torch.float64, micro=micro), case)
        print(f"{case}, micro-batch {micro}: losses {losses:.1e}, gradients {grads:.1e}")
        assert losses <= TOLERANCE
        assert grads <= TOLERANCE


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request: pytest.FixtureRequest, tmp_path_factory) -> list[dict[str, Tensor]]:
    """What each of the processes measured."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(
        work,
        args=(request.param, port, str(folder)),
        nprocs=request.param,
        start_method="forkserver",
    )
    return [
        load_file(folder / f"rank{rank}of{request.param}.safetensors")
        for rank in range(request.param)
    ]


def of_all(ranks: list[dict[str, Tensor]], prefix: str) -> list[dict[str, Tensor]]:
    return [
        {
            name.removeprefix(prefix): value
            for name, value in rank.items()
            if name.startswith(prefix)
        }
        for rank in ranks
    ]


@pytest.mark.distributed
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("case", CASES)
def test_processes_have_the_gradient_of_one(case: str, strategy: str, ranks) -> None:
    for micro in sizes_of(case, len(ranks)):
        found = of_all(ranks, f"{strategy}/{case}/{micro}/")
        shares = {
            name: torch.stack([rank[name] for rank in found]).sum()
            for name in found[0]
            if name.startswith("share.")
        }
        for rank in found:  # every process holds the whole gradient
            losses, grads = errors({**rank, **shares}, case)
            assert losses <= TOLERANCE
            assert grads <= TOLERANCE
        print(f"{len(ranks)} processes, {strategy}, {case}, {micro}: {losses:.1e}, {grads:.1e}")


@pytest.mark.distributed
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_float32_differs_by_rounding_only(strategy: str, ranks) -> None:
    found = of_all(ranks, f"{strategy}/float32/1/")
    error = relative_error(found[0], undivided("all, cross-attention"), "grad.")
    print(f"{len(ranks)} processes, {strategy}, float32: {error:.1e}")
    assert error <= FLOAT32_TOLERANCE


def test_the_sizes_try_an_uneven_last_part() -> None:
    assert any(8 // world % size for world, sizes in MICRO_SIZES.items() for size in sizes if size)


def test_autocast_covers_both_passes() -> None:
    """A pass in float32 would differ by 1.2e-2 or more; 4.1e-2 is the way to float64."""
    case = "all, cross-attention"
    whole, parts = (
        gradients(case, torch.float32, micro=micro, precision="bf16-mixed") for micro in (0, 3)
    )
    error = relative_error(parts, whole, "grad.")
    rounding = relative_error(whole, undivided(case), "grad.")
    print(f"bfloat16: {error:.1e} between them, {rounding:.1e} to float64")
    assert rounding > 2e-2  # autocast is on at all
    assert error <= 2e-3  # measured: 6.7e-4; 7.3e-3 with the losses' own backward pass in it


class Noisy(nn.Module):
    """Random in training, as dropout is; a second pass must repeat it."""

    def forward(self, vectors: Tensor) -> Tensor:
        return torch.nn.functional.dropout(vectors, 0.5)


def test_a_second_pass_draws_what_the_first_one_drew() -> None:
    """With other draws, the echoed gradients would belong to features that are not there."""
    fabric = launch("cpu", "32-true")
    task = task_of("plain_alignment", torch.float64)
    task.model.image_projection = nn.Sequential(task.model.image_projection, Noisy())
    wrapped, seen = fabric.setup_module(task), []
    original = type(task).views

    def watched(self, *given):
        views = original(self, *given)
        seen.append(views.image_embedding.detach())
        return views

    type(task).views = watched
    try:
        accumulate(fabric, wrapped, task, make_batch(), CONTEXT, 3)
    finally:
        type(task).views = original
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(seen[0], seen[1])


def test_only_the_voxels_of_a_micro_batch_are_needed_at_once() -> None:
    """Coupled objectives must not read volumes, which stay where the loader put them."""
    fabric = launch("cpu", "32-true")
    task = task_of("all, cross-attention", torch.float64)
    wrapped, rows = fabric.setup_module(task), []
    original = task.model.encode_image
    task.model.encode_image = lambda image: (rows.append(len(image)), original(image))[1]
    accumulate(fabric, wrapped, task, make_batch(), CONTEXT, 3)
    assert rows == [3, 3, 2, 6, 6, 4]  # without a graph, then clean and masked together


def test_batch_statistics_are_refused() -> None:
    task = task_of("plain_alignment", torch.float64)
    require_no_batch_statistics(task, "micro-batches")
    task.model.image_projection = nn.Sequential(task.model.image_projection, nn.BatchNorm1d(48))
    with pytest.raises(ConfigError, match=r"image_projection\.1 is a BatchNorm1d.*micro-batches"):
        require_no_batch_statistics(task, "micro-batches")


def test_a_batch_of_one_report_and_one_volume_without_any_is_accumulated() -> None:
    batch = make_batch()
    fabric = launch("cpu", "32-true")
    task = task_of("all, cross-attention", torch.float64)
    lonely = replace(
        batch,
        token_mask=batch.token_mask & (torch.arange(8) == 0)[:, None],
        clause_ids=batch.clause_ids * (torch.arange(8) == 0)[:, None],
        word_ids=batch.word_ids * (torch.arange(8) == 0)[:, None],
    )
    shares = accumulate(fabric, fabric.setup_module(task), task, lonely, CONTEXT, 3)
    expected = measure(task_of("all, cross-attention", torch.float64), lonely)
    assert float(shares["loss.masked_report"]) > 0  # the one report has words to hide
    found = {f"share.{name}": share for name, share in shares.items()}
    found |= {f"grad.{name}": p.grad for name, p in task.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    losses, grads = (relative_error(found, expected, kind) for kind in ("share.loss", "grad."))
    print(f"one report: losses {losses:.1e}, gradients {grads:.1e}")
    assert losses <= TOLERANCE
    assert grads <= TOLERANCE
