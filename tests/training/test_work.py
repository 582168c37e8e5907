"""Operators, their sizes and the memory they hold are noted as they are."""

import pytest
import torch
from torch import Tensor, nn

from mg3d.training.work import VIEW, Load, Work, trace


def flops_of(function) -> float:  # type: ignore[no-untyped-def]
    return sum(operation.flops for operation in trace(function).operations)


def test_products_and_convolutions_with_their_gradients() -> None:
    linear, x = nn.Linear(256, 512), torch.randn(300, 256, requires_grad=True)
    assert flops_of(lambda: linear(x).sigmoid().sum().backward()) == 3 * 2 * 300 * 256 * 512
    convolution, image = nn.Conv3d(2, 4, 3, padding=1), torch.rand(1, 2, 8, 8, 8)
    done = flops_of(lambda: convolution(image).sum().backward())
    assert done == 2 * 2 * 8**3 * 27 * 2 * 4  # the image asks for no gradient


def test_what_moves_and_what_only_looks() -> None:
    x = torch.randn(100, 20)
    notes = trace(lambda: x.t().reshape(10, 200).double()).operations
    assert [note.kind for note in notes if note.kind == VIEW]
    moved = {note.kind: note.moved_bytes for note in notes if note.kind != VIEW}
    assert moved["aten._to_copy float64"] == 2000 * (4 + 8)
    in_place = trace(lambda: x.view(-1).add_(1)).operations
    assert in_place[-1].kind == "aten.add float32"
    assert in_place[-1].moved_bytes == 2 * 8000  # read and written
    assert all(note.seconds > 0 for note in notes)


def test_a_lookup_moves_what_it_looks_up() -> None:
    table, rows = torch.randn(1000, 10), torch.tensor([3, 5])
    (found,) = trace(lambda: table.index_select(0, rows)).operations
    assert found.moved_bytes == 2 * 2 * 10 * 4
    source = torch.ones(2, 10)
    (put,) = trace(lambda: table.index_copy_(0, rows, source)).operations
    assert (put.kind, put.moved_bytes) == ("aten.index_copy float32", 2 * 2 * 10 * 4)


def test_held_memory_is_that_of_the_fullest_moment() -> None:
    x = torch.zeros(1000)

    def run() -> Tensor:
        first = x + 1  # 4 kB
        second = torch.cat([first, first])  # 12 kB
        del first
        third = second[:500].exp()  # 10 kB; the slice is a view
        return third.mul_(2)

    assert trace(run).held_bytes == 12000


def test_held_memory_of_a_backward_pass() -> None:
    x = torch.randn(1000, requires_grad=True)
    held = trace(lambda: x.sigmoid().exp().sum().backward()).held_bytes
    assert held == 3 * 4000 + 8  # two results and the gradient of one, with a sum and its gradient
    held = trace(lambda: (x * 1.0).relu_().sum()).held_bytes
    assert held == 4004


def test_work_grows_along_a_line() -> None:
    one = Work({"a": Load(1, 10, 100), "b": Load(2, 0, 8)}, 50)
    two = Work({"a": Load(1, 14, 130), "c": Load(1, 0, 4)}, 70)
    four = one.grown(two, 3)
    assert four.loads["a"] == Load(1, 22, 190)
    assert four.loads["b"] == Load(0, 0, 0)  # nothing runs less than never
    assert four.loads["c"] == Load(3, 0, 12)
    assert four.held_bytes == 110


def test_the_sum_of_a_trace() -> None:
    x = torch.randn(50, 50)
    passed = trace(lambda: (x @ x) @ x)
    load = passed.work.loads["aten.mm float32"]
    assert load == pytest.approx(Load(2, 2 * 2 * 50**3, 2 * 3 * 10000))
    assert passed.work.held_bytes == passed.held_bytes == 20000
