"""What headers say about frames."""

from pathlib import Path

import pytest
from dicom_cases import COLUMN_MM, CORNER, ROW_MM, STEP_MM, ct_slice, enhanced
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from mg3d.data.readers.dicom.files import silent
from mg3d.data.readers.dicom.frame import frames_of, sop_class_of

PATH = Path("a")


def _frame(**elements: object):
    header = ct_slice(0)
    with silent():  # of lower case
        for keyword, value in elements.items():
            setattr(header, keyword, value)
    (frame,) = frames_of(header, PATH)
    return frame


def test_the_facts_of_a_slice():
    frame = _frame(GantryDetectorTilt=5, SpacingBetweenSlices=-2, LossyImageCompression="01")
    assert frame.position_mm == CORNER
    assert frame.orientation == (1, 0, 0, 0, 1, 0)
    assert frame.spacing_mm == (ROW_MM, COLUMN_MM)
    assert (frame.slope, frame.intercept, frame.quantity) == (1, -1024, "HU")
    assert (frame.thickness_mm, frame.between_mm, frame.tilt_degrees) == (STEP_MM, -2, 5)
    assert (frame.rows, frame.columns, frame.index, frame.is_lossy) == (8, 10, 0, True)
    assert not frame.has_imager_spacing
    assert not frame.has_lut


def test_absent_facts_are_none():
    header = Dataset()
    header.Rows, header.Columns, header.Modality = 4, 4, "CT"
    (frame,) = frames_of(header, PATH)
    assert frame.position_mm is frame.orientation is frame.spacing_mm is None
    assert frame.slope is frame.intercept is frame.thickness_mm is None
    assert (frame.quantity, frame.moment, frame.role) == ("", (-1, -1, -1), "original")


@pytest.mark.parametrize(
    ("elements", "role"),
    [
        ({}, "original"),
        ({"ImageType": ""}, "original"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, "derived"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["derived", "primary", "scout"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "projection"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "SCREEN SAVE"]}, "capture"),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, "capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.3"}, "capture"),
        ({"SOPClassUID": uid.MRImageStorage}, "other"),
        ({"SOPClassUID": uid.EnhancedCTImageStorage}, "original"),
        ({"SOPClassUID": uid.LegacyConvertedEnhancedCTImageStorage}, "original"),
        ({"SamplesPerPixel": 3}, "capture"),
        ({"Modality": "MR"}, "other"),
        ({"Modality": ""}, "other"),
    ],
)
def test_what_a_frame_is_for(elements, role):
    assert _frame(**elements).role == role


def test_a_position_out_of_this_world_is_none():
    assert _frame(ImagePositionPatient=[0, "1e300", 0]).position_mm is None
    assert _frame(ImagePositionPatient=[0, -2000, 0]).position_mm == (0, -2000, 0)


def test_a_class_may_stand_in_the_part_10_header_alone():
    header = ct_slice(0)
    header.SOPClassUID = ""
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    assert sop_class_of(header) == uid.SecondaryCaptureImageStorage
    assert frames_of(header, PATH)[0].role == "capture"


def test_frames_of_an_enhanced_file():
    file = enhanced(3)
    frames = frames_of(file, PATH)
    assert [frame.index for frame in frames] == [0, 1, 2]
    heights = [CORNER[2] + index * STEP_MM for index in (2, 1, 0)]
    assert [frame.position_mm[2] for frame in frames] == heights
    assert [frame.intercept for frame in frames] == [-1026, -1025, -1024]
    assert {frame.spacing_mm for frame in frames} == {(ROW_MM, COLUMN_MM)}
    assert {frame.role for frame in frames} == {"original"}


def test_own_groups_of_a_frame_come_before_shared_ones():
    file = enhanced(2)
    own = Dataset()
    own.PixelSpacing = [3, 4]
    file.PerFrameFunctionalGroupsSequence[1].PixelMeasuresSequence = [own]
    localizer = Dataset()
    localizer.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    file.PerFrameFunctionalGroupsSequence[0].CTImageFrameTypeSequence = [localizer]
    content = Dataset()
    content.TemporalPositionIndex, content.FrameAcquisitionNumber = 7, 2
    file.PerFrameFunctionalGroupsSequence[1].FrameContentSequence = [content]
    first, second = frames_of(file, PATH)
    assert (first.spacing_mm, second.spacing_mm) == ((ROW_MM, COLUMN_MM), (3, 4))
    assert (first.role, second.role) == ("localizer", "original")
    assert second.moment == (7, -1, 2)


def test_moments_of_ordinary_slices():
    frame = _frame(
        AcquisitionNumber=4, TemporalPositionIdentifier=2, NominalPercentageOfCardiacPhase=30
    )
    assert frame.moment == (2, 30, 4)


def test_a_file_without_pixels_has_no_frames():
    header = ct_slice(0)
    del header.Rows
    assert frames_of(header, PATH) == ()
