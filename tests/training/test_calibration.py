"""Rates are found again, used where they belong, and kept in a file."""

import json
from pathlib import Path

import pytest
import torch

from mg3d.errors import DataError
from mg3d.training.calibration import Calibration, fit_rates, seconds_of
from mg3d.training.work import VIEW, Load, Operation, Work

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
