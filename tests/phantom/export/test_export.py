"""`mg3d export`: phantoms only, into an empty folder."""

from pathlib import Path

import pytest

from mg3d.cli import main
from mg3d.data.layouts.catalogue import Catalogue
from mg3d.errors import ConfigError
from mg3d.phantom.export.export import ExportConfig, export
from mg3d.phantom.phantom import PhantomConfig, phantom


def test_a_phantom_is_written_in_another_form(tmp_path: Path) -> None:
    source = tmp_path / "phantom"
    phantom(
        PhantomConfig(
            out=source, num_train=1, num_val=0, num_test=1, grid=(32, 32, 32), num_workers=1,
            follow_up_share=0,
        )
    )  # fmt: skip
    assert main(["export", str(source), str(tmp_path / "out"), "monai_datalist"]) == 0
    assert len(list((tmp_path / "out/images").iterdir())) == 2
    with pytest.raises(ConfigError, match="holds something"):
        export(ExportConfig(data=source, out=tmp_path / "out", form="msd"))


def test_only_phantoms_are_exported(small: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is no phantom"):
        export(ExportConfig(data=small.folder, out=tmp_path / "out", form="msd"))


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ct_rate'"):
        ExportConfig(data=Path(), out=Path(), form="ctrate")
