"""Folders of slices: order, window and geometry come out as stated, or the folder is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mg3d.data.reading import read_scan, source_files
from mg3d.data.scan import ScanSource, Stated
from mg3d.data.scan_error import ScanError

STATED = Stated(window_hu=(-1000.0, 1000.0), axes="LPI", spacing_mm=(0.75, 0.75, 5.0))


def _write(folder: Path, grey: np.ndarray, ending: str = ".png", **options: Any) -> Path:
    """(columns, rows, slices) as one picture a slice, named 1, 2, ... 10 as CTRG does."""
    folder.mkdir(exist_ok=True)
    for index in range(grey.shape[2]):
        Image.fromarray(grey[:, :, index].T).save(folder / f"{index + 1}{ending}", **options)
    return folder


def _grey(hu: np.ndarray) -> np.ndarray:
    return np.rint((hu.clip(-1000, 1000) + 1000) / 2000 * 255).astype(np.uint8)


def _read(folder: Path, stated: Stated = STATED) -> Any:
    return read_scan(ScanSource(path=folder, stated=stated))


def test_grey_levels_become_hu_within_half_a_level(
    tmp_path: Path, body: Callable[..., Any]
) -> None:
    hu = body(shape=(20, 18, 12))
    scan = _read(_write(tmp_path / "s", _grey(hu)))
    assert scan.volume.shape == (20, 18, 12)
    assert scan.volume.axes == "LPI"
    np.testing.assert_allclose(scan.volume.spacing_mm, (0.75, 0.75, 5))
    # Half of 7.84 HU a level, and half for rounding: measured 4.4.
    assert np.abs(scan.volume.array - hu.clip(-1000, 1000)).max() <= 4.5
    assert {kind for kind, _ in scan.faults} == {"geometry_stated", "hu_from_8bit"}


def test_jpeg_stays_near(tmp_path: Path, body: Callable[..., Any]) -> None:
    hu = body(shape=(64, 48, 3))
    scan = _read(_write(tmp_path / "s", _grey(hu), ".jpg", quality=90))
    error = np.abs(scan.volume.array - hu.clip(-1000, 1000))
    assert error.mean() < 20  # measured 8.1 HU, largest 50, at the edges of the boxes
    assert error.max() < 120


def test_slices_come_in_natural_order_and_other_files_are_left_alone(tmp_path: Path) -> None:
    grey = np.zeros((4, 4, 12), np.uint8) + np.arange(12, dtype=np.uint8) * 20
    folder = _write(tmp_path / "s", grey)
    (folder / "notes.txt").write_text("not a slice")
    array = _read(folder).volume.array
    assert (np.diff(array[0, 0]) > 0).all()
    names = [path.name for path in source_files(ScanSource(path=folder))]
    assert names == [f"{number}.png" for number in range(1, 13)]


def test_grey_in_colours_and_16_bits_are_read(tmp_path: Path, body: Callable[..., Any]) -> None:
    hu = body(shape=(20, 18, 12)).clip(-1024)
    grey = _grey(hu)
    plain = _read(_write(tmp_path / "grey", grey)).volume.array
    (tmp_path / "rgb").mkdir()
    for index in range(12):
        picture = Image.fromarray(grey[:, :, index].T).convert("RGB")
        picture.save(tmp_path / f"rgb/{index + 1}.png")
    np.testing.assert_array_equal(_read(tmp_path / "rgb").volume.array, plain)
    deep = _write(tmp_path / "deep", (hu + 1024).astype(np.uint16))
    stated = Stated(rescale=(1, -1024), axes="LPI", spacing_mm=(0.75, 0.75, 5.0))
    np.testing.assert_array_equal(_read(deep, stated).volume.array, hu)


def test_what_is_no_volume_is_refused_by_name(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (8, 6, 3)).astype(np.uint8)
    folder = _write(tmp_path / "s", grey)
    cases = {
        "hu_8bit": Stated(axes="LPI", spacing_mm=(1, 1, 1)),
        "hu_rescale": Stated(axes="LPI", spacing_mm=(1, 1, 1), window_hu=(100, -100)),
        "geometry_no_orientation": Stated(window_hu=(-1000, 1000)),
        "geometry_no_spacing": Stated(window_hu=(-1000, 1000), axes="LPI"),
    }
    for kind, stated in cases.items():
        with pytest.raises(ScanError) as caught:
            _read(folder, stated)
        assert caught.value.kind == kind
    Image.fromarray(grey[:, :5, 0].T).save(folder / "4.png")
    with pytest.raises(ScanError, match=r"slice 4 of 4 is \(8, 5\) pixels") as caught:
        _read(folder)
    assert caught.value.kind == "file_slices"
    (tmp_path / "one").mkdir()
    Image.fromarray(grey[:, :, 0]).save(tmp_path / "one/1.png")
    with pytest.raises(ScanError, match="at least two"):
        _read(tmp_path / "one")
    (tmp_path / "colour").mkdir()
    for name in ("1.png", "2.png"):
        Image.fromarray(np.dstack([grey[:, :, index] for index in range(3)])).save(
            tmp_path / "colour" / name
        )
    with pytest.raises(ScanError) as caught:
        _read(tmp_path / "colour")
    assert caught.value.kind == "file_colour"


def test_damage_is_a_scan_error(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (32, 32, 2)).astype(np.uint8)
    folder = _write(tmp_path / "s", grey)
    whole = (folder / "2.png").read_bytes()
    for content in (b"", b"text", whole[:30], whole[:-100], whole[:44] + b"xxxx" + whole[48:]):
        (folder / "2.png").write_bytes(content)
        with pytest.raises(ScanError):
            _read(folder)
