"""Five of the harness's points; the hundred run in benchmarks/crashes.py."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def crashes() -> Iterator[ModuleType]:
    """The script as a module that the processes it starts import too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield importlib.import_module("crashes")


@pytest.fixture(scope="module")
def harness(crashes: ModuleType, tmp_path_factory: pytest.TempPathFactory):
    return crashes.Harness(tmp_path_factory.mktemp("crashes"))


@pytest.mark.parametrize(
    ("command", "way", "codes"),
    [
        ("prepare", "kill -9 in a write", {-9}),
        ("pretrain", "kill -9", {-9}),
        ("pretrain", "full disk", {1}),
        ("pretrain", "SIGTERM", {75, -15}),
    ],
)
def test_a_stopped_command_ends_bit_equal(harness, command, way, codes) -> None:
    point = harness.try_point(command, way, "3")
    assert point.equal
    assert point.exit_code in codes  # it was stopped, and said so as promised


def test_one_changed_byte_is_a_difference(crashes: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    file = tmp_path / "volumes" / "v.safetensors"
    file.write_bytes(b"abc")
    before = crashes.store_content(tmp_path)
    file.write_bytes(b"abd")
    assert crashes.store_content(tmp_path) != before
    file.write_bytes(b"abc")
    assert crashes.store_content(tmp_path) == before
    (tmp_path / ".left-over").write_bytes(b"")
    assert crashes.store_content(tmp_path) != before


def test_a_changed_weight_or_loss_is_a_difference_and_a_time_is_not(
    crashes: ModuleType, tmp_path: Path
) -> None:
    weights = tmp_path / "release" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"abc")
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1, "loss": {"total": 1.0}, "seconds": 1.0}\n')
    before = crashes.run_content(tmp_path)
    log.write_text('{"step": 1, "loss": {"total": 1.0}, "seconds": 2.0}\n')
    assert crashes.run_content(tmp_path) == before
    log.write_text('{"step": 1, "loss": {"total": 1.1}, "seconds": 2.0}\n')
    assert crashes.run_content(tmp_path) != before
