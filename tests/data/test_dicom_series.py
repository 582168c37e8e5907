"""The rule of choice among series, on headers alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from dicom_cases import CORNER, ct_slice
from hypothesis import given
from hypothesis import strategies as st

from mg3d.data.readers.dicom.frame import frames_of
from mg3d.data.readers.dicom.header import FileHeader
from mg3d.data.readers.dicom.series import Series, choice_faults, choose, slices_of
from mg3d.data.scan_error import ScanError

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def _series(uid, num=10, step=2.0, **facts):
    headers = []
    for index in range(num):
        path = Path(f"{uid}/{index:03d}")
        (frame,) = frames_of(ct_slice(index), path)
        height = 2 if facts.get("orientation") != SAGITTAL else 0
        position = [*CORNER]
        position[height] += index * step
        frame = replace(frame, position_mm=tuple(position), **facts)
        headers.append(_header(path, uid, frame))
    return Series.of(headers)


def _header(path, uid, *frames):
    return FileHeader(
        path=path, patient_id="", accession_number="", study_uid="", series_uid=uid,
        series_number="", modality="CT", frames=frames,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (_series("9", role="original"), _series("1", num=40, role="derived")),
        (_series("9"), _series("1", num=40, orientation=SAGITTAL)),
        (_series("9", num=30), _series("1", num=20, step=1.0)),  # covers 58 mm, not 19
        (_series("9", num=30, step=1.0), _series("1", num=16, step=2.0)),  # 29 and 30 mm
        (_series("9", num=31, step=1.0), _series("1", num=30, step=1.0)),
        (_series("1"), _series("2")),
        (_series("9", num=2), _series("1", num=1)),
    ],
    ids=["original", "axial", "long", "thin", "more slices", "uid", "a volume"],
)
def test_the_rule(better, worse):
    assert choose([better, worse]) is better
    assert choose([worse, better]) is better
    ((kind, message),) = [f for f in choice_faults([better, worse], better) if "other" in f[0]]
    assert kind == "dicom_other_series"
    assert f"with {len(worse.frames)} slices; the one taken has {len(better.frames)}" in message


@given(st.permutations(range(5)))
def test_the_order_of_files_does_not_matter(order):
    series = [
        _series("5", 10), _series("3", 20, 1.0), _series("2", 20, 1.0), _series("4", 5, 4.0),
        _series("1", 3),
    ]  # fmt: skip
    assert choose([series[index] for index in order]).uid == "2"


def test_slices_without_geometry_lose_but_are_named_when_alone():
    lost = _series("1", num=50)
    lost = replace(lost, frames=tuple(replace(f, position_mm=None) for f in lost.frames))
    good = _series("9")
    assert choose([lost, good]) is good
    assert choose([lost]) is lost
    with pytest.raises(ScanError) as caught:
        slices_of(lost)
    assert caught.value.kind == "dicom_no_position"


def test_original_slices_leave_derived_ones_of_their_series_out():
    original, derived = _series("1", num=3), _series("1", num=5, role="derived")
    both = [_header(f.path, "1", f) for f in (*original.frames, *derived.frames)]
    series = Series.of([*both, _header(Path("report"), "1")])
    assert [frame.role for frame in series.frames] == ["original"] * 3
    assert dict(series.num_left_out) == {"derived": 5, "other": 1}
    assert not series.is_derived
    assert derived.is_derived


def test_nothing_to_choose():
    with pytest.raises(ScanError, match="3 localizer"):
        choose([_series("1", num=3, role="localizer")])
    with pytest.raises(ScanError, match="no DICOM files"):
        choose([])


def _mixed(num_main, num_stray, **facts):
    main, stray = _series("1", num=num_main), _series("1", num=num_stray, **facts)
    return replace(main, frames=(*main.frames, *stray.frames))


@pytest.mark.parametrize(
    "facts",
    [
        {"orientation": SAGITTAL}, {"rows": 99}, {"spacing_mm": (0.75, 0.6)},
        {"frame_of_reference": "1.9"}, {"spacing_mm": None},
    ],
    ids=str,
)  # fmt: skip
def test_few_strays_are_left_out_and_many_refused(facts):
    frames, faults = slices_of(_mixed(10, 3, **facts))
    assert len(frames) == 10
    assert faults[0] == ("dicom_left_out", "3 slice(s) of another size, orientation or spacing")
    with pytest.raises(ScanError) as caught:
        slices_of(_mixed(10, 4, **facts))
    assert caught.value.kind == "dicom_mixed_slices"
    with pytest.raises(ScanError):
        slices_of(_mixed(2, 2, **facts))


def test_rounded_cosines_are_alike():
    frames, faults = slices_of(_mixed(5, 5, orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 5e-4)))
    assert (len(frames), faults) == (10, ())


def test_phases():
    first, second = _series("1", moment=(1.0, -1.0, 1.0)), _series("1", moment=(2.0, -1.0, 1.0))
    frames, faults = slices_of(replace(first, frames=(*second.frames, *first.frames)))
    assert {frame.moment[0] for frame in frames} == {1.0}
    assert "2 phases or acquisitions" in faults[0][1]


def test_acquisitions_that_share_the_body_are_not_phases():
    """Each covers a part, with two positions in common: taking one would lose half."""
    low = _series("1", moment=(-1.0, -1.0, 1.0))
    high = tuple(
        replace(f, position_mm=(*CORNER[:2], CORNER[2] + 16 + 2 * i), moment=(-1.0, -1.0, 2.0))
        for i, f in enumerate(low.frames)
    )
    frames, faults = slices_of(replace(low, frames=(*low.frames, *high)))
    assert (len(frames), faults) == (20, ())
