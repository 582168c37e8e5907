"""One clean site a session; no bars, no waiting for the disk."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mg3d.progress import console

sys.path.append(str(Path(__file__).parent))
from clean_site import Site, hear, make_clean_site


@pytest.fixture(scope="session")
def clean_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    console.quiet = True
    return make_clean_site(tmp_path_factory.mktemp("clean") / "site")


@pytest.fixture(scope="session")
def known_folder(clean_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What audit and prepare write about the clean site."""
    folder = tmp_path_factory.mktemp("known")
    site = Site.copy(clean_folder, folder / "site")
    site.finish()
    hear(site, folder)
    return folder


@pytest.fixture
def site(clean_folder: Path, tmp_path: Path) -> Site:
    return Site.copy(clean_folder, tmp_path / "site")


@pytest.fixture(autouse=True)
def _quiet_and_quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    console.quiet = True
    yield
    console.quiet = False


@pytest.fixture
def real_folder() -> Path:
    """The folder of real scans and reports; the test is skipped where it is missing."""
    default = Path(__file__).parents[2] / "../shared/data"
    folder = Path(os.environ.get("MG3D_TEST_DATA", default)).resolve()
    if not (folder / "siim_reports/reports.json").is_file():
        pytest.skip(f"no real data in {folder}")
    return folder
