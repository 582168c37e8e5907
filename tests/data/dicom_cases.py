"""DICOM files of every kind, written by pydicom alone: what the reader's tests read."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

ROWS, COLUMNS, SLICES = 8, 10, 6
ROW_MM, COLUMN_MM, STEP_MM = 0.75, 0.5, 2.5
"""Distances between rows, between columns, between slices."""
CORNER = (-20.0, -30.0, 100.0)
"""Of the lowest slice, LPS."""
STUDY, SERIES = "1.2.3.4", "1.2.3.4.5"

Edit = Callable[[int, Dataset], None]


def cells(index: int, *, bits: int = 12, seed: int = 0) -> npt.NDArray[np.uint16]:
    """Stored values of a slice, all bits in use."""
    generator = np.random.default_rng([seed, index])
    return generator.integers(0, 1 << bits, (ROWS, COLUMNS)).astype(np.uint16)


def ct_slice(index: int, series: str = SERIES) -> Dataset:
    """An ordinary axial slice; HU = stored - 1024."""
    header = Dataset()
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = f"{series}.{index + 1}"
    header.AccessionNumber = "ACC1"
    header.Modality = "CT"
    header.PatientName = "Doe^Jane"
    header.PatientID = "PAT1"
    header.SliceThickness = STEP_MM
    header.StudyInstanceUID, header.SeriesInstanceUID = STUDY, series
    header.SeriesNumber, header.InstanceNumber = 3, SLICES - index  # counts against the positions
    header.ImagePositionPatient = [*CORNER[:2], CORNER[2] + index * STEP_MM]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.FrameOfReferenceUID = "1.2.3.9"
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.Rows, header.Columns = ROWS, COLUMNS
    header.PixelSpacing = [ROW_MM, COLUMN_MM]
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PixelRepresentation = 0
    header.RescaleIntercept, header.RescaleSlope, header.RescaleType = -1024, 1, "HU"
    set_cells(header, cells(index))
    return header


def set_cells(header: Dataset, values: npt.NDArray[Any]) -> None:
    """Give a slice uncompressed pixels."""
    header.Rows, header.Columns = values.shape[-2:]
    header.add_new("PixelData", "OW", np.ascontiguousarray(values).tobytes())


def hu(num: int = SLICES) -> npt.NDArray[np.int16]:
    """(columns, rows, slices) that the slices hold."""
    stored = np.stack([cells(index) for index in range(num)])
    return (stored.astype(np.int16) - 1024).transpose(2, 1, 0)


def lps_affine(step: tuple[float, float, float] = (0, 0, STEP_MM)) -> npt.NDArray[np.float64]:
    """(4, 4) of (column, row, slice) in RAS+ for the ordinary series."""
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2], lps[:3, 3] = (COLUMN_MM, 0, 0), (0, ROW_MM, 0), step, CORNER
    return np.diag([-1, -1, 1, 1]) @ lps


def encode(header: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A part 10 file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = header.get("SOPClassUID", "") or CTImageStorage
    meta.MediaStorageSOPInstanceUID = header.get("SOPInstanceUID", "") or "1.2"
    meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    dcmwrite(stream, FileDataset(stream, header, file_meta=meta), enforce_file_format=True)
    return stream.getvalue()


def write(path: Path, header: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(header, syntax))
    return path


def write_series(
    folder: Path,
    indices: Iterable[int] = range(SLICES),
    edit: Edit | None = None,
    *,
    series: str = SERIES,
    name: str = "IM{:03d}",
) -> Path:
    """Write slices, each changed by ``edit`` before."""
    for index in indices:
        header = ct_slice(index, series)
        if edit is not None:
            edit(index, header)
        write(folder / name.format(index), header)
    return folder


def enhanced(num: int = SLICES) -> Dataset:
    """A multi-frame CT: facts in functional groups, slope and intercept different in each."""
    file = ct_slice(0)
    for keyword in (
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleIntercept",
        "RescaleSlope", "RescaleType", "SliceThickness",
    ):  # fmt: skip
        del file[keyword]
    file.SOPClassUID = EnhancedCTImageStorage
    file.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    file.NumberOfFrames = num
    shared = Dataset()
    shared.PlaneOrientationSequence = _one(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = _one(PixelSpacing=[ROW_MM, COLUMN_MM], SliceThickness=STEP_MM)
    file.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, stored = [], []
    for index in reversed(range(num)):  # from head to feet
        frame = Dataset()
        position = [*CORNER[:2], CORNER[2] + index * STEP_MM]
        frame.PlanePositionSequence = _one(ImagePositionPatient=position)
        frame.PixelValueTransformationSequence = _one(
            RescaleSlope=1, RescaleIntercept=-1024 - index, RescaleType="HU"
        )
        frames.append(frame)
        stored.append(cells(index) + index)
    file.PerFrameFunctionalGroupsSequence = Sequence(frames)
    set_cells(file, np.stack(stored).astype(np.uint16))
    return file


def _one(**elements: Any) -> Sequence:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])
