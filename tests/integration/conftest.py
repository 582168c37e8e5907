"""A small phantom store, and the settings of a run on it that takes about a second."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mg3d.data.store import VolumeStore
from mg3d.objectives.masked_volume import MaskedVolumeConfig
from mg3d.objectives.registry import ObjectivesConfig
from mg3d.training.corpus import CorpusConfig
from mg3d.training.loop import LoopConfig
from mg3d.training.optim import OptimizerConfig
from mg3d.training.pretrain import PretrainConfig
from mg3d.training.start import StartConfig

sys.path.append(str(Path(__file__).parent))
from small_run import MODEL, make_phantom, make_store


@pytest.fixture(autouse=True)
def one_thread():
    """The same sums in the same order, and no fight for cores between test processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> VolumeStore:
    folder = make_phantom(tmp_path_factory.mktemp("phantom"))
    return make_store(folder, tmp_path_factory.mktemp("store"))


@pytest.fixture
def settings(store: VolumeStore, tmp_path: Path) -> Callable[..., PretrainConfig]:
    def make(**changes: Any) -> PretrainConfig:
        values: dict[str, Any] = {
            "store": store.path,
            "run": tmp_path / "run",
            "model": MODEL,
            "objectives": ObjectivesConfig(masked_volume=MaskedVolumeConfig(block=(8, 8, 8))),
            "start": StartConfig(whitening_studies=8, canonical_components=8),
            "corpus": CorpusConfig(steps=2, batch_size=8, section_reports=4),
            "optimizer": OptimizerConfig(lr=1e-3, warmup_steps=1),
            "loop": LoopConfig(
                steps=4, batch_size=4, checkpoint_every=2, log_every=1, shortcut_every=2
            ),
            "vocabulary_size": 300,
            "accelerator": "cpu",
            "threads": 1,
        }
        return PretrainConfig(**(values | changes))

    return make
