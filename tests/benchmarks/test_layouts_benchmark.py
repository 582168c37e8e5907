"""The benchmark of layouts, on two tiny phantoms and ten empty files."""

from pathlib import Path

import numpy as np
import pytest

from mg3d.data.layouts.layout import LayoutOptions, read_catalogue
from mg3d.data.volume import Volume
from mg3d.phantom.export.exporter import exporters
from mg3d.phantom.phantom import PhantomConfig, phantom


def test_a_form_without_loss_has_no_error(tmp_path: Path) -> None:
    import layouts as benchmark

    source = tmp_path / "phantom"
    phantom(
        PhantomConfig(out=source, num_train=1, num_val=1, num_test=0, grid=(32, 32, 32),
                      num_workers=1)
    )  # fmt: skip
    options = LayoutOptions(labels=source / "labels.csv")
    catalogue = read_catalogue(source / "reports.csv", "manifest", options)
    row = benchmark.compare(catalogue, exporters()["monai_datalist"], tmp_path / "out")
    assert (row["mean_hu_error"], row["largest_hu_error"]) == (0, 0)
    assert row["megabytes"] > 0


def test_errors_are_those_within_the_window() -> None:
    import layouts as benchmark

    ours = Volume(np.full((2, 2, 2), 1500, dtype=np.int16), np.eye(4))
    theirs = Volume(np.full((2, 2, 2), 990, dtype=np.int16), np.eye(4))
    assert benchmark.hu_error(ours, theirs).max() == pytest.approx(10)


def test_the_catalogue_holds_every_volume(tmp_path: Path) -> None:
    import layouts as benchmark

    row = benchmark.time_catalogue(tmp_path, 10)
    assert row["volumes"] == 10
    assert set(row["faults"]) <= {"split_rule"}
