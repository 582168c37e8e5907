"""Frame: what the header says about one plane of pixels.

An ordinary CT file is one frame; an enhanced one holds many, whose facts lie in functional
groups. Both come out alike. Nothing here decides: facts that are absent or junk are None.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydicom import uid
from pydicom.dataset import Dataset

from mg3d.data.readers.dicom.elements import items, number, numbers, whole, word, words

Role = Literal["original", "derived", "localizer", "projection", "capture", "other"]
"""original, derived: slices of a CT; localizer: overview for planning; projection: MIP and the
like; capture: picture of a screen; other: of another modality, or no image at all."""

KEYWORDS = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "AccessionNumber",
    "Modality", "PatientID", "SliceThickness", "GantryDetectorTilt", "SpacingBetweenSlices",
    "ImagerPixelSpacing", "StudyInstanceUID", "SeriesInstanceUID",
    "SeriesNumber", "AcquisitionNumber", "InstanceNumber", "ImagePositionPatient",
    "ImageOrientationPatient", "FrameOfReferenceUID", "TemporalPositionIdentifier",
    "SamplesPerPixel", "NumberOfFrames", "Rows", "Columns", "PixelSpacing",
    "NominalPercentageOfCardiacPhase", "RescaleIntercept", "RescaleSlope", "RescaleType",
    "ModalityLUTSequence", "LossyImageCompression", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""All elements of a header that this package reads, pixels aside."""

CT_CLASSES = frozenset(
    {uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage}
)
_LOCALIZERS = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "SCANOGRAM"})
_PROJECTIONS = frozenset({
    "MIP", "MAXIP", "MAX_IP", "MINIP", "MIN_IP", "PROJECTION IMAGE", "VRT", "VOLUME_RENDER",
    "VOLUME_RENDERED", "CURVED", "CURVED_MPR", "CPR", "SSD", "RAYSUM",
})  # fmt: skip
_CAPTURES = frozenset({"SCREEN SAVE", "SCREEN CAPTURE", "SCREENSHOT", "SECONDARY CAPTURE", "DOSE"})
_FARTHEST_MM = 1e5
"""No patient lies 100 m from the origin; damaged numbers do, and overflow in what follows."""
_CARDIAC_PHASE = "NominalPercentageOfCardiacPhase"
_MOMENT = (
    ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
    ("CardiacSynchronizationSequence", _CARDIAC_PHASE, _CARDIAC_PHASE),
    ("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
)
"""Sequence and element of an enhanced frame, element of an ordinary file."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One plane of pixels."""

    path: Path
    index: int
    """Of the frame in its file, from 0."""
    role: Role
    rows: int
    columns: int
    position_mm: tuple[float, ...] | None
    """Centre of the first pixel, patient mm in LPS."""
    orientation: tuple[float, ...] | None
    """Unit vectors, LPS: first along a row (columns grow), then along a column (rows grow)."""
    spacing_mm: tuple[float, ...] | None
    """Between rows, then between columns: the order of DICOM."""
    has_imager_spacing: bool
    """Whether the header has a spacing on the detector, which is none in the patient."""
    slope: float | None
    intercept: float | None
    quantity: str
    """RescaleType in upper case; "" where absent."""
    has_lut: bool
    """Whether stored values become CT numbers through a table instead of slope and intercept."""
    frame_of_reference: str
    moment: tuple[float, ...]
    """Temporal position, cardiac phase and number of the acquisition; -1 where absent."""
    thickness_mm: float | None
    between_mm: float | None
    """SpacingBetweenSlices."""
    tilt_degrees: float | None
    """GantryDetectorTilt."""
    is_lossy: bool


def frames_of(header: Dataset, path: Path) -> tuple[Frame, ...]:
    """The frames of one file, in its order.

    Args:
        header: The elements of `KEYWORDS` that the file has.
        path: Where it lies.

    Returns:
        One frame, or one for each item of the per-frame functional groups; none where the file
        has no pixels.
    """
    rows, columns = whole(header, "Rows"), whole(header, "Columns")
    if not rows or not columns or rows < 0 or columns < 0:
        return ()
    shared = items(header, "SharedFunctionalGroupsSequence")
    each = items(header, "PerFrameFunctionalGroupsSequence")
    if each:
        return tuple(
            _frame(header, path, index, _Groups(header, (item, *shared)), (rows, columns))
            for index, item in enumerate(each)
        )
    frame = _frame(header, path, 0, _Groups(header, ()), (rows, columns))
    if (whole(header, "NumberOfFrames") or 1) > 1:  # the position is of one of them at most
        frame = replace(frame, position_mm=None)
    return (frame,)


def sop_class_of(header: Dataset) -> str:
    """What kind of object a file holds; some programs leave it in the part 10 header alone."""
    meta = getattr(header, "file_meta", Dataset())
    return word(header, "SOPClassUID") or word(meta, "MediaStorageSOPClassUID")


class _Groups:
    """Where the facts of a frame lie: its own functional groups, shared ones, or the top."""

    def __init__(self, header: Dataset, groups: tuple[Dataset, ...]) -> None:
        self._header = header
        self._groups = groups

    def place(self, sequence: str, keyword: str) -> Dataset:
        """The first data set that holds an element."""
        for group in self._groups:
            for item in items(group, sequence):
                if keyword in item:
                    return item
        return self._header


def _frame(
    header: Dataset, path: Path, index: int, groups: _Groups, size: tuple[int, int]
) -> Frame:
    measures, values = "PixelMeasuresSequence", "PixelValueTransformationSequence"

    def value(keyword: str) -> Dataset:
        return groups.place(values, keyword)

    return Frame(
        path=path,
        index=index,
        role=_role(header, _image_type(header, groups)),
        rows=size[0],
        columns=size[1],
        position_mm=_position(groups.place("PlanePositionSequence", "ImagePositionPatient")),
        orientation=numbers(
            groups.place("PlaneOrientationSequence", "ImageOrientationPatient"),
            "ImageOrientationPatient",
            6,
        ),
        spacing_mm=numbers(groups.place(measures, "PixelSpacing"), "PixelSpacing", 2),
        has_imager_spacing="ImagerPixelSpacing" in header,
        slope=number(value("RescaleSlope"), "RescaleSlope"),
        intercept=number(value("RescaleIntercept"), "RescaleIntercept"),
        quantity=word(value("RescaleType"), "RescaleType").upper(),
        has_lut="ModalityLUTSequence" in header,
        frame_of_reference=word(header, "FrameOfReferenceUID"),
        moment=_moment(header, groups),
        thickness_mm=number(groups.place(measures, "SliceThickness"), "SliceThickness"),
        between_mm=number(groups.place(measures, "SpacingBetweenSlices"), "SpacingBetweenSlices"),
        tilt_degrees=number(
            groups.place("CTGeometrySequence", "GantryDetectorTilt"), "GantryDetectorTilt"
        ),
        is_lossy=word(header, "LossyImageCompression") == "01",
    )


def _position(place: Dataset) -> tuple[float, ...] | None:
    found = numbers(place, "ImagePositionPatient", 3)
    return found if found is not None and max(map(abs, found)) <= _FARTHEST_MM else None


def _image_type(header: Dataset, groups: _Groups) -> tuple[str, ...]:
    place = groups.place("CTImageFrameTypeSequence", "FrameType")
    return words(place, "FrameType") or words(header, "ImageType")


def _moment(header: Dataset, groups: _Groups) -> tuple[float, ...]:
    found = []
    for sequence, keyword, classic in _MOMENT:
        value = number(groups.place(sequence, keyword), keyword)
        value = number(header, classic) if value is None else value
        found.append(-1.0 if value is None else value)
    return tuple(found)


def _role(header: Dataset, image_type: tuple[str, ...]) -> Role:
    """What a frame is for, from classes and code strings alone: descriptions are free text."""
    sop_class, kinds = sop_class_of(header), set(image_type)
    if word(header, "Modality").upper() != "CT":
        return "other"
    if (
        "ConversionType" in header
        or kinds & _CAPTURES
        or (whole(header, "SamplesPerPixel") or 1) > 1
    ):
        return "capture"
    if sop_class and sop_class not in CT_CLASSES:
        return "capture" if sop_class.startswith(uid.SecondaryCaptureImageStorage) else "other"
    if kinds & _LOCALIZERS:
        return "localizer"
    if kinds & _PROJECTIONS:
        return "projection"
    return "derived" if "DERIVED" in image_type[:1] else "original"
