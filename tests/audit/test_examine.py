"""One scan: hash, facts, checksums, cache."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from clean_site import Site

from mg3d.audit import examine as module
from mg3d.audit.examine import AuditJob, examine, facts_name, failed
from mg3d.data.scan import ScanSource
from mg3d.data.scan_error import ScanError


def job(site: Site, out: Path, checksums: Path | None = None) -> AuditJob:
    source = ScanSource(path=site.image)
    return AuditJob(
        volume_id=facts_name("v", "image", source), ids=("v", "s", "p"), source=source, out=out,
        checksums=checksums,
    )  # fmt: skip


def test_facts_hold_identity_and_content(site: Site, tmp_path: Path) -> None:
    facts = examine(job(site, tmp_path)).facts
    array, _ = site.load()
    content = site.image.read_bytes()
    assert (facts.num_files, facts.num_bytes) == (1, len(content))
    assert facts.sha256 == hashlib.sha256(content).hexdigest()
    assert facts.geometry is not None
    assert facts.geometry.shape == array.shape
    assert facts.hu is not None
    assert facts.hu.minimum == array.min()
    assert facts.lung_litres is not None
    assert 2 < facts.lung_litres < 8
    assert facts.faults == ()


def test_the_cache_answers_until_the_file_changes(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = examine(job(site, tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_scan", None)
        again = examine(job(site, tmp_path))
    assert again.facts == first.facts
    assert (again.facts.fingerprint == first.facts.fingerprint).all()
    os.utime(site.image, (1, 1))
    with monkeypatch.context() as patch:  # touched, but its content is the same
        patch.setattr(module, "read_scan", None)
        assert examine(job(site, tmp_path)).facts == first.facts
    (picture,) = (tmp_path / "thumbnails").iterdir()
    picture.unlink()
    assert examine(job(site, tmp_path)).facts == first.facts
    assert picture.exists(), "facts without their picture are not known"
    site.image.write_bytes(b"something else")
    assert [kind for kind, _ in examine(job(site, tmp_path)).facts.faults] == ["unreadable"]
    assert not picture.exists(), "a picture of what the file was"


def test_checksums_are_compared(site: Site, tmp_path: Path) -> None:
    right = hashlib.sha256(site.image.read_bytes()).hexdigest()
    for name, value, expected in (("good", right, ()), ("bad", "0" * 64, ("file_checksum",))):
        path = site.folder / name
        path.write_text(f"{value}  {site.row['image']}\nffff{right[4:]}  not/here.nii\n")
        facts = examine(job(site, tmp_path / name, path)).facts
        assert tuple(kind for kind, _ in facts.faults) == expected
        assert facts.hu is not None, "it is looked at all the same"


def test_unusable_voxels_leave_what_can_be_known(site: Site, tmp_path: Path) -> None:
    array, affine = site.load()
    site.save(np.where(array > 0, np.nan, array.astype("f4")), affine)
    facts = examine(job(site, tmp_path)).facts
    assert [kind for kind, _ in facts.faults] == ["hu_not_finite"]
    assert facts.geometry is not None
    assert facts.hu is None
    assert list((tmp_path / "thumbnails").glob("*")) == []


def test_what_cannot_be_opened_is_not_cached(site: Site, tmp_path: Path) -> None:
    site.image.unlink()
    facts = examine(job(site, tmp_path)).facts
    assert [kind for kind, _ in facts.faults] == ["missing_file"]
    assert not (tmp_path / "facts").exists()
    killed = failed(job(site, tmp_path), ScanError("twice", "worker_killed"))
    assert killed.facts.faults == (("worker_killed", "twice"),)


def test_names_of_facts_are_safe_and_tell_rows_apart() -> None:
    source = ScanSource(path=Path("x"))
    names = {
        facts_name(volume_id, image, each)
        for volume_id, image in (("a/../b", "c"), ("a", "../b/c"), ("a", "c"))
        for each in (source, ScanSource(path=Path("x"), series_uid="1.2"))
    }
    assert len(names) == 6
    assert all(name.isalnum() for name in names)
