"""What headers say about values."""

from dataclasses import replace
from pathlib import Path

import pytest
from dicom_cases import ct_slice

from mg3d.data.readers.dicom.frame import Frame, frames_of
from mg3d.data.readers.dicom.rescale import check_rescale
from mg3d.data.scan_error import ScanError


def _frame(**facts: object) -> Frame:
    (frame,) = frames_of(ct_slice(0), Path("a"))
    return replace(frame, **facts)


@pytest.mark.parametrize("quantity", ["HU", "", "HOUNSFIELD UNITS"])
def test_hounsfield_units(quantity):
    assert check_rescale([_frame(quantity=quantity)] * 2) == ()


def test_unknown_quantities_warn_without_quoting():
    ((kind, message),) = check_rescale([_frame(), _frame(quantity="MISS DOE")])
    assert kind == "dicom_quantity_unknown"
    assert "DOE" not in message


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        ([{}, {"quantity": "HU_MOD"}], "dicom_quantity"),
        ([{"has_lut": True}], "dicom_quantity"),
        ([{}, {"slope": None}], "hu_rescale"),
        ([{"intercept": None}, {}, {}], "hu_rescale"),
        ([{}, {"slope": 0.0}], "hu_rescale"),
    ],
)
def test_what_makes_no_hounsfield_units(frames, kind):
    with pytest.raises(ScanError) as caught:
        check_rescale([_frame(**facts) for facts in frames])
    assert caught.value.kind == kind


def test_a_slope_nowhere_is_left_to_the_values():
    assert check_rescale([_frame(slope=None, intercept=None)] * 3) == ()
