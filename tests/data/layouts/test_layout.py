"""Layouts: adding one is one file, and a path that fits none or several is not guessed."""

from pathlib import Path

import pytest

import mg3d.data.layouts
from mg3d.data.layouts.layout import AUTO, LayoutOptions, layouts, read_catalogue
from mg3d.errors import ConfigError

NEW = '''"""A layout that somebody adds."""

from mg3d.data.layouts.catalogue import assemble
from mg3d.data.layouts.layout import Layout

LAYOUT = Layout(
    name="added",
    summary="one more",
    expects="a file called {name}",
    recognise=lambda path: path.name == "{name}",
    read=lambda path, options: assemble("added", path.parent, []),
)
'''


def _add(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Drop a file into the package, as far as Python can tell."""
    (folder / "added_layout.py").write_text(NEW.format(name=name))
    paths = [*mg3d.data.layouts.__path__, str(folder)]
    monkeypatch.setattr(mg3d.data.layouts, "__path__", paths)
    monkeypatch.delitem(__import__("sys").modules, "mg3d.data.layouts.added_layout", raising=False)
    layouts.cache_clear()


@pytest.fixture(autouse=True)
def _forget() -> object:
    yield
    layouts.cache_clear()


def test_dropping_a_file_in_adds_a_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(layouts())
    _add(tmp_path, monkeypatch, "new.site")
    assert set(layouts()) == before | {"added"}
    assert list(layouts()) == sorted(layouts())
    (tmp_path / "new.site").touch()
    assert read_catalogue(tmp_path / "new.site", AUTO, LayoutOptions()).layout == "added"


def test_a_path_of_two_layouts_is_not_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(tmp_path, monkeypatch, "m.csv")
    (tmp_path / "m.csv").write_text("study_id,patient_id,image\ns,p,a.nii\n")
    with pytest.raises(ConfigError, match="looks like added, manifest of the layouts"):
        read_catalogue(tmp_path / "m.csv", AUTO, LayoutOptions())
    assert read_catalogue(tmp_path / "m.csv", "manifest", LayoutOptions()).layout == "manifest"


def test_a_path_of_no_layout_and_a_name_of_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="looks like none of the layouts"):
        read_catalogue(tmp_path, AUTO, LayoutOptions())
    with pytest.raises(ConfigError, match="did you mean 'ct_rate'"):
        read_catalogue(tmp_path, "ctrate", LayoutOptions())


def test_a_path_that_is_not_there_is_no_question_of_layout(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.csv: no such file or folder"):
        read_catalogue(tmp_path / "gone.csv", AUTO, LayoutOptions())


def test_a_folder_with_a_manifest_in_it_names_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "reports.csv").write_text("study_id,patient_id,image\ns,p,images/a.nii\n")
    with pytest.raises(ConfigError, match=r"if 'reports\.csv' in it is a manifest, give its path"):
        read_catalogue(tmp_path, AUTO, LayoutOptions())


@pytest.mark.parametrize("option", ["key", "links"])
def test_an_option_without_use_is_refused(option: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("study_id,patient_id,image\ns,p,a.nii\n")
    options = LayoutOptions(**{option: tmp_path / "x"})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'manifest' keeps the ids of its tables"):
        read_catalogue(tmp_path / "m.csv", AUTO, options)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", layouts())
def test_recognising_never_fails(name: str, tmp_path: Path) -> None:
    paths = [tmp_path, tmp_path / "gone", tmp_path / "damaged.json", tmp_path / "folder"]
    paths[2].write_bytes(b"\xff{")
    paths[3].mkdir()
    (paths[3] / "dataset.json").write_bytes(b"[[[")
    (paths[3] / "list.json").write_bytes(b'{"train": [3], "val": {}, "test": null}')
    assert not any(layouts()[name].recognise(path) for path in paths)
