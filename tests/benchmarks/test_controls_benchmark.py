"""The summary of control runs tells of each run what that run says of itself."""

import importlib
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

SHUFFLED = {"seed": 11, "commit": "trained", "shuffled_reports": True, "store_hash": "5f"}


@pytest.fixture
def controls() -> ModuleType:
    return importlib.import_module("controls")


@pytest.fixture
def given(tmp_path: Path) -> SimpleNamespace:
    return SimpleNamespace(
        out=tmp_path / "out", store=tmp_path / "store", recipe="phantom-tiny", threads=1
    )


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_finished_run_is_opened_again_and_keeps_its_commit(
    controls: ModuleType, given: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = given.out / "shuffled-11"
    write(run / "provenance.json", SHUFFLED)
    write(run / "evaluation" / "retrieval.json", {})
    called = []

    def pretrain(settings) -> int:
        called.append(("pretrain", settings.seed, settings.shuffle_reports, settings.run))
        write(run / "provenance.json", SHUFFLED | {"commit": "summarised"})
        return 0

    monkeypatch.setattr(controls, "pretrain", pretrain)
    monkeypatch.setattr(controls, "evaluate", lambda s: called.append(("evaluate", s.run)))
    monkeypatch.setattr(controls, "read_results", lambda folder: {"macro_auroc": 0.5})
    row = controls.run_one(given, 11, shuffled=True)
    assert called == [("pretrain", 11, True, run), ("evaluate", run)]
    assert row == {"seed": 11, "shuffled": True, "commit": "trained", "macro_auroc": 0.5}


def test_a_run_that_was_asked_to_stop_stops_the_script(
    controls: ModuleType, given: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls, "pretrain", lambda settings: 75)
    with pytest.raises(SystemExit) as raised:
        controls.run_one(given, 1, shuffled=False)
    assert raised.value.code == 75


def test_settings_of_the_phantom_are_kept(controls: ModuleType, tmp_path: Path) -> None:
    write(tmp_path / "phantom.json", {"settings": {"seed": 2412, "difficulty": "easy"}})
    assert controls.read_phantom(tmp_path) == {"seed": 2412, "difficulty": "easy"}
    assert controls.read_phantom(tmp_path / "absent") is None
