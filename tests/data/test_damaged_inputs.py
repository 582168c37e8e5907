"""What the fuzzer found once, held for good: one case a cause."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from mg3d.data.grid import GridConfig, plan_axes
from mg3d.data.hounsfield import _peak
from mg3d.data.layouts.layout import LayoutOptions, read_catalogue
from mg3d.data.readers.dicom.files import read_whole
from mg3d.data.resample import resample
from mg3d.data.scan_error import ScanError
from mg3d.errors import DataError


def test_a_slab_between_two_target_voxels_is_all_outside() -> None:
    """Fuzzed NRRD headers: one slice of 1 mm between grid positions 6 mm apart."""
    plans = plan_axes((9, 9, 1), (1.0, 1.0, 1.0), GridConfig(grid=(4, 4, 4), spacing_mm=(2, 2, 6)))
    out = resample(np.zeros((9, 9, 1), np.int16), plans, -1024)
    assert out.shape == (4, 4, 4)
    assert (out == -1024).all()


def test_values_too_large_for_bins_of_a_unit_have_a_peak() -> None:
    """1e30 + 1 is 1e30, which left the histogram no width."""
    assert np.isfinite(_peak(np.full(100, 1e30, np.float32)))


def _ctrg(folder: Path, **fields: object) -> Path:
    entry = {"id": "a", "image_path": ["chest/a/1.jpg"], "report": "Clear.", "result": "Normal."}
    content = {"train": [entry | fields], "val": [], "test": []}
    (folder / "chest_ctrg_jpg.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "fields",
    [{"window_hu": [0, 10**30]}, {"spacing_mm": [1, 1, 10**400]}, {"window_hu": [0, 1e999]}],
)
def test_numbers_beyond_a_double_are_malformed(tmp_path: Path, fields: dict[str, object]) -> None:
    catalogue = read_catalogue(_ctrg(tmp_path, **fields), "ctrg_chest", LayoutOptions())
    assert "table_fact_malformed" in {fault.kind for fault in catalogue.faults}


def test_a_name_beyond_the_file_system_is_a_name_without_a_folder(tmp_path: Path) -> None:
    folder = _ctrg(tmp_path, image_path=["A" * 5000 + "/1.jpg"])
    assert len(read_catalogue(folder, "ctrg_chest", LayoutOptions()).rows) == 1


@pytest.mark.parametrize("value", [True, 1.5, "images", {"a": 1}])
def test_a_part_that_is_no_list_is_refused(tmp_path: Path, value: object) -> None:
    content = {"modality": {"0": "CT"}, "training": value, "test": []}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="training is not a list"):
        read_catalogue(tmp_path, "msd", LayoutOptions())


def test_a_length_beyond_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the claimed 4 GiB raises MemoryError where so much cannot be had."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "2.25.1"
    dcmwrite(tmp_path / "slice", dataset, enforce_file_format=True)

    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("mg3d.data.readers.dicom.files.dcmread", refuse)
    with pytest.raises(ScanError, match="more bytes than memory") as caught:
        read_whole(tmp_path / "slice")
    assert caught.value.kind == "memory"
