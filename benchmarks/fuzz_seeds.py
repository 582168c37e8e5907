"""Small sound files of every format and layout, to be damaged by `fuzz.py`.

A site of three studies of 14 x 12 x 10 voxels, written as each reader and layout expects it. All
reports and headers hold planted words (`PLANTED`) that no message may repeat.
"""

import csv
import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from mg3d.data.layouts.layout import LayoutOptions, read_catalogue
from mg3d.data.volume import Volume
from mg3d.phantom.export.dicom_series import SYNTAXES, write_dicom_series
from mg3d.phantom.export.exporter import exporters
from mg3d.progress import console

PLANTED = ("quokka", "zephyrine")
"""In reports and in the personal elements of DICOM headers, and nowhere else."""
_AFFINE = np.array(
    [[-3.0, 0.2, 0, 30], [0.2, 3.0, 0, -20], [0, 0, 4.0, -10], [0, 0, 0, 1]], dtype=np.float64
)
_REPORTS = (
    ("The Quokka heart is normal. No effusion; clear lungs.", "1. No acute finding (Zephyrine)."),
    ("A 2.2 x 1.4 cm nodule, image 30/116. Zephyrine, Dr. Quokka.", "Nodule."),
    ("HISTORY: cough. FINDINGS: Quokka lungs. IMPRESSION: Zephyrine.", ""),
)
_SHAPE = (14, 12, 10)


def make_seeds(folder: Path) -> None:
    """Write all seeds: ``folder/<target>/<seed>``, each a file or a folder."""
    console.quiet = True
    _write_nifti(folder / "nifti")
    _write_nrrd(folder / "nrrd")
    _write_metaimage(folder / "metaimage")
    _write_npz(folder / "npz")
    _write_pictures(folder / "pictures")
    _write_dicom(folder / "dicom")
    _write_sr(folder / "dicom_sr")
    _write_layouts(folder)
    for sheet in folder.rglob("*.xlsx"):
        _without_times(sheet)


def _hu(seed: int = 0) -> npt.NDArray[np.int16]:
    """Air around tissue around two lungs, with noise."""
    array = np.full(_SHAPE, -1000.0)
    array[1:-1, 1:-1, 1:-1] = 40
    array[2:6, 3:-3, 2:-2] = -850
    array[8:-2, 3:-3, 2:-2] = -850
    noise = np.random.default_rng(seed).normal(0, 10, _SHAPE)
    return np.rint(array + noise).astype(np.int16)


def _write_nifti(folder: Path) -> None:
    folder.mkdir(parents=True)
    plain = nibabel.Nifti1Image(_hu(), _AFFINE)
    nibabel.save(plain, folder / "plain.nii")
    nibabel.save(plain, folder / "packed.nii.gz")
    nibabel.save(nibabel.Nifti2Image(_hu(), _AFFINE), folder / "second.nii.gz")
    nibabel.save(nibabel.Nifti1Image(_hu().astype(np.float32), _AFFINE), folder / "float.nii")
    scaled = nibabel.Nifti1Image((_hu() + 1200).astype(np.uint16), _AFFINE)
    scaled.header.set_slope_inter(1, -1200)
    nibabel.save(scaled, folder / "scaled.nii")


def _write_nrrd(folder: Path) -> None:
    import SimpleITK

    folder.mkdir(parents=True)
    image = _itk_image()
    for name, packed in (("raw.nrrd", False), ("packed.nrrd", True)):
        SimpleITK.WriteImage(image, str(folder / name), packed)
    detached = folder / "detached"
    detached.mkdir()
    SimpleITK.WriteImage(image, str(detached / "scan.nhdr"), True)
    header = (folder / "raw.nrrd").read_bytes().split(b"\n\n", 1)[0]
    swapped = header.replace(b"endian: little", b"endian: big")
    values = _hu().astype(">i2").tobytes(order="F")
    (folder / "swapped.nrrd").write_bytes(swapped + b"\n\n" + values)


def _write_metaimage(folder: Path) -> None:
    import SimpleITK

    folder.mkdir(parents=True)
    image = _itk_image()
    for name, packed in (("raw.mha", False), ("packed.mha", True)):
        SimpleITK.WriteImage(image, str(folder / name), packed)
    detached = folder / "detached"
    detached.mkdir()
    SimpleITK.WriteImage(image, str(detached / "scan.mhd"), False)


def _itk_image() -> "object":
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(_hu().T))
    image.SetSpacing((3.0, 3.0, 4.0))
    image.SetOrigin((-30.0, 20.0, -10.0))
    return image


def _write_npz(folder: Path) -> None:
    folder.mkdir(parents=True)
    np.savez(folder / "plain.npz", ct=_hu())
    np.savez_compressed(folder / "packed.npz", ct=_hu())
    np.savez_compressed(folder / "two.npz", ct=_hu().astype(np.float32), other=np.zeros(3))


def _write_pictures(folder: Path) -> None:
    grey = ((_hu().clip(-1000, 400) + 1000) / 1400 * 255).astype(np.uint8)
    for name, ending in (("png", "png"), ("jpg", "jpg")):
        (folder / name).mkdir(parents=True)
        for index in range(0, _SHAPE[2], 2):
            picture = Image.fromarray(np.ascontiguousarray(grey[:, :, index].T))
            picture.save(folder / name / f"{index}.{ending}")


def _write_dicom(folder: Path) -> None:
    volume = Volume(_hu()[:, :, ::3], _AFFINE @ np.diag([1, 1, 3, 1]))
    for syntax in SYNTAXES:
        write_dicom_series(volume, folder / syntax, syntax=syntax)
        for file in sorted((folder / syntax).iterdir()):
            _plant_person(file)
    first = dcmread(folder / "explicit/IM00001")
    _write_enhanced(first, len(list((folder / "explicit").iterdir())), folder / "enhanced")


def _plant_person(file: Path) -> None:
    dataset = dcmread(file)
    dataset.PatientName = "Quokka^Zephyrine"
    dataset.PatientComments = "Zephyrine quokka"
    dataset.SeriesDescription = "Zephyrine 1.0 B31"
    dcmwrite(file, dataset, enforce_file_format=True)


def _write_enhanced(first: Dataset, num_frames: int, folder: Path) -> None:
    """The same series as one multi-frame object."""
    dataset = first
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    dataset.NumberOfFrames = num_frames
    shared, frames = Dataset(), []
    orientation, measures, rescale = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = dataset.ImageOrientationPatient
    measures.PixelSpacing = dataset.PixelSpacing
    measures.SliceThickness = 12
    rescale.RescaleSlope, rescale.RescaleIntercept = "1", dataset.RescaleIntercept
    rescale.RescaleType = "HU"
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PixelValueTransformationSequence = Sequence([rescale])
    origin = np.array(dataset.ImagePositionPatient, dtype=float)
    for index in range(num_frames):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [*origin[:2], origin[2] + 12 * index]
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.PixelData = dataset.PixelData * num_frames
    for name in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
    ):
        if name in dataset:
            delattr(dataset, name)
    folder.mkdir(parents=True)
    dcmwrite(folder / "IM00001", dataset, enforce_file_format=True)


def _write_sr(folder: Path) -> None:
    """A basic text SR with containers, texts, a code, a number and a person's name."""
    folder.mkdir(parents=True)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", "2.25.1"
    dataset.Modality, dataset.PatientName = "SR", "Quokka^Zephyrine"
    dataset.StudyInstanceUID, dataset.AccessionNumber = "2.25.2", "ACC000001"
    findings = _item("CONTAINER", "Findings")
    findings.ContentSequence = Sequence(
        [_item("TEXT", "Finding", "Quokka lungs are clear."), _item("PNAME", "Person")]
    )
    dataset.ValueType = "CONTAINER"
    dataset.ContentSequence = Sequence([findings, _item("TEXT", "Impression", "Zephyrine.")])
    dcmwrite(folder / "sr", dataset, enforce_file_format=True)


def _item(kind: str, name: str, text: str = "") -> Dataset:
    item, concept = Dataset(), Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", kind
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "1", "99X", name
    item.ConceptNameCodeSequence = Sequence([concept])
    if text:
        item.TextValue = text
    if kind == "PNAME":
        item.PersonName = "Quokka^Zephyrine"
    return item


def _write_layouts(folder: Path) -> None:
    """A phantom-like site, and every form in which one can be exported."""
    site = folder / "layout_manifest" / "site"
    _write_site(site)
    catalogue = read_catalogue(site / "reports.csv", "manifest", LayoutOptions())
    for name, exporter in exporters().items():
        exporter.write(catalogue, folder / f"layout_{exporter.layout}" / name)
    _write_text_reports(folder / "layout_dicom", folder / "dicom_sr/sr")
    rows = list(csv.DictReader(io.StringIO((site / "reports.csv").read_text(encoding="utf-8"))))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    others = folder / "layout_manifest"
    for name in ("jsonl", "xlsx"):
        (others / name).mkdir()
    (others / "jsonl/reports.jsonl").write_text(lines, encoding="utf-8")
    _write_sheet(others / "xlsx/reports.xlsx", rows)


def _write_text_reports(folder: Path, sr: Path) -> None:
    """The hospital's hand-over again, its reports as text files and as a structured report."""
    for name in ("text_files", "structured"):
        shutil.copytree(folder / "dicom", folder / name)
        (folder / name / "reports.csv").unlink()
        (folder / name / "findings.csv").unlink()
    shutil.copy(sr, folder / "structured/p0/report")
    for number, (findings, impression) in enumerate(_REPORTS, start=1):
        file = folder / f"text_files/reports/ACC{number:06d}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"FINDINGS: {findings}\nIMPRESSION: {impression}\n", encoding="utf-8")


def _write_sheet(path: Path, rows: list[dict[str, str]]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(list(rows[0]))
    for row in rows:
        book.active.append(list(row.values()))
    book.save(path)


def _without_times(path: Path) -> None:
    """An archive without the time at which it was made."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            timeless = re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]+Z?", b"2020-01-01T00:00:00Z", content)
            archive.writestr(zipfile.ZipInfo(name), timeless, zipfile.ZIP_DEFLATED)


def _write_site(site: Path) -> None:
    (site / "images").mkdir(parents=True)
    (site / "masks").mkdir()
    rows = []
    for number, (findings, impression) in enumerate(_REPORTS):
        name = f"s{number}"
        nibabel.save(nibabel.Nifti1Image(_hu(number), _AFFINE), site / f"images/{name}.nii.gz")
        mask = (_hu(number) < -500).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mask, _AFFINE), site / f"masks/{name}.nii.gz")
        rows.append(
            {
                "study_id": name, "patient_id": f"p{number}", "image": f"images/{name}.nii.gz",
                "findings": findings, "impression": impression,
                "split": ("train", "val", "test")[number], "label:nodule": str(number % 2),
            }
        )  # fmt: skip
    with (site / "reports.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
