"""Gathering with the right gradient, over two real processes and without any group."""

import pytest
import torch
from gather_worker import SHAPES, content, loss, work
from safetensors.torch import load_file

from mg3d import distributed

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gather")
    torch.multiprocessing.start_processes(
        work, args=(2, str(folder)), nprocs=2, start_method="forkserver"
    )
    return [load_file(folder / f"rank{rank}.safetensors") for rank in range(2)]


def padded(tensor, longest):
    """Zeros behind the second axis, up to ``longest``."""
    if tensor.ndim < 3:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(len(tensor), longest - tensor.shape[1], 2)], dim=1)


def together(name):
    """The rows of both ranks as one process would hold them, and each rank's leaf."""
    parts = [content(shape, rank).requires_grad_() for rank, shape in enumerate(SHAPES[name])]
    longest = max(part.shape[1] for part in parts)
    return torch.cat([padded(part, longest) for part in parts]), parts


@pytest.mark.distributed
@pytest.mark.parametrize("name", list(SHAPES))
def test_every_rank_gets_all_rows_in_rank_order(name, ranks):
    rows, parts = together(name)
    for number, rank in enumerate(ranks):
        assert torch.equal(rank[f"{name}.rows"], rows)
        assert torch.equal(rank[f"{name}.positive"], rows > 0)
        assert torch.equal(rank[f"{name}.whole"], (rows * 10).long())
        assert rank[f"{name}.first"] == sum(len(part) for part in parts[:number])


@pytest.mark.distributed
@pytest.mark.parametrize("name", list(SHAPES))
def test_gradients_of_all_ranks_add_up_at_the_owner(name, ranks):
    """Fails for a backward that keeps the local part only or divides by the number of ranks."""
    rows, parts = together(name)
    total = sum(loss(rows, rank) for rank in range(2))
    expected = torch.autograd.grad(total, parts)
    for rank, gradient in zip(ranks, expected, strict=True):
        torch.testing.assert_close(rank[f"{name}.grad"], gradient, rtol=1e-15, atol=0)


@pytest.mark.distributed
def test_sums_leave_the_original_alone(ranks):
    for number, rank in enumerate(ranks):
        assert rank["sum"].tolist() == [3, 20]
        assert rank["unsummed"].tolist() == [1 + number, 10]
        assert not rank["attached"]
        assert rank["rank"].tolist() == [number, 2]


@pytest.mark.distributed
def test_the_first_rank_gives_parameters_and_buffers(ranks):
    for rank in ranks:
        assert rank["weight"].tolist() == [5, 5]
        assert rank["buffer"] == 7


@pytest.mark.distributed
def test_who_waits_for_a_rank_that_fails_fails_too(ranks):
    assert [rank["nobody_fails"].item() for rank in ranks] == [0, 0]
    assert [rank["first_fails"].item() for rank in ranks] == [1, 2]
    assert [rank["all_fail"].item() for rank in ranks] == [1, 1]


def test_without_a_group_there_is_one_rank():
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    tensor = torch.ones(3, 2, requires_grad=True)
    assert distributed.all_gather_rows(tensor) is tensor
    assert distributed.first_row(3, CPU) == 0
    distributed.copy_from_first(torch.nn.Linear(1, 1))
    total = distributed.sum_over_ranks(tensor)
    assert torch.equal(total, tensor)
    assert not total.requires_grad
