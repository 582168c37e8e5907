"""Write a volume as a DICOM series, one file a slice, as a CT scanner would hand it over.

Files are named as on a disc, without ending (``IM00001``), and lie in the scanner's order: rows
to the patient's left, columns to the back, slices upwards where the volume allows. All names and
UIDs come from `SeriesIdentity`, so the same volume gives the same bytes.
"""

import io
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gdcm
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pydicom.valuerep import format_number_as_ds

from mg3d.data.volume import Volume
from mg3d.files import write_atomic

DicomSyntax = Literal[
    "explicit", "implicit", "big_endian", "deflated", "rle", "jpeg_lossless", "jpeg_ls", "jpeg2000"
]
SYNTAXES: dict[DicomSyntax, UID] = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big_endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg_lossless": JPEGLosslessSV1,
    "jpeg_ls": JPEGLSLossless,
    "jpeg2000": JPEG2000Lossless,
}
"""All of them lossless."""

_IMPLEMENTATION = UID("2.25.103474372650352176846358014706524150361")
_TWELVE_BITS_HU = (-1024, 3071)
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class SeriesIdentity:
    """What the headers say about patient, study and series."""

    patient_id: str = "PHANTOM"
    study_id: str = "STUDY"
    accession_number: str = ""
    """Key of the report in a hospital's tables; "" = the study id."""
    series_number: int = 1
    body_part: str = "CHEST"

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID, derived from patient and study."""
        return _uid(self.patient_id, self.study_id)

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID, derived from patient, study and number of the series."""
        return _uid(self.patient_id, self.study_id, str(self.series_number))


@dataclass(frozen=True)
class _Coding:
    """How HU become stored values: unsigned, shifted by the intercept."""

    bits: int
    intercept: int


def write_dicom_series(
    volume: Volume,
    folder: Path,
    *,
    identity: SeriesIdentity | None = None,
    syntax: DicomSyntax = "explicit",
) -> str:
    """Write one file a slice of the volume's third axis.

    Args:
        volume: Whole HU of 16 bits; others are rounded and clipped. Slices must be plane and at
            right angles (DICOM has no sheared pixels); they may be tilted against the stack.
        folder: Made when missing; files of the same name are replaced.
        identity: Names and UIDs; by default those of one nameless phantom study.
        syntax: Transfer syntax, a key of `SYNTAXES`.

    Returns:
        The SeriesInstanceUID.

    Raises:
        StorageError: If a file cannot be written.
    """
    identity = identity or SeriesIdentity()
    scan = _scanner_order(volume)
    hu = np.rint(scan.array).clip(-32768, 32767).astype(np.int32)
    coding = _coding(hu)
    for number in range(1, scan.shape[2] + 1):
        header = _header(scan, number, identity, coding)
        # DICOM stores row by row: the second axis of the volume runs down the rows.
        stored = np.ascontiguousarray(hu[:, :, number - 1].T - coding.intercept).astype("<u2")
        _set_pixels(header, stored, SYNTAXES[syntax])
        write_atomic(folder / f"IM{number:05d}", _encode(header, SYNTAXES[syntax]))
    return identity.series_uid


def _scanner_order(volume: Volume) -> Volume:
    """The volume with its first axis to the left and its second to the back."""
    ras = volume.reorient_ras()
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = ras.shape[0] - 1, ras.shape[1] - 1
    return Volume(ras.array[::-1, ::-1], ras.affine @ flip)


def _coding(hu: npt.NDArray[np.int32]) -> _Coding:
    low, high = _TWELVE_BITS_HU
    if low <= hu.min() and hu.max() <= high:
        return _Coding(12, low)
    return _Coding(16, -32768)


def _header(scan: Volume, number: int, identity: SeriesIdentity, coding: _Coding) -> Dataset:
    lps = _LPS @ scan.affine
    columns_mm, rows_mm = (float(mm) for mm in scan.spacing_mm[:2])
    normal = np.cross(lps[:3, 0] / columns_mm, lps[:3, 1] / rows_mm)
    header = Dataset()
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = _uid(identity.series_uid, str(number))
    header.StudyDate = header.StudyTime = header.ReferringPhysicianName = ""
    header.AccessionNumber = identity.accession_number or identity.study_id
    header.Modality = "CT"
    header.Manufacturer = "mg3d phantom"
    header.PatientName = header.PatientID = identity.patient_id
    header.PatientBirthDate = header.PatientSex = ""
    header.BodyPartExamined = identity.body_part
    header.SliceThickness = _decimal(abs(float(normal @ lps[:3, 2])))
    header.PatientPosition = "HFS"
    header.StudyInstanceUID = identity.study_uid
    header.SeriesInstanceUID = identity.series_uid
    header.StudyID = identity.study_id[:16]
    header.SeriesNumber = identity.series_number
    header.InstanceNumber = number
    header.ImagePositionPatient = [_decimal(mm) for mm in lps[:3, 3] + (number - 1) * lps[:3, 2]]
    header.ImageOrientationPatient = [
        _decimal(cosine) for cosine in (*lps[:3, 0] / columns_mm, *lps[:3, 1] / rows_mm)
    ]
    header.FrameOfReferenceUID = _uid(identity.study_uid, "frame")
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.Rows, header.Columns = scan.shape[1], scan.shape[0]
    header.PixelSpacing = [_decimal(rows_mm), _decimal(columns_mm)]
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, coding.bits, coding.bits - 1
    header.PixelRepresentation = 0
    header.RescaleIntercept, header.RescaleSlope = coding.intercept, 1
    header.RescaleType = "HU"
    return header


def _set_pixels(header: Dataset, stored: npt.NDArray[np.uint16], syntax: UID) -> None:
    if not syntax.is_compressed or syntax.is_deflated:
        native = stored if syntax.is_little_endian else stored.astype(">u2")
        header.add_new("PixelData", "OW", native.tobytes())
        return
    if syntax == RLELossless:
        frame = RLELosslessEncoder.encode(
            stored,
            encoding_plugin="pydicom",
            rows=header.Rows,
            columns=header.Columns,
            number_of_frames=1,
            samples_per_pixel=1,
            bits_allocated=16,
            bits_stored=header.BitsStored,
            pixel_representation=0,
            photometric_interpretation="MONOCHROME2",
        )
    else:
        frame = _compress(stored, header.BitsStored, syntax)
    header.add_new("PixelData", "OB", encapsulate([frame]))
    header["PixelData"].is_undefined_length = True


def _compress(stored: npt.NDArray[np.uint16], bits: int, syntax: UID) -> bytes:
    """One frame in a lossless syntax of the JPEG family."""
    if syntax == JPEG2000Lossless:  # gdcm writes beyond its buffer when a frame does not shrink
        stream = io.BytesIO()
        Image.fromarray(stored).save(stream, "JPEG2000", no_jp2=True, irreversible=False)
        return stream.getvalue()
    writer = gdcm.ImageWriter()  # owns the image, and must outlive it
    image = writer.GetImage()
    rows, columns = stored.shape
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    grey = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ImplicitVRLittleEndian))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, 0))
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(stored.tobytes())
    image.SetDataElement(element)
    converter = gdcm.ImageChangeTransferSyntax()
    converter.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    converter.SetInput(image)
    done = converter.Change()
    assert done, "gdcm refuses to encode 16-bit grey values"
    fragments = converter.GetOutput().GetDataElement().GetSequenceOfFragments()
    parts = [
        fragments.GetFragment(index).GetByteValue().GetBuffer()
        for index in range(fragments.GetNumberOfFragments())
    ]
    return b"".join(part.encode("utf-8", "surrogateescape") for part in parts)


def _encode(header: Dataset, syntax: UID) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = header.SOPClassUID
    meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = _IMPLEMENTATION
    stream = io.BytesIO()
    dcmwrite(stream, FileDataset(stream, header, file_meta=meta), enforce_file_format=True)
    return stream.getvalue()


def _decimal(value: float) -> str:
    """A decimal string: at most 16 characters."""
    return format_number_as_ds(float(value))


def _uid(*parts: str) -> str:
    """A UID of the UUID branch, the same for the same parts."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(parts)).int}"
