"""Structured reports as text."""

import pytest
from dicom_cases import ct_slice, write
from pydicom.dataset import Dataset

from mg3d.data.readers.dicom.report import read_sr
from mg3d.data.scan_error import ScanError
from mg3d.data.text.reports import Report


def _code(meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "DCM", meaning
    return [item]


def _item(kind, name="", *, relation="CONTAINS", children=(), **values):
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, kind
    if name:
        item.ConceptNameCodeSequence = _code(name)
    for keyword, value in values.items():
        setattr(item, keyword, value)
    if children:
        item.ContentSequence = list(children)
    return item


def _report(*children, kind="11"):
    header = ct_slice(0)
    del header.PixelData, header.Rows, header.Columns
    header.Modality, header.SOPClassUID = "SR", f"1.2.840.10008.5.1.4.1.1.88.{kind}"
    header.ContentSequence = list(children)
    return header


def _measured(value, unit):
    item = Dataset()
    item.NumericValue = value
    item.MeasurementUnitsCodeSequence = _code(unit)
    return [item]


def test_sections_become_headings(tmp_path):
    header = _report(
        _item("PNAME", "Person Observer Name", relation="HAS OBS CONTEXT", PersonName="Doe^John"),
        _item(
            "CONTAINER",
            "Findings",
            children=[
                _item("TEXT", "Finding", TextValue="Lungs are clear."),
                _item("TEXT", "Heart", TextValue="Normal in size."),
                _item("CODE", "Side", ConceptCodeSequence=_code("Left")),
                _item("NUM", "Diameter", MeasuredValueSequence=_measured("2.5", "cm")),
                _item("DATE", "Date", Date="20200101"),
                _item("UIDREF", "Ref", UID="1.2.3"),
                _item("PNAME", "Verifier", PersonName="Roe^Ann"),
            ],
        ),
        _item("CONTAINER", "Impression", children=[_item("TEXT", "Impression", TextValue="OK.")]),
    )
    text = read_sr(write(tmp_path / "a", header))
    assert text == (
        "Findings:\nLungs are clear.\nHeart: Normal in size.\nSide: Left\nDiameter: 2.5 cm\n"
        "Impression:\nOK."
    )
    report = Report.from_text(text)
    assert report.findings.startswith("Lungs are clear.")
    assert report.impression == "OK."


def test_texts_under_the_root_carry_their_names(tmp_path):
    header = _report(
        _item("TEXT", "Findings", TextValue="No nodule."),
        _item("TEXT", "Impressions", TextValue="Normal."),
        _item("TEXT", TextValue="Nameless."),
    )
    path = write(tmp_path / "a", header)
    assert read_sr(path) == "Findings: No nodule.\nImpressions: Normal.\nNameless."


def test_letters_of_other_alphabets(tmp_path):
    header = _report(_item("TEXT", TextValue="Größe unverändert"))
    header.SpecificCharacterSet = "ISO_IR 192"
    assert read_sr(write(tmp_path / "a", header)) == "Größe unverändert"


@pytest.mark.parametrize("kind", ["67", "50", "59"])
def test_dose_reports_and_the_like_are_no_text(kind, tmp_path):
    header = _report(_item("TEXT", TextValue="CTDI"), kind=kind)
    assert read_sr(write(tmp_path / "a", header)) == ""
    assert read_sr(write(tmp_path / "b", ct_slice(0))) == ""


def test_trees_without_an_end(tmp_path):
    item = _item("TEXT", TextValue="deep")
    for _ in range(100):
        item = _item("CONTAINER", children=[item])
    assert read_sr(write(tmp_path / "a", _report(item))) == ""


def test_what_is_no_dicom(tmp_path):
    (tmp_path / "a").write_text("Findings: none")
    with pytest.raises(ScanError):
        read_sr(tmp_path / "a")
