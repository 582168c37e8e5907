"""Exporters are found by themselves; numbers and labels are spelled without loss."""

from pathlib import Path

import numpy as np

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.phantom.export.exporter import (
    exporters,
    label_cells,
    short_decimals,
    volumes,
    write_side_tables,
)


def test_each_is_found_under_its_name() -> None:
    assert list(exporters()) == sorted(exporters())
    assert all(name == each.name and each.keeps for name, each in exporters().items())


def test_short_decimals_are_the_same_float32() -> None:
    numbers = np.random.default_rng(0).uniform(0.1, 9, 1000).astype(np.float32)
    short = short_decimals(numbers.tolist())
    assert (np.array(short, dtype=np.float32) == numbers).all()
    assert short_decimals([np.float32(0.744).item()]) == [0.744]


def test_unknown_labels_are_empty_cells(small: Catalogue, tmp_path: Path) -> None:
    assert label_cells(small, small.rows[1]) == {"nodule": "1", "mass": ""}
    write_side_tables(small, tmp_path / "out")
    lines = (tmp_path / "out/findings.csv").read_text().splitlines()
    assert lines[:2] == ["study_id,nodule,mass", "train_1,0,"]
    assert (tmp_path / "out/reports.csv").read_text().splitlines()[2] == "val_1,Clear.,"


def test_volumes_come_with_their_rows(small: Catalogue) -> None:
    pairs = list(volumes(small.rows))
    assert [row for row, _ in pairs] == list(small.rows)
    assert [int(volume.array.min()) for _, volume in pairs] == [-1024, -1023, -1022]
