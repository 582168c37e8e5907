"""The sampler against a process tree whose memory and stages are known."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

MIB = 2**20
HOLD = "import time; held = bytearray(b'x') * (64 * 2**20); print('ready', flush=True); "


@pytest.fixture
def demo() -> ModuleType:
    return importlib.import_module("demo")


def test_memory_of_a_grandchild_is_counted(demo: ModuleType) -> None:
    """64 MiB held two levels below; beside it two bare interpreters, some 10 MiB (measured)."""
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD + 'input()'!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert 64 * MIB < demo.tree_pss_bytes(process.pid) < 128 * MIB
        process.communicate("\n")
    assert demo.tree_pss_bytes(process.pid) == 0  # it is gone


def test_stages_are_told_apart(demo: ModuleType) -> None:
    """As make announces them; the second stage holds memory, the third does not."""
    script = (
        "import time; print('.venv/bin/mg3d phantom out --recipe x', flush=True); time.sleep(0.3)\n"
        f"print('.venv/bin/mg3d prepare a b', flush=True); {HOLD} time.sleep(0.5); del held\n"
        "print('.venv/bin/mg3d report run', flush=True); time.sleep(0.3); print('mg3d: done')\n"
    )
    stages = demo.measure([sys.executable, "-c", script], 0.02)
    assert [stage["name"] for stage in stages] == ["setup", "phantom", "prepare", "report"]
    peak = {stage["name"]: stage["peak_pss_bytes"] for stage in stages}
    wall = {stage["name"]: stage["wall_s"] for stage in stages}
    assert peak["prepare"] > 64 * MIB > peak["phantom"] > 0
    assert wall["prepare"] >= 0.5
    assert wall["report"] >= 0.3


def test_a_failure_is_passed_on(demo: ModuleType) -> None:
    with pytest.raises(SystemExit) as raised:
        demo.measure([sys.executable, "-c", "raise SystemExit(4)"], 0.1)
    assert raised.value.code == 4


def test_a_folder_that_holds_something_is_refused(demo: ModuleType, tmp_path, monkeypatch) -> None:
    (tmp_path / "store").mkdir()
    monkeypatch.setattr(sys, "argv", ["demo.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="not empty"):
        demo.main()
