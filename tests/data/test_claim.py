"""Claiming: a folder is taken only where nothing is lost by it."""

import json
from pathlib import Path

import pytest

from mg3d.data.preparation.claim import (
    claim,
    clear_leftovers,
    refuse_foreign,
    refuse_half_removed,
    refuse_to_drop,
)
from mg3d.data.store import StoreSettings
from mg3d.errors import ConfigError


def test_a_fresh_folder_says_what_it_will_be(tmp_path: Path) -> None:
    claim(tmp_path, StoreSettings(), overwrite=False)
    content = json.loads((tmp_path / "preparing.json").read_text())
    assert content["settings"] == StoreSettings().to_json()
    claim(tmp_path, StoreSettings(), overwrite=False)  # going on is no conflict


@pytest.mark.parametrize("name", ["preparing.json", "store.json"])
def test_other_settings_are_listed_by_their_options(name: str, tmp_path: Path) -> None:
    other = StoreSettings(clauses="sen_comma", keep_without_report=True).to_json()
    (tmp_path / name).write_text(json.dumps({"settings": other}))
    shown = r"clauses: sen_comma there, sentence asked for; keep_without_report: True there"
    with pytest.raises(ConfigError, match=shown):
        claim(tmp_path, StoreSettings(), overwrite=False)
    claim(tmp_path, StoreSettings(), overwrite=True)
    assert not (tmp_path / "store.json").exists()


def test_a_store_of_an_older_version_is_gone_on_with(tmp_path: Path) -> None:
    """It lacks a setting that came later: it was made as the default has it."""
    settings = StoreSettings().to_json()
    del settings["mask_identifiers"]
    (tmp_path / "store.json").write_text(json.dumps({"settings": settings}))
    claim(tmp_path, StoreSettings(), overwrite=False)
    with pytest.raises(ConfigError, match="mask_identifiers: False there, True asked for"):
        claim(tmp_path, StoreSettings(mask_identifiers=True), overwrite=False)


def test_a_description_that_cannot_be_read_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    for content in ("{", "[]"):
        (tmp_path / "store.json").write_text(content)
        with pytest.raises(ConfigError, match="its description is not readable"):
            claim(tmp_path, StoreSettings(), overwrite=False)


def test_volumes_nobody_asks_for_are_counted(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "volumes").mkdir(exist_ok=True)
        (tmp_path / f"volumes/{name}.safetensors").touch()
    refuse_to_drop(tmp_path, {"a", "b", "c", "d"})
    with pytest.raises(ConfigError, match=r"holds 2 volumes .* \(the first is 'a'\)"):
        refuse_to_drop(tmp_path, {"b"})


def test_traces_of_killed_processes_go(tmp_path: Path) -> None:
    for name in ("volumes/.v.safetensors.abcd1234", ".index.jsonl.abcd1234", ".in_flight/v"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "volumes/v.safetensors").touch()
    clear_leftovers(tmp_path)
    claim(tmp_path, StoreSettings(), overwrite=False)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"volumes/v.safetensors", "preparing.json"}


def test_a_store_is_not_spread_over_a_folder_of_scans(tmp_path: Path) -> None:
    refuse_foreign(tmp_path / "new")
    (tmp_path / ".lock").touch()  # of the command that asks
    refuse_foreign(tmp_path)
    (tmp_path / "scan.nii.gz").touch()
    with pytest.raises(ConfigError, match="holds other files than a store"):
        claim(tmp_path, StoreSettings(), overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "scan.nii.gz"}
    (tmp_path / "volumes").mkdir()  # a store whose description was lost can be made whole again
    claim(tmp_path, StoreSettings(), overwrite=False)


def test_a_removal_comes_to_its_end_first(tmp_path: Path) -> None:
    refuse_half_removed(tmp_path)
    (tmp_path / "removing.json").touch()
    with pytest.raises(ConfigError, match="run the same `mg3d remove` again"):
        refuse_half_removed(tmp_path)
