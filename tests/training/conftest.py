"""The small run of the integration tests, part by part; one thread, and processes to start."""

import multiprocessing
import sys
from pathlib import Path

import pytest
import torch

from mg3d import cli
from mg3d.data.store import VolumeStore
from mg3d.data.text.tokens import ReportTokenizer
from mg3d.training.planner import PlanConfig

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "integration")]
from small_run import make_phantom, make_store  # noqa: E402

# Import once what every process needs (DDP imports torch._dynamo, seconds of it), then fork.
multiprocessing.set_forkserver_preload(["mg3d.training.task", "torch._dynamo"])


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> VolumeStore:
    folder = make_phantom(tmp_path_factory.mktemp("phantom"))
    return make_store(folder, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def tokenizer(small_store: VolumeStore) -> ReportTokenizer:
    reports = [small_store.report(row.study_id) for row in small_store.select("train")]
    return ReportTokenizer.train([f"{r.findings} {r.impression}" for r in reports], 300)


@pytest.fixture
def settings() -> PlanConfig:
    """A plan of steps of milliseconds."""
    words = [
        "phantom-tiny", "--model.grid=[32,32,32]", "--model.image.window=[2,2,2]",
        "--model.dim=16", "--model.image.embed_dim=12", "--accelerator=cpu", "--report_tokens=20",
    ]  # fmt: skip
    parsed: PlanConfig = cli.parse(PlanConfig, "plan", words)
    return parsed
