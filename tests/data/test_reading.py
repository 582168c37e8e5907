"""Which reader a path gets, and what is said when it gets none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mg3d.data.reading import READERS, read_scan, source_files
from mg3d.data.scan import PICTURES, ScanSource
from mg3d.data.scan_error import ScanError


@pytest.mark.parametrize("ending", READERS)
def test_every_ending_has_a_reader_that_knows_its_files(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"scan{ending.upper()}"
    path.write_bytes(b"no image")
    with pytest.raises(ScanError) as caught:
        read_scan(ScanSource(path=path))
    assert caught.value.kind not in ("file_format", "missing_file")


def test_an_unknown_ending_is_named(tmp_path: Path) -> None:
    (tmp_path / "ct.gif").write_bytes(b"GIF89a")
    with pytest.raises(ScanError, match=r"'.gif'; supported: .nii.gz, .nii") as caught:
        read_scan(ScanSource(path=tmp_path / "ct.gif"))
    assert caught.value.kind == "file_format"


@pytest.mark.parametrize("name", ["gone.mha", "gone.gif", "gone", "gone.nii.gz.part"])
def test_a_missing_file_is_missing_whatever_its_ending(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to(tmp_path / "nowhere")  # a copy of links without their targets
    for path in (tmp_path / name, tmp_path / "no folder" / name):
        for ask in (read_scan, source_files):
            with pytest.raises(ScanError, match="no such file") as caught:
                ask(ScanSource(path=path))
            assert caught.value.kind == "missing_file"


@pytest.mark.parametrize("ending", PICTURES)
def test_a_folder_with_pictures_holds_slices(ending: str, tmp_path: Path) -> None:
    for number in (1, 2):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{number}{ending}")
    assert len(source_files(ScanSource(path=tmp_path))) == 2
    with pytest.raises(ScanError) as caught:
        read_scan(ScanSource(path=tmp_path))
    assert caught.value.kind == "hu_8bit"


def test_any_other_folder_is_a_dicom_series(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(ScanError):
        read_scan(ScanSource(path=tmp_path))
