"""Files that lie beside the listed scans and that no table names: forgotten, or left behind.

For layouts whose table names each file; those that list the folder say themselves what they leave
out, and why.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.matching import listed
from mg3d.data.reading import READERS


def with_unlisted(catalogue: Catalogue) -> Catalogue:
    """A catalogue with what `find_unlisted` finds among its faults."""
    return replace(catalogue, faults=(*catalogue.faults, *find_unlisted(catalogue)))


def find_unlisted(catalogue: Catalogue) -> list[Fault]:
    """One fault for all scans that no row names.

    Only top-level folders that hold listed scans are searched: masks and other material in
    folders of their own are nobody's mistake.
    """
    root = _absolute(catalogue.folder)
    sources = {_absolute(row.source.path) for row in catalogue.rows}
    # a damaged table may name what no file system can: a name with a null character
    below = [path for path in sources if path.is_relative_to(root) and "\0" not in str(path)]
    # an empty cell names the folder itself
    tops = {path.relative_to(root).parts[0] for path in below if root not in (path, path.parent)}
    found = {path for top in tops for path in _scans(root / top, sources)}
    if any(path.parent == root for path in below):  # scans beside the table itself
        found |= {path for path in root.iterdir() if path.is_file() and _is_scan(path)}
    unlisted = sorted(path.relative_to(root).as_posix() for path in found - sources)
    if not unlisted:
        return []
    message = f"{len(unlisted)} image file(s) beside the listed ones that no row names"
    if not catalogue.private_names:
        message += f": {listed(unlisted)}"
    return [Fault(kind="file_unlisted", message=message)]


def _scans(top: Path, sources: set[Path]) -> Iterator[Path]:
    """Files with an ending of a reader, outside the folders that are scans themselves."""
    for folder, below, names in os.walk(top):
        here = Path(folder)
        if here in sources:
            below.clear()
            continue
        yield from (here / name for name in names if _is_scan(here / name))


def _is_scan(path: Path) -> bool:
    name = path.name.lower()
    return not name.startswith(".") and name.endswith(tuple(READERS))


def _absolute(path: Path) -> Path:
    """Without `..`, and without asking the disk about each of 50,000 files."""
    return Path(os.path.normpath(Path.cwd() / path))
