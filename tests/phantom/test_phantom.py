"""The folder: bytes, resuming, refusing."""

import csv
import errno
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from mg3d import files
from mg3d.errors import ConfigError, StorageError
from mg3d.phantom import phantom as module
from mg3d.phantom.findings import FINDINGS
from mg3d.phantom.phantom import PhantomConfig, nifti_bytes, phantom
from mg3d.phantom.study import list_visits, plan_study, render


def config(out, **changes):
    plain = {"num_train": 4, "num_val": 2, "num_test": 2, "num_workers": 1, "grid": (40, 34, 32)}
    return PhantomConfig(out=out, **(plain | {"follow_up_share": 0.3} | changes))


def digest(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "data"
    phantom(config(out))
    return out


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_layout_is_the_contract(folder):
    reports, labels = table(folder / "reports.csv"), table(folder / "labels.csv")
    assert list(reports[0]) == [
        "study_id", "patient_id", "image", "findings", "impression", "split"
    ]  # fmt: skip
    assert list(labels[0]) == ["study_id", *(finding.name for finding in FINDINGS)]
    assert [row["study_id"] for row in reports] == [row["study_id"] for row in labels]
    assert len({row["study_id"] for row in reports}) == len(reports)
    for row in reports:
        assert (folder / row["image"]).is_file()
        assert (folder / "masks" / f"{row['study_id']}.nii.gz").is_file()
        assert row["findings"].endswith(".")
        assert row["impression"].endswith(".")
    split_of = {row["patient_id"]: row["split"] for row in reports}
    assert all(split_of[row["patient_id"]] == row["split"] for row in reports)
    legend = json.loads((folder / "phantom.json").read_text())["masks"]
    assert legend["0"] == "background"
    assert legend["12"] == "Cardiomegaly"
    assert set(digest(folder)) == {
        "phantom.json", "labels.csv", "reports.csv",
        *(row["image"] for row in reports),
        *(row["image"].replace("images", "masks") for row in reports),
    }  # fmt: skip


def test_files_hold_what_was_planned(folder):
    settings = config(folder)
    rows = {row["study_id"]: row for row in table(folder / "labels.csv")}
    for visit in list(list_visits(settings))[:3]:
        plan = plan_study(settings, *visit)
        image = nib.load(folder / "images" / f"{plan.study_id}.nii.gz")
        masks = nib.load(folder / "masks" / f"{plan.study_id}.nii.gz")
        hu, labels, affine = render(plan)
        assert image.get_data_dtype() == np.int16
        assert (np.asarray(image.dataobj) == hu).all()
        assert (np.asarray(masks.dataobj) == labels).all()
        np.testing.assert_allclose(
            image.affine, affine, atol=1e-3
        )  # stored as float32, measured 1.5e-5
        assert (image.affine == masks.affine).all()
        assert image.header.get_xyzt_units()[0] == "mm"
        assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 1
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
        stored = [int(rows[plan.study_id][finding.name]) for finding in FINDINGS]
        assert tuple(stored) == plan.labels


def test_two_workers_write_the_same_bytes(folder, tmp_path):
    phantom(config(tmp_path / "data", num_workers=2))
    assert digest(tmp_path / "data") == digest(folder)


def test_an_interrupted_run_continues_to_the_same_bytes(folder, tmp_path, monkeypatch):
    out = tmp_path / "data"
    written = []
    real = module.write_atomic

    def killed_in_the_middle(path, content):
        if len(written) == 7:
            raise StorageError("stopped here")
        written.append(path)
        real(path, content)

    monkeypatch.setattr(module, "write_atomic", killed_in_the_middle)
    with pytest.raises(StorageError):
        phantom(config(out))
    assert not (out / "reports.csv").exists()
    monkeypatch.undo()
    (out / "images" / ".train_00003_1.nii.gz.abcdefgh").write_bytes(b"half a file")
    complete = [path for path in written if (out / "images" / path.name).exists()]
    before = {path: path.stat().st_mtime_ns for path in complete}
    phantom(config(out))
    assert digest(out) == digest(folder)
    assert len(complete) >= 6
    assert {path: path.stat().st_mtime_ns for path in complete} == before  # nothing drawn twice


def test_a_complete_folder_is_left_as_it_is(folder):
    before = digest(folder)
    phantom(config(folder))
    assert digest(folder) == before


def test_another_seed_gives_other_patients(folder, tmp_path):
    phantom(config(tmp_path / "data", seed=1))
    other, first = digest(tmp_path / "data"), digest(folder)
    shared = [name for name in first if name.startswith("images") and name in other]
    assert shared
    assert all(first[name] != other[name] for name in shared)


def test_other_settings_are_refused_by_name(folder):
    before = digest(folder)
    with pytest.raises(ConfigError, match=r"seed: 0 there, 5 asked.*another folder"):
        phantom(config(folder, seed=5))
    assert digest(folder) == before


def test_another_version_is_refused(folder, tmp_path):
    out = tmp_path / "data"
    out.mkdir()
    document = json.loads((folder / "phantom.json").read_text())
    (out / "phantom.json").write_text(json.dumps(document | {"version": "0.0.1"}))
    with pytest.raises(ConfigError, match=r"version: '0\.0\.1' there"):
        phantom(replace(config(folder), out=out))


def test_another_drawing_is_refused(folder, monkeypatch):
    before = digest(folder)
    monkeypatch.setattr("mg3d.phantom.phantom._PHANTOM_VERSION", 10**6)
    with pytest.raises(ConfigError, match=r"\(drawing: \d+ there, 1000000 now\).*delete this one"):
        phantom(config(folder))
    assert digest(folder) == before


def test_a_file_that_is_no_phantom_is_named(tmp_path):
    (tmp_path / "phantom.json").write_text("{half")
    with pytest.raises(ConfigError, match=r"phantom\.json.*not readable"):
        phantom(config(tmp_path))


def test_nifti_bytes_carry_no_time_and_no_name():
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    packed = nifti_bytes(voxels, np.diag([2.0, 3.0, 4.0, 1.0]))
    assert packed == nifti_bytes(voxels, np.diag([2.0, 3.0, 4.0, 1.0]))
    assert packed[4:8] == b"\0\0\0\0"  # the time field of gzip
    assert packed[3] == 0  # no optional fields, such as a file name
    image = nib.Nifti1Image.from_bytes(gzip.decompress(packed))
    assert (np.asarray(image.dataobj) == voxels).all()


@pytest.mark.parametrize("number", range(5))
def test_a_full_disk_is_reported_and_the_next_run_completes(folder, tmp_path, monkeypatch, number):
    """Settings, mask, image, labels, reports: the disk is full at each of the five writes."""
    out = tmp_path / "data"
    one = {"num_train": 1, "num_val": 0, "num_test": 0, "follow_up_share": 0.0}
    real, writes = files._write_all, []

    def full(stream, payload):
        writes.append(stream)
        if len(writes) == number + 1:
            stream.write(payload[: len(payload) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(stream, payload)

    monkeypatch.setattr(files, "_write_all", full)
    with pytest.raises(StorageError, match="no space left"):
        phantom(config(out, **one))
    assert not (out / "reports.csv").exists()
    monkeypatch.undo()
    phantom(config(out, **one))
    assert not list(out.rglob(".*"))
    assert len(table(out / "reports.csv")) == 1
    same = "images/train_00000_1.nii.gz"
    assert digest(out)[same] == digest(folder)[same]


def test_killed_processes_leave_nothing_half_written(folder, tmp_path):
    out = tmp_path / "data"
    # every study takes 0.1 s more, so that the kill comes while some are missing
    code = (
        "import time; from pathlib import Path; from mg3d.phantom import phantom as module;"
        "draw = module.render; module.render = lambda plan: (time.sleep(0.1), draw(plan))[1];"
        f"module.phantom(module.PhantomConfig(out=Path({str(out)!r}), num_train=4, num_val=2,"
        "num_test=2, num_workers=1, grid=(40, 34, 32), follow_up_share=0.3))"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("images/*.nii.gz"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (out / "reports.csv").exists()
    for path in out.glob("images/*.nii.gz"):
        assert np.asarray(nib.load(path).dataobj).size > 0
    phantom(config(out))
    assert digest(out) == digest(folder)
