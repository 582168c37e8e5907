"""`mg3d layouts`: which layouts there are, and the files that each expects."""

import difflib
import inspect
import sys
import textwrap
from dataclasses import dataclass

from mg3d.data.layouts.layout import Layout
from mg3d.data.layouts.layout import layouts as known_layouts
from mg3d.errors import ConfigError

__all__ = ["LayoutsConfig", "layouts"]

_WIDTH = 100


@dataclass(frozen=True, kw_only=True)
class LayoutsConfig:
    """Show the layouts of scans, reports and labels that can be read."""

    name: str = ""
    """Layout to explain in full; empty for a table of all."""


def layouts(settings: LayoutsConfig) -> None:
    """Print the layouts, or all there is to know about one.

    Args:
        settings: Which.

    Raises:
        ConfigError: If there is no layout of this name.
    """
    known = known_layouts()
    if settings.name:
        text = explain(_named(settings.name, known))
    else:
        text = "\n".join(_entry(layout) for layout in known.values())
        text += "\nmg3d layouts --name NAME explains one of them."
    print(text)  # noqa: T201  (plain text: a table would break the names of files)


def _entry(layout: Layout) -> str:
    parts = (layout.summary, f"expects {layout.expects}")
    lines = [
        textwrap.fill(
            part,
            width=_WIDTH,
            initial_indent="    ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for part in parts
    ]
    return "\n".join([layout.name, *lines])


def _named(name: str, known: dict[str, Layout]) -> Layout:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"layout {name!r} is none of {', '.join(known)}{hint}")
    return known[name]


def explain(layout: Layout) -> str:
    """What a layout is, what it expects, and the words of the file that reads it."""
    source = inspect.getdoc(sys.modules[layout.read.__module__]) or ""
    return f"{layout.name}: {layout.summary}\n\nExpects: {layout.expects}.\n\n{source}"
