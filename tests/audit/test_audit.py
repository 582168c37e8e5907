"""The audit as a whole: same bytes however often stopped, severities, and nobody's name in it."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from clean_site import PLANTED, Site
from planted_dicom_faults import as_dicom

from mg3d.audit import examine
from mg3d.audit.audit import AuditConfig, audit
from mg3d.cli import main
from mg3d.errors import ConfigError, DataError, StorageError
from mg3d.progress import console


def settings(site: Site, out: Path, **options: Any) -> AuditConfig:
    labels = site.folder / "labels.csv"
    return AuditConfig(
        **{"data": site.manifest, "out": out, "labels": labels, "num_workers": 1} | options
    )


def content(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def document(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    return found


def test_workers_and_a_second_run_change_no_byte(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.finish()
    assert audit(settings(site, tmp_path / "one")) == 0
    assert audit(settings(site, tmp_path / "two", num_workers=2)) == 0
    first = content(tmp_path / "one")
    assert content(tmp_path / "two") == first
    assert {name.split("/")[0] for name in first} == {
        "audit.html", "audit.json", "facts", "thumbnails",
    }  # fmt: skip
    monkeypatch.setattr(examine, "read_scan", None)  # everything is known
    site.folder.rename(tmp_path / "moved")
    site.folder = tmp_path / "moved"
    audit(settings(site, tmp_path / "one"))
    assert content(tmp_path / "one") == first


def test_a_changed_site_gives_the_audit_of_a_fresh_look(site: Site, tmp_path: Path) -> None:
    site.finish()
    audit(settings(site, tmp_path / "old"))
    array, affine = site.load()
    site.save((array // 2 * 2).astype(np.int16), affine)
    site.drop(site.rows[-1])
    site.row["patient_id"] = "somebody.else"
    site.finish()
    audit(settings(site, tmp_path / "old"))
    audit(settings(site, tmp_path / "fresh"))
    assert content(tmp_path / "old") == content(tmp_path / "fresh")


def test_a_damaged_cache_is_looked_past(site: Site, tmp_path: Path) -> None:
    site.finish()
    audit(settings(site, tmp_path / "out"))
    before = content(tmp_path / "out")
    torn, odd, *_ = sorted((tmp_path / "out/facts").iterdir())
    torn.write_bytes(torn.read_bytes()[:100])
    odd.write_text('{"key": "", "times": [], "facts": []}')
    audit(settings(site, tmp_path / "out"))
    assert content(tmp_path / "out") == before


def test_a_killed_audit_goes_on_and_ends_the_same(site: Site, tmp_path: Path) -> None:
    site.finish()
    audit(settings(site, tmp_path / "whole"))
    words = ["audit", str(site.manifest), str(tmp_path / "killed"), "--num_workers", "1"]
    words += ["--labels", str(site.folder / "labels.csv")]
    process = subprocess.Popen(
        [sys.executable, "-m", "mg3d", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and len(list((tmp_path / "killed").glob("facts/*.json"))) < 3:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list((tmp_path / "killed/facts").glob("*.json"))) >= 3
    assert main(words) == 0
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


@pytest.mark.parametrize(
    ("fail_on", "codes"), [("error", (0, 1)), ("warning", (1, 1)), ("never", (0, 0))]
)
def test_the_severity_that_fails_is_chosen(
    site: Site, tmp_path: Path, fail_on: str, codes: tuple[int, int]
) -> None:
    site.row["findings"] = "Not given."  # a warning
    site.finish()
    assert audit(settings(site, tmp_path / "out", fail_on=fail_on)) == codes[0]
    site.image.unlink()  # an error
    assert audit(settings(site, tmp_path / "out", fail_on=fail_on)) == codes[1]


def test_a_scan_that_comes_back_is_looked_at_again(site: Site, tmp_path: Path) -> None:
    site.finish()
    kept = site.image.read_bytes()
    site.image.unlink()
    assert audit(settings(site, tmp_path / "out")) == 1
    site.image.write_bytes(kept)
    assert audit(settings(site, tmp_path / "out")) == 0


def test_a_table_that_cannot_be_read_is_a_fault_on_the_page(site: Site, tmp_path: Path) -> None:
    site.raw["reports.csv"] = b"study,patient\n1,2\n"
    site.finish()
    assert audit(settings(site, tmp_path / "out")) == 1
    assert list(document(tmp_path / "out")["kinds"]) == ["table_columns"]
    assert "table_columns" in (tmp_path / "out/audit.html").read_text()


def test_reports_may_be_absent_by_choice(site: Site, tmp_path: Path) -> None:
    for row in site.rows:
        row["findings"] = row["impression"] = ""
    site.finish()
    assert audit(settings(site, tmp_path / "out")) == 1
    assert document(tmp_path / "out")["kinds"]["report_missing"]["count"] == len(site.rows)
    assert audit(settings(site, tmp_path / "out", keep_without_report=True)) == 0
    assert document(tmp_path / "out")["kinds"] == {}


def test_names_of_faults_are_whole_in_a_narrow_log(
    site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 80)
    site.row["impression"] = ""
    site.finish()
    console.quiet = False
    audit(settings(site, tmp_path / "out"))
    assert "report_impression_missing" in capfd.readouterr().err  # what a search of logs is for


def test_foreign_folders_are_left_alone(site: Site, tmp_path: Path) -> None:
    site.finish()
    with pytest.raises(ConfigError, match="holds other files than an audit"):
        audit(settings(site, site.folder))
    (tmp_path / "store").mkdir()
    (tmp_path / "store/store.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds"):
        audit(settings(site, tmp_path / "store"))


def test_a_list_of_checksums_must_be_one(site: Site, tmp_path: Path) -> None:
    site.finish()
    with pytest.raises(DataError, match="not a SHA-256"):
        audit(settings(site, tmp_path / "out", checksums=site.manifest))


def test_a_full_disk_is_said(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.finish()

    def full(stream: Any, payload: bytes) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr("mg3d.files._write_all", full)
        with pytest.raises(StorageError, match="no space left"):
            audit(settings(site, tmp_path / "out"))
    assert audit(settings(site, tmp_path / "out")) == 0


SECRET = "Zzyzx"


def plant_names(site: Site) -> None:
    """A name in every text field of headers, in reports and in columns that nobody asked for."""
    array, affine = site.load()
    image = nibabel.Nifti1Image(array, affine)
    for name in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[name] = f"{SECRET} {name}"[:16].encode()
    extension = nibabel.nifti1.Nifti1Extension("comment", f"Patient {SECRET}".encode())
    image.header.extensions.append(extension)
    nibabel.save(image, site.image)
    site.row["findings"] += f" Discussed with Dr. {SECRET}. Patient: {SECRET}, Jane, MRN 0048291."
    for row in site.rows:
        row["remark"] = f"son of {SECRET}"
    for place in (PLANTED + 1, PLANTED + 2):
        array, affine = site.load(place)
        target = site.folder / site.rows[place]["image"]
        target.unlink()
        if place == PLANTED + 1:
            site.rows[place]["image"] = site.rows[place]["image"].replace(".nii.gz", ".nrrd")
            lines = [
                "NRRD0004", "type: short", "dimension: 3", "space: RAS", "encoding: gzip",
                f"sizes: {' '.join(map(str, array.shape))}", "endian: little",
                "space directions: "
                + " ".join(f"({','.join(map(str, affine[:3, axis]))})" for axis in range(3)),
                f"space origin: ({','.join(map(str, affine[:3, 3]))})",
                f"content: scan of {SECRET}", f"patient:={SECRET}", f"# {SECRET}",
            ]  # fmt: skip
            voxels = gzip.compress(array.astype("<i2").tobytes(order="F"))
            target = site.folder / site.rows[place]["image"]
            target.write_bytes("\n".join(lines).encode() + b"\n\n" + voxels)
        else:
            nibabel.save(nibabel.Nifti1Image(array.clip(-1000, 400) * 0, affine), target)
            target.write_bytes(SECRET.encode() * 50)  # not readable: the message must not quote it


def plant_dicom_names(site: Site) -> None:
    """The same in every text tag of a series, private ones too."""
    for path in as_dicom(site):
        header = pydicom.dcmread(path)
        for keyword in (
            "PatientName", "PatientID", "ReferringPhysicianName", "OperatorsName", "StudyID",
            "InstitutionName", "InstitutionAddress", "StudyDescription", "SeriesDescription",
            "ProtocolName", "ImageComments", "PatientComments", "StationName", "DeviceSerialNumber",
            "AccessionNumber", "OtherPatientIDs", "PatientAddress", "RequestingPhysician",
            "Manufacturer", "ManufacturerModelName", "AdditionalPatientHistory",
        ):  # fmt: skip
            setattr(header, keyword, SECRET)
        header.PatientBirthDate = "19110203"
        block = header.private_block(0x0011, SECRET, create=True)
        block.add_new(0x01, "LO", SECRET)
        header.save_as(path)


@pytest.mark.parametrize(
    "plant", [plant_names, plant_dicom_names], ids=lambda plant: plant.__name__
)
def test_nothing_personal_and_no_report_text_comes_out(
    plant: Any,
    site: Site,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "width", 300)  # no name is folded
    plant(site)
    site.finish()
    console.quiet = False  # or there is nothing to leak
    audit(settings(site, tmp_path / "out", fail_on="never"))
    said = capfd.readouterr()
    assert "audit.html" in said.err
    texts = {"out": said.out.encode(), "err": said.err.encode()} | content(tmp_path / "out")
    secrets = [SECRET, "19110203", "0048291", *(row["findings"][:40] for row in site.rows)]
    for name, text in texts.items():
        for secret in secrets:
            assert secret.encode() not in text, name
            assert secret.lower().encode() not in text.lower(), name
    planted = document(tmp_path / "out")["volumes"][PLANTED]
    assert planted["usable"], "the planted scan itself was looked at"
