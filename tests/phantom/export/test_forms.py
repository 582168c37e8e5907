"""What each exporter writes, looked at without the layout that reads it."""

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
from openpyxl import load_workbook
from PIL import Image

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.reading import read_volume
from mg3d.phantom.export.exporter import exporters
from mg3d.phantom.export.rad_chestct import npz_bytes


def _write(form: str, small: Catalogue, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    assert set(exporters()[form].write(small, out)) == {row.volume_id for row in small.rows}
    return out


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_ct_rate_of_the_first_generation_is_silent(small: Catalogue, tmp_path: Path) -> None:
    out = _write("ct_rate_v1", small, tmp_path)
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.nii.gz"))
    assert files == [
        "train/train_1/train_1_a/train_1_a_1.nii.gz",
        "train/train_2/train_2_a/train_2_a_1.nii.gz",
        "valid/valid_1/valid_1_a/valid_1_a_1.nii.gz",
    ]
    facts = {row["VolumeName"]: row for row in _rows(out / "metadata/train_metadata.csv")}
    intercepts = [float(facts[f"train_{n}_a_1.nii.gz"]["RescaleIntercept"]) for n in (1, 2)]
    assert sorted(intercepts) == [-8192, -1024]
    for file, intercept, row in zip(files, intercepts, small.rows, strict=False):
        image = nibabel.load(out / file)
        assert image.header.get_zooms() == (1, 1, 1)
        assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
        stored = np.asarray(image.dataobj)
        assert stored.min() >= 0
        hu = np.sort(read_volume(row.source.path).array, axis=None)
        assert (np.sort(stored, axis=None) + intercept == hu).all()
        name = Path(file).name
        assert (facts[name]["XYSpacing"], facts[name]["ZSpacing"]) == ("[0.75, 0.75]", "1.25")
    reports = _rows(out / "radiology_text_reports/train_reports.csv")
    assert [row["Impressions_EN"] for row in reports] == ["Normal.", "Not given."]


def test_ct_rate_of_the_second_generation_says_all(small: Catalogue, tmp_path: Path) -> None:
    out = _write("ct_rate", small, tmp_path)
    image = nibabel.load(out / "valid_fixed/valid_1/valid_1_a/valid_1_a_1.nii.gz")
    assert image.header.get_zooms() == (0.75, 0.75, 1.25)
    assert np.asarray(image.dataobj).min() == -1022
    labels = _rows(out / "multi_abnormality_labels/train_predicted_labels.csv")
    assert [(row["nodule"], row["mass"]) for row in labels] == [("0", ""), ("1", "")]


def test_rad_chestct(small: Catalogue, tmp_path: Path) -> None:
    out = _write("rad_chestct", small, tmp_path)
    with np.load(out / "trn00001.npz", allow_pickle=False) as archive:
        array = archive["ct"]
    # 5 slices of 1.25 mm, 4 and 6 voxels of 0.75 mm: fields of 6.25, 3 and 4.5 mm in 0.8 mm steps.
    assert (array.shape, array.dtype) == ((8, 4, 6), np.int16)
    assert array.min() >= -1000
    assert array.max() <= 1000
    (row,) = _rows(out / "imgvalid_Abnormality_and_Location_Labels.csv")
    assert row["NoteAcc_DEID"] == "val00002"
    assert (row["nodule*right_lung"], row["nodule*left_lung"]) == ("1", "0")
    same = {"ct": array}
    assert npz_bytes(same) == npz_bytes(same)


def test_ctrg_chest(small: Catalogue, tmp_path: Path) -> None:
    out = _write("ctrg_chest", small, tmp_path)
    entries = json.loads((out / "chest_ctrg_jpg.json").read_text())
    (entry,) = entries["val"]
    assert (entry["report"], entry["result"]) == ("Clear.", "")
    assert entry["spacing_mm"] == [0.75, 0.75, 1.25]
    slices = sorted((out / entry["image_path"]).iterdir())
    assert len(slices) == 5
    with Image.open(slices[0]) as picture:
        assert (picture.mode, picture.size) == ("L", (6, 4))


def test_merlin(small: Catalogue, tmp_path: Path) -> None:
    out = _write("merlin", small, tmp_path)
    rows = list(load_workbook(out / "reports_final.xlsx").active.iter_rows(values_only=True))
    assert rows[:3] == [
        ("study id", "Findings", "Split", "Few Shot"),
        ("train_1", "Clear. IMPRESSION: Normal.", "train", 0),
        ("val_1", "Clear.", "val", 0),
    ]
    (first, *_) = _rows(out / "zero_shot_findings_disease_cls.csv")
    assert first == {"study id": "train_1", "nodule": "0", "mass": "-1"}


def test_segmentation_sets(small: Catalogue, tmp_path: Path) -> None:
    mask = small.folder / "masks/train_1.nii.gz"
    mask.parent.mkdir()
    mask.write_bytes(b"mask")
    msd = _write("msd", small, tmp_path / "msd")
    description = json.loads((msd / "dataset.json").read_text())
    assert (description["numTraining"], description["test"]) == (2, ["./imagesTs/test_1.nii.gz"])
    assert (msd / "labelsTr/train_1.nii.gz").read_bytes() == b"mask"
    nnunet = _write("nnunet", small, tmp_path / "nnunet")
    names = sorted(path.name for path in (nnunet / "imagesTr").iterdir())
    assert names == ["train_1_0000.nii.gz", "val_1_0000.nii.gz"]
    folds = json.loads((nnunet / "splits_final.json").read_text())
    assert folds == [{"train": ["train_1"], "val": ["val_1"]}]
    monai = _write("monai_datalist", small, tmp_path / "monai")
    assert list(json.loads((monai / "datalist.json").read_text())) == [
        "testing", "training", "validation",
    ]  # fmt: skip


def test_hospital(small: Catalogue, tmp_path: Path) -> None:
    out = _write("dicom", small, tmp_path)
    assert len(list((out / "val/val_1_1").iterdir())) == 5
    reports = _rows(out / "reports.csv")
    assert [row["AccessionNumber"] for row in reports] == ["ACC000001", "ACC000002", "ACC000003"]
    assert [row["nodule"] for row in _rows(out / "findings.csv")] == ["0", "1", "0"]
