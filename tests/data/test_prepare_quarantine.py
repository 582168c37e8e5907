"""`prepare` sets bad scans aside, each with its reason, and keeps the good ones."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.cli import main
from mg3d.data.preparation.prepare import prepare
from mg3d.data.store import VolumeStore
from mg3d.errors import DataError
from mg3d.progress import console

Tree = Callable[[Path], dict[str, bytes]]


def _spoil(site: Any, body: Any, write_nifti: Any) -> dict[str, str]:
    """Make scans 1 to 7 unusable, each in its own way; returns the reason of each."""
    affine = np.diag([3.0, 3, 4, 1])
    site.image(1).write_bytes(site.image(1).read_bytes()[:200])
    write_nifti(site.image(2), np.full((8, 8, 8), -1000, np.int16), affine)
    write_nifti(site.image(3), (body() > -200).astype(np.uint8), affine)
    site.image(4).unlink()
    site.rows[5] |= {"findings": "Not given.", "impression": ""}
    header = bytearray(gzip.decompress(site.image(6).read_bytes()))
    header[312:328] = bytes(16)  # srow_z, which gives the third axis its direction
    site.image(6).write_bytes(gzip.compress(header))
    write_nifti(site.image(7), body().astype(np.int32) - 8192, affine)
    site.write()
    return {
        "s1": "unreadable", "s2": "hu_constant", "s3": "hu_mask", "s4": "missing_file",
        "s5": "report_missing", "s6": "geometry_zero_spacing", "s7": "hu_rescaled_twice",
    }  # fmt: skip


def test_bad_scans_are_set_aside_and_good_ones_kept(
    make_site: Any, tree: Tree, tmp_path: Path, body: Any, write_nifti: Any
) -> None:
    site = make_site(9)
    reasons = _spoil(site, body, write_nifti)
    settings = site.config(tmp_path / "store")
    for _ in range(2):  # the same command answers the same, and does not change the store
        with pytest.raises(DataError, match=r"7 of 9 volumes were set aside, see quarantine.jsonl"):
            prepare(settings)
        lines = (settings.out / "quarantine.jsonl").read_text().splitlines()
        found = {row["volume_id"]: row for row in map(json.loads, lines)}
        assert {name: row["kind"] for name, row in found.items()} == reasons
        assert found["s4"]["image"] == "images/s4.nii.gz"
        assert all(len(row["message"]) > 20 for row in found.values())
        assert [row.volume_id for row in VolumeStore.open(settings.out).rows] == ["s0", "s8"]
    store = prepare(replace(settings, allow_quarantine=True))
    assert len(store) == 2
    site.rows = [site.rows[0], site.rows[8]]
    site.write()
    fresh = tree(prepare(site.config(tmp_path / "fresh")).path)
    assert {k: v for k, v in tree(settings.out).items() if k != "quarantine.jsonl"} == {
        k: v for k, v in fresh.items() if k != "quarantine.jsonl"
    }


@pytest.mark.parametrize(("backend", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_every_backend_makes_the_same_bytes(
    backend: str, module: str, make_site: Any, tree: Tree, tmp_path: Path, body: Any,
    write_nifti: Any,
) -> None:  # fmt: skip
    pytest.importorskip(module)
    site = make_site(9)
    _spoil(site, body, write_nifti)
    settings = site.config(tmp_path / "loky", allow_quarantine=True, num_workers=2)
    prepare(settings)
    prepare(replace(settings, out=tmp_path / backend, backend=backend))
    assert tree(tmp_path / "loky") == tree(tmp_path / backend)


def test_the_command_shows_one_table_and_exits_1(
    make_site: Any, tmp_path: Path, body: Any, write_nifti: Any, capsys: Any
) -> None:

    console.quiet = False
    site = make_site(9)
    _spoil(site, body, write_nifti)
    words = ["prepare", str(site.manifest), str(tmp_path / "s"), "--num_workers", "1"]
    assert main(words) == 1
    shown = capsys.readouterr().err
    assert shown.count("volumes set aside") == 1
    assert "report_missing" in shown
    assert "Traceback" not in shown
    assert "nodule" not in shown  # no report text
    assert main([*words, "--allow_quarantine", "true"]) == 0


def test_volumes_without_a_report_may_be_kept(make_site: Any, tmp_path: Path) -> None:
    site = make_site(3)
    site.rows[1] |= {"findings": "", "impression": "Not given."}
    site.write()
    store = prepare(site.config(tmp_path / "store", keep_without_report=True))
    assert len(store) == 3
    assert store.row("s1").report_id == ""
    assert store.report("s1").is_empty
