"""A small phantom store, and the settings of a run on it that takes about a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mg3d.data.grid import GridConfig
from mg3d.data.prepare import PrepareConfig, prepare
from mg3d.data.store import VolumeStore
from mg3d.model.fusion import FusionConfig
from mg3d.model.pooling import PoolingConfig
from mg3d.model.swin3d import SwinConfig
from mg3d.model.text import TextConfig
from mg3d.model.vlm import ModelConfig
from mg3d.objectives.masked_volume import MaskedVolumeConfig
from mg3d.objectives.registry import ObjectivesConfig
from mg3d.phantom.phantom import PhantomConfig, phantom
from mg3d.training.corpus import CorpusConfig
from mg3d.training.loop import LoopConfig
from mg3d.training.optim import OptimizerConfig
from mg3d.training.pretrain import PretrainConfig
from mg3d.training.start import StartConfig

GRID = (32, 16, 32)
MODEL = ModelConfig(
    grid=GRID,
    dim=16,
    embedding_dim=12,
    clause_dim=8,
    image=SwinConfig(patch_size=4, embed_dim=8, depths=(1, 1), num_heads=(2, 2), window=(4, 2, 4)),
    text=TextConfig(
        hidden_size=16, num_layers=1, num_heads=2, intermediate_size=16, clause_scope="clause"
    ),
    fusion=FusionConfig(layers=1, heads=2),
    pooling=PoolingConfig(kind="positional", report_kind="mean", heads=2, token_channels=4),
    decoder_channels=(8, 8, 4, 4),
)


@pytest.fixture(autouse=True)
def one_thread():
    """The same sums in the same order, and no fight for cores between test processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    phantom(
        PhantomConfig(
            out=folder, num_train=14, num_val=2, num_test=4, grid=(40, 36, 32), num_workers=1
        )
    )
    return folder


@pytest.fixture(scope="session")
def store(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> VolumeStore:
    return prepare(
        PrepareConfig(
            manifest=phantom_folder / "reports.csv",
            labels=phantom_folder / "labels.csv",
            out=tmp_path_factory.mktemp("store"),
            geometry=GridConfig(grid=GRID, spacing_mm=(11.0, 15.0, 10.0)),
            num_workers=1,
        )
    )


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
