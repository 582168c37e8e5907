"""The sizes of the smallest run that has every part of the method, and a store for it."""

from pathlib import Path

from mg3d.data.grid import GridConfig
from mg3d.data.preparation.prepare import PrepareConfig, prepare
from mg3d.data.store import VolumeStore
from mg3d.model.fusion import FusionConfig
from mg3d.model.pooling import PoolingConfig
from mg3d.model.swin3d import SwinConfig
from mg3d.model.text import TextConfig
from mg3d.model.vlm import ModelConfig
from mg3d.phantom.phantom import PhantomConfig, phantom

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


def make_phantom(folder: Path) -> Path:
    """A synthetic hospital of 20 patients."""
    phantom(
        PhantomConfig(
            out=folder, num_train=14, num_val=2, num_test=4, grid=(40, 36, 32), num_workers=1
        )
    )
    return folder


def make_store(phantom_folder: Path, out: Path) -> VolumeStore:
    """Its store on the grid of `MODEL`."""
    return prepare(
        PrepareConfig(
            data=phantom_folder / "reports.csv",
            labels=phantom_folder / "labels.csv",
            out=out,
            geometry=GridConfig(grid=GRID, spacing_mm=(11.0, 15.0, 10.0)),
            num_workers=1,
        )
    )
