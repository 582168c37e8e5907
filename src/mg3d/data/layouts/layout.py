"""Layout: how a site or a public data set lays out scans, reports, splits and labels.

Each file of this package that defines ``LAYOUT`` adds one; nothing else has to name it.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mg3d.data.layouts
from mg3d.data.layouts.catalogue import Catalogue
from mg3d.errors import ConfigError

AUTO = "auto"
_MOST_TABLES = 3


@dataclass(frozen=True, kw_only=True)
class LayoutOptions:
    """What a command may say beside the path; a layout refuses what it has no use for."""

    labels: Path | None = None
    """Table of labels that lies elsewhere than the layout expects it."""
    reports: Path | None = None
    """Table, file or folder of reports that lies elsewhere than the layout expects it."""
    key: Path | None = None
    """File of the secret that turns ids of patients and studies into pseudonyms, for layouts of
    identified data; made where it is missing. None: beside the folder, named as it is."""
    links: Path | None = None
    """Table to write of pseudonyms and what they stand for, readable by its owner only."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to lay out data."""

    name: str
    """As ``--layout`` takes it."""
    summary: str
    """What it is, one line."""
    expects: str
    """The files it looks for, for `mg3d layouts`."""
    recognise: Callable[[Path], bool]
    """Whether a path looks like it: quick, and false rather than an exception."""
    read: Callable[[Path, LayoutOptions], Catalogue]
    """The catalogue of a path. Raises DataError where there is nothing to read."""
    pseudonymises: bool = False
    """Whether it has a use for a key and a table of links."""


@cache
def layouts() -> dict[str, Layout]:
    """All layouts by name, in alphabetical order."""
    found = {}
    for module_info in pkgutil.iter_modules(mg3d.data.layouts.__path__):
        module = importlib.import_module(f"{mg3d.data.layouts.__name__}.{module_info.name}")
        layout = getattr(module, "LAYOUT", None)
        if isinstance(layout, Layout):
            found[layout.name] = layout
    return dict(sorted(found.items()))


def read_catalogue(path: Path, layout: str, options: LayoutOptions) -> Catalogue:
    """Read what a path holds.

    Args:
        path: A table or a folder.
        layout: A name, or "auto" to recognise it.
        options: What the command said beside the path.

    Raises:
        ConfigError: An unknown layout, none that fits, or several that do.
        DataError: From the layout.
    """
    known = layouts()
    if layout != AUTO:
        if layout not in known:
            near = difflib.get_close_matches(layout, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"layout {layout!r} is none of auto, {', '.join(known)}{hint}")
        return _read(known[layout], path, options)
    fitting = [each for each in known.values() if each.recognise(path)]
    if len(fitting) != 1:
        raise ConfigError(_not_one(path, fitting))
    return _read(fitting[0], path, options)


def _not_one(path: Path, fitting: Sequence[Layout]) -> str:
    """Why a path has no layout of its own accord, and what to do."""
    if not path.exists():
        return f"{path}: no such file or folder; check the path"
    names = ", ".join(each.name for each in fitting) or "none"
    problem = f"{path}: looks like {names} of the layouts; "
    inside = sorted(path.iterdir()) if path.is_dir() and not fitting else []
    tables = [each.name for each in inside if layouts()["manifest"].recognise(each)]
    if tables:
        problem += f"if {_or(tables[:_MOST_TABLES])} in it is a manifest, give its path, else "
    return problem + "name one with --layout (see `mg3d layouts`)"


def _or(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)


def _read(layout: Layout, path: Path, options: LayoutOptions) -> Catalogue:
    if not layout.pseudonymises and (options.key is not None or options.links is not None):
        raise ConfigError(
            f"layout {layout.name!r} keeps the ids of its tables; key and links are for layouts of "
            "identified data. Leave them out."
        )
    return layout.read(path, options)
