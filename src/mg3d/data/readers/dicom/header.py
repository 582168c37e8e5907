"""FileHeader: what one DICOM file says about patient, study, series and its frames."""

from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from mg3d.data.readers.dicom.elements import word
from mg3d.data.readers.dicom.files import DAMAGE, damaged, read_header, silent
from mg3d.data.readers.dicom.frame import (
    CT_CLASSES,
    KEYWORDS,
    Frame,
    frames_of,
    sop_class_of,
)
from mg3d.data.scan_error import ScanError

_MODALITIES = frozenset({
    "CR", "CT", "DOC", "DX", "KO", "MG", "MR", "NM", "OT", "PR", "PT", "REG", "RF", "RTDOSE",
    "RTPLAN", "RTSTRUCT", "SC", "SEG", "SR", "US", "XA",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FileHeader:
    """One file, its pixels unread. Names and numbers of persons do not show in its text."""

    path: Path
    patient_id: str = field(repr=False)
    accession_number: str = field(repr=False)
    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    series_number: str = field(repr=False)
    modality: str
    """Code of one of the usual modalities, e.g. CT, MR, PT, SR, SEG; "" for any other text."""
    frames: tuple[Frame, ...]
    """Empty where the file has no pixels."""

    @property
    def series_key(self) -> tuple[str, ...]:
        """What files of one series share.

        Some programs that remove names empty the UIDs too; then folder and number must do.
        """
        if self.series_uid:
            return (self.study_uid, self.series_uid)
        return (self.study_uid, "", self.series_number, self.path.parent.as_posix())


def read_file_header(path: Path) -> FileHeader | None:
    """The header of a file, or None where it is not DICOM.

    Raises:
        ScanError: Begins as DICOM and is damaged, or cannot be read.
    """
    header = read_header(path, KEYWORDS)
    if header is None:
        return None
    try:
        with silent():
            modality = word(header, "Modality").upper()
            frames = frames_of(header, path)
            _check_whole(header, modality, frames)
            return FileHeader(
                path=path,
                patient_id=word(header, "PatientID"),
                accession_number=word(header, "AccessionNumber"),
                study_uid=word(header, "StudyInstanceUID"),
                series_uid=word(header, "SeriesInstanceUID"),
                series_number=word(header, "SeriesNumber"),
                modality=modality if modality in _MODALITIES else "",
                frames=frames,
            )
    except DAMAGE as error:
        raise damaged(error) from None


def _check_whole(header: Dataset, modality: str, frames: tuple[Frame, ...]) -> None:
    """Stop on a file that ends within its header, which pydicom takes for the end of it."""
    sop_class = sop_class_of(header)
    is_nothing = not modality and not word(header, "SOPClassUID")
    if is_nothing or (sop_class in CT_CLASSES and not frames):
        raise ScanError("a file ends within its header: truncated. Copy or export it again.")
