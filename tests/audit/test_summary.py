"""Summary tables against numbers counted by hand."""

import math
from dataclasses import replace

import pytest
from made_members import GEOMETRY, HU, made

from mg3d.audit.summary import count_kinds, summarise
from mg3d.data.faults import Fault


def test_collections_are_counted_by_split_and_study() -> None:
    members = [
        made(1), made(2, study_id="s1", patient_id="p1"), made(3, split="test"),
        made(4, split="test", faults=(("hu_mask", ""),)),
    ]  # fmt: skip
    summary = summarise(members, ())
    assert summary["counts"] == {
        "volumes": 4, "studies": 3, "patients": 3, "usable": 3, "files": 4, "bytes": 40,
    }  # fmt: skip
    assert summary["splits"]["test"]["volumes"] == 2
    assert summary["splits"]["test"]["usable"] == 1
    assert summary["splits"]["val"]["volumes"] == 0
    assert summary["volumes_per_study"] == {"1": 2, "2": 1}


def test_geometry_is_grouped_and_measured() -> None:
    thin = replace(GEOMETRY, ras_spacing_mm=(0.7, 0.7, 1.0), orientation="LPS")
    members = [made(1), made(2), made(3, geometry=thin)]
    summary = summarise(members, ())
    assert summary["orientations"] == {"RAS": 2, "LPS": 1}
    assert summary["slice_distances"] == [
        {"above_mm": 0.0, "to_mm": 1.0, "volumes": 1},
        {"above_mm": 5.5, "to_mm": None, "volumes": 2},
    ]
    assert summary["measures"]["slice_mm"] == {
        "title": "slice distance", "unit": "mm",
        "percentiles": pytest.approx([1.0, 1.9, 10.0, 10.0, 10.0]),
    }  # fmt: skip


def test_the_histogram_bands_lie_around_the_median() -> None:
    members = [
        made(n, hu=replace(HU, shares=(n / 10, *(0.0,) * 54, 1 - n / 10))) for n in range(11)
    ]
    hu = summarise(members, ())["hu"]
    assert [band[0] for band in hu["bands"]] == pytest.approx([0.1, 0.5, 0.9])
    assert len(hu["edges"]) == len(hu["bands"][0]) + 1


def test_labels_are_counted_by_study_and_split() -> None:
    nan = math.nan
    members = [
        made(1, labels=(1.0, nan)), made(2, study_id="s1", labels=(1.0, nan)),
        made(3, labels=(0.0, 1.0)), made(4, split="val", labels=(1.0, 0.0)),
    ]  # fmt: skip
    first, second = summarise(members, ("nodule", "effusion"))["labels"]
    assert first["name"] == "nodule"
    assert first["splits"]["train"] == {"present": 1, "absent": 1, "unknown": 0}
    assert first["splits"]["val"] == {"present": 1, "absent": 0, "unknown": 0}
    assert second["splits"]["train"] == {"present": 1, "absent": 0, "unknown": 1}


def test_an_empty_collection_has_a_summary() -> None:
    summary = summarise([], ("nodule",))
    assert summary["counts"]["volumes"] == 0
    assert summary["measures"] == {}
    assert summary["hu"]["bands"] == []
    assert summary["slice_distances"] == []


def test_kinds_come_worst_first_then_most_frequent() -> None:
    kinds = ["hu_no_air", "report_dates", "hu_mask", "hu_no_air", "report_too_short"]
    faults = [Fault(kind=k, message="", volume_id=f"v{i}") for i, k in enumerate(kinds)]
    faults.append(Fault(kind="hu_no_air", message="again", volume_id="v0"))
    table = count_kinds(faults)
    assert list(table) == ["hu_mask", "hu_no_air", "report_too_short", "report_dates"]
    assert (table["hu_no_air"]["count"], table["hu_no_air"]["volumes"]) == (3, 2)
    assert table["hu_mask"]["action"] == "set_aside"
