"""How figures look, and how a matplotlib figure becomes part of a page.

Charts become inline SVG whose text stays text and whose colours are CSS variables, so that the
page's light, dark and print colours reach into them; pictures become PNG in a data URI. The
palette is that of Okabe and Ito (2008), which people with any colour-vision deficiency can tell
apart; every series also differs by its marker.
"""

import base64
import io
import re
from contextlib import AbstractContextManager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "ink": "#1f2328",
    "muted": "#6b7280",
    "line": "#d5d9e0",
    "blue": "#0072b2",
    "vermilion": "#d55e00",
    "green": "#009e73",
    "orange": "#e69f00",
    "sky": "#56b4e9",
    "purple": "#cc79a7",
}
"""Name of a CSS variable of style.css -> its value in light mode."""

SERIES = ("blue", "vermilion", "green", "purple", "orange", "sky")
PNG_DPI = 110
_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, searchable
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same layout on every machine
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
}


def style() -> AbstractContextManager[None]:
    """The settings under which every figure of the page is drawn."""
    return mpl.rc_context(_SETTINGS)


def add_grid(axes: Axes, *, axis: str = "both") -> None:
    """A light grid behind the data along ``axis`` ("x", "y" or "both")."""
    axes.grid(True, axis=axis)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def to_svg(figure: Figure, *, name: str, title: str) -> str:
    """The figure as an ``<svg>`` element for a page.

    Args:
        figure: Drawn inside `style`.
        name: Unique on the page; the element's ids are derived from it.
        title: What a screen reader says.

    Returns:
        An element without fixed width; the same figure gives the same text.
    """
    stream = io.StringIO()
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # matplotlib numbers groups anew in every figure
    svg = re.sub(r"#[0-9a-f]{6}", _as_variable, svg)
    svg = re.sub(r' width="[\d.]+pt"| height="[\d.]+pt"', "", svg, count=2)
    opening = f'<svg class="chart" role="img" aria-label="{escape(title)}" '
    return svg.replace("<svg ", opening, 1)


def to_data_uri(figure: Figure) -> str:
    """The figure as ``data:image/png;base64,...``."""
    stream = io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        figure.savefig(stream, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _as_variable(match: re.Match[str]) -> str:
    value = match.group()
    for name, colour in COLOURS.items():
        if value == colour:
            return f"var(--{name}, {value})"
    return value
