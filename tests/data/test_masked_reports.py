"""Masking: both sections of every report, once a study, and nothing else of a catalogue."""

from pathlib import Path

from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow
from mg3d.data.preparation.masked_reports import mask_reports
from mg3d.data.scan import ScanSource
from mg3d.data.text.identifiers import find_identifiers
from mg3d.data.text.reports import Report

NAMED = Report("Compared to 03/14/2019. <b>No</b> nodule.", "Dr. Zzyzx was called on 03/15/2019.")
PLAIN = Report("Clear lungs.", "")


def _catalogue(*studies: tuple[str, Report]) -> Catalogue:
    rows = tuple(
        CatalogueRow(
            place=f"line {number}", volume_id=f"v{number}", study_id=study, patient_id=study,
            source=ScanSource(path=Path("x.nii")), image="x.nii", report=report, labels=(1.0,),
        )
        for number, (study, report) in enumerate(studies)
    )  # fmt: skip
    return Catalogue(layout="manifest", folder=Path(), rows=rows, label_names=("nodule",))


def test_sections_are_masked_and_counted_once_a_study() -> None:
    before = _catalogue(("a", NAMED), ("a", NAMED), ("b", PLAIN), ("c", NAMED))
    after, counts = mask_reports(before)
    assert counts == {"date": 4, "name": 2}  # two studies, three volumes
    report = after.rows[1].report
    assert report.findings == "Compared to [date]. No nodule."
    assert report.impression == "Dr. [name] was called on [date]."
    assert report.faults == NAMED.faults != ()
    assert not find_identifiers(f"{report.findings}\n{report.impression}")
    assert after.rows[2] == before.rows[2]
    same = ("place", "volume_id", "study_id", "patient_id", "source", "image", "split", "labels")
    for old, new in zip(before.rows, after.rows, strict=True):
        assert all(getattr(old, name) == getattr(new, name) for name in same)


def test_reports_that_differ_only_in_what_is_masked_become_equal() -> None:
    """Two templates with two dates are one report: retrieval then counts either as a hit."""
    one, two = (Report(f"Compared to {date}. Clear.") for date in ("03/14/2019", "04/15/2020"))
    after, _ = mask_reports(_catalogue(("a", one), ("b", two)))
    assert one.report_id != two.report_id
    assert after.rows[0].report.report_id == after.rows[1].report.report_id


def test_masking_again_changes_nothing() -> None:
    after, _ = mask_reports(_catalogue(("a", NAMED), ("b", PLAIN)))
    assert mask_reports(after) == (after, {})
