"""The log of a run: no step twice, no torn row, nobody's name."""

import getpass
import json
import platform
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mg3d.training import recorder
from mg3d.training.recorder import Recorder, read_metrics, source_commit, write_environment


def row(step: int) -> dict:
    return {
        "step": step,
        "loss": {"total": 1.0 / step},
        "metrics": {"clip.top1": 0.5},
        "lr": 0.1,
        "volumes_per_second": 3.0,
    }


def record(run: Path, first_step: int, steps: list[int]) -> None:
    log = Recorder(run, first_step)
    for step in steps:
        log.log(row(step))
    log.close()


def test_rows_come_back_as_they_were_logged(tmp_path: Path) -> None:
    record(tmp_path, 0, [1, 2])
    assert read_metrics(tmp_path / "metrics.jsonl") == [row(1), row(2)]
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in board.Scalars("loss/total")] == [(1, 1.0), (2, 0.5)]
    assert board.Scalars("metrics/clip.top1")[0].value == 0.5


def test_after_a_resume_no_step_is_told_twice(tmp_path: Path) -> None:
    record(tmp_path, 0, [1, 2, 3])
    record(tmp_path, 2, [3, 4])  # the last checkpoint was that of step 2
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


@pytest.mark.parametrize("kept", [1, 20, -2])
def test_a_torn_last_row_is_left_out(tmp_path: Path, kept: int) -> None:
    record(tmp_path, 0, [1, 2, 3])
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    path.write_bytes(whole[:last] + whole[last:][:kept])
    assert read_metrics(path) == [row(1), row(2)]
    record(tmp_path, 3, [4])  # the next row does not become part of the torn one
    assert [r["step"] for r in read_metrics(path)] == [1, 2, 4]


def test_a_run_without_a_log_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_the_source_and_says_if_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "source" / "package" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    monkeypatch.setattr(recorder, "mg3d", SimpleNamespace(__file__=str(module)))
    assert source_commit() is None  # outside git

    def git(*words: str) -> str:
        author = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", "-C", str(module.parent), *author, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    git("init", str(module.parents[1]))
    git("add", ".")
    git("commit", "-m", "first")
    commit = git("log", "--format=%H").strip()
    assert source_commit() == commit
    (tmp_path / "source" / "elsewhere").write_text("not of the package")
    assert source_commit() == commit
    module.write_text("changed = True")
    assert source_commit() == f"{commit}+changes"


def test_the_environment_names_versions_but_no_host_user_or_folder(tmp_path: Path) -> None:
    write_environment(tmp_path)
    text = (tmp_path / "environment.json").read_text()
    content = json.loads(text)
    assert content["python"] == platform.python_version()
    assert set(content["packages"]) >= {"torch", "monai", "transformers"}
    assert content["commit"] == source_commit()
    strings = [value for value in _leaves(content) if isinstance(value, str)]
    for private in (platform.node(), getpass.getuser(), str(Path.home())):
        assert not any(private == part for value in strings for part in value.split()), private
    assert not any("/" in value or "\\" in value for value in strings)


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [value]
