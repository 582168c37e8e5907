"""DICOM with reports: keys of every kind, structured reports, and nothing personal anywhere."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian, generate_uid

from mg3d.audit.audit import AuditConfig, audit
from mg3d.data.grid import GridConfig
from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.dicom_reports import LAYOUT
from mg3d.data.layouts.layout import LayoutOptions
from mg3d.data.layouts.table_error import TableError
from mg3d.data.preparation.prepare import PrepareConfig, prepare
from mg3d.data.text.reports import Report
from mg3d.data.volume import Volume
from mg3d.phantom.export.dicom_series import SeriesIdentity, write_dicom_series
from mg3d.progress import console

Kinds = Callable[[Catalogue], list[str]]
SECRET = "MUSTERMANN"
ONE = SeriesIdentity(patient_id=f"{SECRET}^ONE", study_id="ST1", accession_number=f"A1{SECRET}")
SHARP = SeriesIdentity(
    patient_id=ONE.patient_id, study_id="ST1", accession_number=ONE.accession_number,
    series_number=2,
)  # fmt: skip
TWO = SeriesIdentity(patient_id=f"{SECRET}^TWO", study_id="ST2", accession_number=f"A2{SECRET}")


@pytest.fixture
def volume() -> Volume:
    generator = np.random.default_rng(0)
    array = np.full((12, 10, 4), -1000)
    array[2:-2, 2:-2] = 40
    array[4:6, 4:-3] = -850
    array = array + generator.integers(-9, 9, array.shape)
    return Volume(array.clip(-1024).astype(np.int16), np.diag([-2.0, -2.0, 3.0, 1.0]))


@pytest.fixture
def site(tmp_path: Path, volume: Volume) -> Path:
    """Two patients; the first one's study has two series, in folders that bear their names."""
    folder = tmp_path / "site"
    for identity in (ONE, SHARP, TWO):
        name = f"{identity.patient_id}_{identity.series_number}"
        write_dicom_series(volume, folder / name, identity=identity)
    return folder


def _read(site: Path, **options: Any) -> Catalogue:
    return LAYOUT.read(site, LayoutOptions(**options))


def _table(path: Path, key: str, *rows: str) -> Path:
    path.write_text(f"{key},report\n" + "\n".join(rows) + "\n")
    return path


def _findings(catalogue: Catalogue) -> dict[str, str]:
    """SeriesInstanceUID -> findings."""
    return {row.source.series_uid: row.report.findings for row in catalogue.rows}


EXPECTED = {ONE.series_uid: "Clear.", SHARP.series_uid: "Clear.", TWO.series_uid: "Nodule."}


@pytest.mark.parametrize("key", ["AccessionNumber", "accession number", "StudyInstanceUID"])
def test_reports_by_either_key(key: str, site: Path, kinds: Kinds) -> None:
    by_uid = key.startswith("Study")
    names = [i.study_uid if by_uid else i.accession_number for i in (ONE, TWO)]
    _table(site / "reports.csv", key, f"{names[0]},Clear.", f"{names[1]},Nodule.")
    catalogue = _read(site)
    assert _findings(catalogue) == EXPECTED
    assert kinds(catalogue) == []
    assert len({row.study_id for row in catalogue.rows}) == 2
    assert len({row.patient_id for row in catalogue.rows}) == 2


def test_a_folder_of_texts_named_by_both_kinds_of_keys(site: Path, kinds: Kinds) -> None:
    (site / "reports").mkdir()
    for name, text in (
        (ONE.accession_number, "Clear."), (ONE.study_uid, "Clear."), (TWO.study_uid, "Nodule."),
    ):  # fmt: skip
        (site / "reports" / f"{name}.txt").write_text(text)
    catalogue = _read(site)
    assert _findings(catalogue) == EXPECTED
    assert kinds(catalogue) == []


def test_what_has_no_counterpart_is_counted_without_its_name(
    site: Path, tmp_path: Path, kinds: Kinds
) -> None:
    path = _table(tmp_path / "r.csv", "Accession", f"{ONE.accession_number},Clear.", "LOST,Lost.")
    catalogue = _read(site, reports=path)
    assert _findings(catalogue)[TWO.series_uid] == ""
    assert kinds(catalogue) == ["report_orphan"]
    assert catalogue.faults[0].message.endswith("r.csv, line 3")
    path = _table(tmp_path / "r.csv", "Accession", "LOST,Lost.")
    assert kinds(_read(site, reports=path)) == ["report_no_match"]


def test_an_accession_number_of_two_patients_names_no_report(
    tmp_path: Path, volume: Volume, kinds: Kinds
) -> None:
    site = tmp_path / "two_hospitals"
    for number in ("one", "two"):
        identity = SeriesIdentity(patient_id=number, study_id=number, accession_number="17")
        write_dicom_series(volume, site / number, identity=identity)
    _table(site / "reports.csv", "Accession", "17,Clear.")
    assert kinds(_read(site)) == ["id_accession_ambiguous"]
    assert "17" not in _read(site).faults[0].message


def test_labels_by_either_key(site: Path, tmp_path: Path, kinds: Kinds) -> None:
    path = tmp_path / "l.csv"
    path.write_text(f"AccessionNumber,nodule\n{ONE.accession_number},1\n{TWO.accession_number},0\n")
    catalogue = _read(site, labels=path)
    labels = {row.source.series_uid: row.labels for row in catalogue.rows}
    assert labels == {ONE.series_uid: (1.0,), SHARP.series_uid: (1.0,), TWO.series_uid: (0.0,)}
    path.write_text(f"StudyInstanceUID,nodule\n{TWO.study_uid},0\n{TWO.study_uid},1\n")
    catalogue = _read(site, labels=path)
    assert kinds(catalogue) == ["label_twice", "label_missing"]
    assert TWO.study_uid not in str(catalogue.faults)
    path.write_text("name,nodule\nx,1\n")
    with pytest.raises(TableError, match="column 'AccessionNumber' missing"):
        _read(site, labels=path)


def _write_sr(path: Path, study_uid: str, *texts: tuple[str, str]) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = BasicTextSRStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = BasicTextSRStorage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.StudyInstanceUID = "SR", study_uid
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[study_uid, "sr"])
    data.PatientName = data.PatientID = SECRET
    data.ValueType, items = "CONTAINER", []
    for name, text in texts:
        concept = Dataset()
        concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "1", "99", name
        item = Dataset()
        item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", text
        item.ConceptNameCodeSequence = [concept]
        items.append(item)
    data.ContentSequence = items
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, data, enforce_file_format=True)


def test_structured_reports_fill_what_no_table_gives(site: Path, kinds: Kinds) -> None:
    _write_sr(site / "sr/one", ONE.study_uid, ("Findings", "Mass."), ("Impression", "Tumour."))
    _write_sr(site / "sr/two", TWO.study_uid, ("Findings", "Nodule."))
    _write_sr(site / "sr/addendum", TWO.study_uid, ("Impression", "Benign."))
    _write_sr(site / "sr/other", "1.2.3", ("Findings", "Lost."))
    _table(site / "reports.csv", "AccessionNumber", f"{ONE.accession_number},Clear.")
    catalogue = _read(site)
    reports = {row.source.series_uid: row.report for row in catalogue.rows}
    assert reports[ONE.series_uid] == reports[SHARP.series_uid] == Report("Clear.")
    assert reports[TWO.series_uid] == Report("Nodule.", "Benign.")
    assert kinds(catalogue) == ["report_orphan"]
    assert "1 of 3 structured reports" in catalogue.faults[0].message


def test_links_are_written_on_demand_for_the_owner_only(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    catalogue = _read(site, links=path)
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open(encoding="utf-8") as stream:
        links = {row["volume_id"]: row for row in csv.DictReader(stream)}
    for row in catalogue.rows:
        link = links[row.volume_id]
        assert link["SeriesInstanceUID"] == row.source.series_uid
        assert (link["study_id"], link["patient_id"]) == (row.study_id, row.patient_id)
        assert (site / link["folder"]).is_dir()
    assert {link["PatientID"] for link in links.values()} == {ONE.patient_id, TWO.patient_id}


def test_nothing_personal_reaches_catalogue_or_store(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _table(
        site / "reports.csv", "AccessionNumber", f"{ONE.accession_number},Clear.",
        f"{TWO.accession_number},Nodule.", f"LOST{SECRET},Lost.",
    )  # fmt: skip
    (site / SECRET).mkdir()
    (site / SECRET / SECRET).write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00" + b"damage" * 9)
    catalogue = _read(site)
    shown = [
        (r.place, r.volume_id, r.study_id, r.patient_id, r.image, r.report) for r in catalogue.rows
    ]
    uids = [uid for i in (ONE, SHARP, TWO) for uid in (i.study_uid, i.series_uid)]
    said = str((shown, catalogue.faults))
    assert not any(secret in said for secret in (SECRET, *uids))
    assert catalogue.private_names
    assert [fault.kind for fault in catalogue.faults] == ["file_damaged", "report_orphan"]
    console.quiet = False  # or nothing is printed that could leak
    store = prepare(
        PrepareConfig(
            data=site, out=tmp_path / "store", num_workers=1,
            geometry=GridConfig(grid=(6, 6, 4), spacing_mm=(4, 4, 4)),
        )
    )  # fmt: skip
    assert len(store.rows) == 3
    content = b"".join(p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file())
    printed = "".join(capsys.readouterr())
    assert "3 volumes in the store" in " ".join(printed.split())
    for secret in (SECRET, *uids):
        assert secret.encode() not in content
        assert secret not in printed


def test_what_is_no_ct_is_counted_by_modality(site: Path, volume: Volume, kinds: Kinds) -> None:
    from pydicom import dcmread

    file = next(iter(sorted((site / f"{TWO.patient_id}_1").iterdir())))
    header = dcmread(file)
    header.Modality = "MR"
    header.SeriesInstanceUID = generate_uid(entropy_srcs=["mr"])
    header.save_as(site / "mr")
    catalogue = _read(site)
    assert kinds(catalogue) == ["scan_left_out"]
    assert "1 series are no CT volumes, by modality: MR 1" in catalogue.faults[0].message


def test_studies_without_a_patient_count_as_one_each(tmp_path: Path, volume: Volume) -> None:
    for number in (1, 2):
        identity = SeriesIdentity(patient_id="", study_id=f"S{number}")
        write_dicom_series(volume, tmp_path / "d" / str(number), identity=identity)
    catalogue = _read(tmp_path / "d")
    assert len({row.patient_id for row in catalogue.rows}) == 2
    assert [fault.kind for fault in catalogue.faults] == ["id_patient_unknown"]


def test_two_candidates_for_the_reports_are_not_guessed(site: Path, tmp_path: Path) -> None:
    _table(site / "reports.csv", "AccessionNumber", "x,Clear.")
    (site / "reports.json").write_text("{}")
    with pytest.raises(TableError, match=r"reports\.csv, reports\.json could each"):
        _read(site)
    with pytest.raises(TableError, match="no such folder"):
        _read(tmp_path / "gone")


def test_recognition(site: Path, tmp_path: Path) -> None:
    assert LAYOUT.recognise(site)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes").write_text("no DICOM")
    assert not LAYOUT.recognise(tmp_path / "empty")
    assert not LAYOUT.recognise(tmp_path / "gone")


def test_prepare_takes_key_and_links(site: Path, tmp_path: Path) -> None:
    """The same key gives the same store, another one other ids; a dry run writes no links."""
    _table(site / "reports.csv", "AccessionNumber", f"{ONE.accession_number},Clear.")
    options: dict[str, Any] = {
        "data": site, "key": tmp_path / "secret", "num_workers": 1, "keep_without_report": True,
        "geometry": GridConfig(grid=(8, 8, 4), spacing_mm=(3, 3, 3)),
    }  # fmt: skip
    links = tmp_path / "links.csv"
    prepare(PrepareConfig(out=tmp_path / "none", links=links, dry_run=True, **options))
    assert not links.exists()
    stores = [
        prepare(PrepareConfig(out=tmp_path / "linked", links=links, **options)),
        prepare(PrepareConfig(out=tmp_path / "again", **options)),
        prepare(PrepareConfig(out=tmp_path / "other", **options | {"key": tmp_path / "new"})),
    ]
    ids = [{row.volume_id for row in store.rows} for store in stores if store is not None]
    assert ids[0] == ids[1]
    assert not ids[0] & ids[2]
    with links.open(newline="", encoding="utf-8") as stream:
        linked = {row["volume_id"]: row["PatientID"] for row in csv.DictReader(stream)}
    assert set(linked) == ids[0]
    assert set(linked.values()) == {ONE.patient_id, TWO.patient_id}
    assert not (site.parent / f"{site.name}.mg3d-key").exists()


def test_audit_takes_the_same_key_and_links(site: Path, tmp_path: Path) -> None:
    key, links = tmp_path / "secret", tmp_path / "links.csv"
    expected = {row.volume_id for row in _read(site, key=key).rows}
    audit(
        AuditConfig(
            data=site, out=tmp_path / "out", key=key, links=links, fail_on="never", num_workers=1
        )
    )
    document = json.loads((tmp_path / "out/audit.json").read_text(encoding="utf-8"))
    assert {row["volume_id"] for row in document["volumes"]} == expected
    with links.open(newline="", encoding="utf-8") as stream:
        assert {row["volume_id"] for row in csv.DictReader(stream)} == expected
    assert "file_unlisted" not in document["kinds"]
