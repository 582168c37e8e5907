"""Rates are found again, used where they belong, and kept in a file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mg3d.errors import DataError
from mg3d.training import calibration as module
from mg3d.training.calibration import Calibration, calibrate, fit_rates, held_bytes, seconds_of
from mg3d.training.trial import StepWork
from mg3d.training.work import VIEW, Load, Operation, Trace, Work

TRUE = {"aten.mm float32": (2e-6, 1e-11, 1e-10), "aten.exp float32": (5e-6, 0.0, 4e-10)}


def calls(seed: int) -> list[Operation]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for kind, (call, operation, byte) in TRUE.items():
        for _ in range(20):
            flops, moved = (torch.rand(2, generator=generator) * 1e7 + 1e4).tolist()
            flops = flops * 100 if operation else 0.0
            found.append(Operation(kind, flops, moved, call + operation * flops + byte * moved))
    return found


def calibration() -> Calibration:
    return Calibration(
        device="cpu", precision="32-true", threads=1, rates=fit_rates(calls(0)), step_factor=1.5,
        process_gb=0.5, held_factor=1.2,
    )  # fmt: skip


def test_planted_rates_are_found_again() -> None:
    rates = fit_rates(calls(0))
    for kind, true in TRUE.items():
        assert rates[kind] == pytest.approx(true, rel=1e-6, abs=1e-20)  # measured 2e-10
    work = Work({"aten.mm float32": Load(3, 1e9, 1e6)}, 0)
    assert seconds_of(work, rates) == pytest.approx(6e-6 + 1e-2 + 1e-4)
    assert calibration().seconds(work) == pytest.approx(1.5 * (6e-6 + 1e-2 + 1e-4))


def test_all_calls_together_take_what_they_took() -> None:
    noisy = [
        note._replace(seconds=note.seconds * (1 + 0.3 * (index % 3)))
        for index, note in enumerate(calls(1))
    ]
    rates = fit_rates(noisy)
    for kind in TRUE:
        own = [note for note in noisy if note.kind == kind]
        load = Load(*(sum(values) for values in zip(*[(1, *n[1:3]) for n in own], strict=True)))
        took = sum(note.seconds for note in own)
        assert seconds_of(Work({kind: load}, 0), rates) == pytest.approx(took)


def test_kinds_never_measured_take_the_rates_of_their_class() -> None:
    rates = fit_rates([*calls(0), Operation(VIEW, 0.0, 0.0, 1e-6)])
    new = Work({"aten.bmm bfloat16": Load(1, 1e9, 0), "aten.tanh float32": Load(1, 0, 1e6)}, 0)
    assert rates["product"] == pytest.approx(TRUE["aten.mm float32"], rel=1e-6)
    assert rates["other"] == pytest.approx(TRUE["aten.exp float32"], rel=1e-6)
    expected = 2e-6 + 1e-2 + 5e-6 + 4e-4
    assert seconds_of(new, rates) == pytest.approx(expected)
    known = Work({"aten.mm float32": Load(1, 1e9, 0)}, 0)
    assert calibration().unknown_share(known) == 0
    assert calibration().unknown_share(Work({**new.loads, **known.loads}, 0)) == pytest.approx(
        expected / (expected + 2e-6 + 1e-2), rel=1e-3
    )


MB = 1e6


class Machine:
    """A trial whose steps take known times, of which its operators account for half."""

    device = torch.device("cpu")
    process_bytes = 300 * MB
    work = StepWork(
        one=Work({}, 100 * MB), two=Work({}, 120 * MB), update=Work({}, 5 * MB),
        weights=3_000_000, trained=2_000_000,
    )  # fmt: skip

    def __init__(self, seconds_a_row: float) -> None:
        self.seconds_a_row = seconds_a_row
        self.sizes: list[int] = []
        self.traced: list[int] = []

    def time(self, rows: int, _repeats: int) -> float:
        self.sizes.append(rows)
        return rows * self.seconds_a_row

    def trace(self, rows: int) -> tuple[Trace, Trace]:
        self.traced.append(rows)
        share = self.seconds_a_row * rows / 2
        products = [Operation("aten.mm float32", 1e9 * rows, 0.0, 0.75 * share)]
        return Trace(products, 0.0), Trace([Operation("aten.add float32", 0.0, 1e6, share / 4)], 0)


def calibrated(machine: Machine, monkeypatch: pytest.MonkeyPatch, most_rows: int) -> Calibration:
    state = (3 + 2 * 2) * 4 * MB  # weights and two moments
    peak = machine.process_bytes + state + 1.25 * (100 + 20 * (most_rows - 1)) * MB
    monkeypatch.setattr(module, "peak_bytes", lambda _device: peak)
    return calibrate(machine, "32-true", most_rows)  # type: ignore[arg-type]


def test_a_machine_is_measured_by_its_largest_step(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0.01)
    found = calibrated(machine, monkeypatch, most_rows=8)
    assert machine.sizes == [1, 2, 8]
    assert machine.traced == [4, 8]
    rates = found.rates["aten.mm float32"]
    assert rates == pytest.approx((0.0, 0.01 * 0.75 / 2 / 1e9, 0.0), abs=1e-18)
    # 0.08 s for products of 0.03 and an update that took 0.005 and 0.01 for the same work
    assert found.step_factor == pytest.approx(0.08 / (0.03 + 0.0075))
    assert found.process_gb == pytest.approx(0.3)
    assert found.held_factor == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("seconds_a_row", "most_rows", "sizes"),
    [
        (0.01, 2, [1, 2]),
        (0.01, 3, [1, 2, 3]),
        (1.0, 50, [1, 2, 5]),  # a step may take 5 s
        (4.0, 50, [1, 2]),
    ],
)
def test_no_larger_step_is_tried_than_time_allows(
    seconds_a_row: float, most_rows: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(seconds_a_row)
    calibrated(machine, monkeypatch, most_rows)
    assert machine.sizes == sizes


def test_an_update_may_hold_more_than_a_pass() -> None:
    step = replace(Machine.work, update=Work({}, 500 * MB))
    assert held_bytes(step, 2) == 500 * MB + 4 * 2 * MB  # with the gradients
    assert held_bytes(Machine.work, 3) == 140 * MB


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    calibration().save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == calibration()
    content = json.loads((tmp_path / "c.json").read_text())
    for damaged in (
        {**content, "schema": "other"},
        {**content, "rates": {"view": [1.0]}},
        {**content, "rates": [1]},
        {key: value for key, value in content.items() if key != "threads"},
    ):
        (tmp_path / "c.json").write_text(json.dumps(damaged))
        with pytest.raises(DataError, match="no calibration of this version"):
            Calibration.load(tmp_path / "c.json")
    with pytest.raises(DataError, match="FileNotFoundError"):
        Calibration.load(tmp_path / "none.json")
