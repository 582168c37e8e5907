"""Each fault planted on a clean site is named by the audit and met by prepare as its kind says."""

from pathlib import Path

import pytest
from clean_site import Heard, Site, hear
from every_planted_fault import PLANTED_FAULTS
from planted_faults import Planted

from mg3d.data.faults import FAULTS


def test_the_clean_site_is_clean(site: Site, tmp_path: Path) -> None:
    site.finish()
    heard = hear(site, tmp_path)
    assert heard.kinds == {"error": set(), "warning": set(), "note": set()}
    assert (heard.code, heard.problem, heard.quarantine) == (0, "", {})
    assert heard.store is not None
    assert len(heard.store.rows) == len(site.rows)


def test_the_table_is_long_and_without_doubles() -> None:
    assert len(PLANTED_FAULTS) >= 40
    assert len({planted.name for planted in PLANTED_FAULTS}) == len(PLANTED_FAULTS)


@pytest.mark.parametrize("planted", PLANTED_FAULTS, ids=lambda planted: planted.name)
def test_a_planted_fault_is_named_and_met(
    planted: Planted,
    site: Site,
    tmp_path: Path,
    known_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mg3d.audit.document.draw_audit", lambda document: "")
    planted.change(site)
    site.finish()
    heard = hear(site, tmp_path, known_folder)
    _check_audit(planted, site, heard)
    _check_prepare(planted, site, heard)


def _check_audit(planted: Planted, site: Site, heard: Heard) -> None:
    found = set().union(*heard.kinds.values())
    assert planted.kind in found
    assert found <= {planted.kind} | planted.also
    severity = FAULTS[planted.kind].severity
    assert heard.code == int(bool(heard.kinds["error"]))
    if severity == "error":
        assert heard.code == 1
    if planted.names_volume:
        assert heard.volumes(planted.kind) == [site.row["study_id"]]


def _check_prepare(planted: Planted, site: Site, heard: Heard) -> None:
    action = FAULTS[planted.kind].action
    if action == "stop":
        assert heard.problem
        assert heard.store is None
        return
    assert heard.store is not None
    kept = {row.study_id: row for row in heard.store.rows}
    if action == "set_aside":
        assert heard.quarantine == {site.row["study_id"]: planted.kind}
        assert set(kept) == {row["study_id"] for row in site.rows} - {site.row["study_id"]}
        return
    assert (heard.problem, heard.quarantine) == ("", {})
    assert set(kept) == {row["study_id"] for row in site.rows}
    if planted.kind.startswith(("hu_", "geometry_", "anatomy_")):  # of one scan: recorded with it
        assert planted.kind in [kind for kind, _ in kept[site.row["study_id"]].faults]
