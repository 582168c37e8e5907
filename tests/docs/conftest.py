"""The sandbox of the documentation's code blocks: what a reader has after the tutorial."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))

from page_runner import ROOT, run_page

TUTORIAL = ROOT / "docs" / "tutorials" / "first-run.md"


@pytest.fixture(scope="session")
def tutorial_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a reader has after the tutorial: phantom, store and an evaluated run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tutorial")
    run_page(TUTORIAL, folder)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def run_in_copy(tutorial_folder: Path, tmp_path: Path) -> Callable[[Path], None]:
    """Run a page in a copy of the reader's folder."""

    def run(page: Path) -> None:
        shutil.copytree(tutorial_folder, tmp_path / "reader")
        run_page(page, tmp_path / "reader")

    return run
