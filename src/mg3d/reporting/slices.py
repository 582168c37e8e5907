"""Example studies as pictures: three planes, and over them where a prompt is most similar.

The scale of the similarity is that study's own: colours compare places within a study, never
two studies; the scale is printed beside each.
"""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from mg3d.reporting.run_folder import PLANES, ExampleStudy
from mg3d.reporting.theme import style

BACKGROUND = "#0d1117"
FOREGROUND = "#e6edf3"
_LEAST_SHOWN = 0.3
"""Share of the study's similarity range below which the CT alone is seen."""


def example_figure(example: ExampleStudy) -> Figure:
    """Upper row the CT, lower row the same planes with the similarity to the prompt on top."""
    low, high = _range(example)
    widths = [_width_by_height(example, plane) for plane in PLANES]
    with style():
        figure = Figure(
            figsize=(1.0 + 2.1 * sum(widths), 4.4), facecolor=BACKGROUND, layout="constrained"
        )
        grid = figure.subplots(2, len(PLANES), gridspec_kw={"width_ratios": widths}, squeeze=False)
        for column, plane in enumerate(PLANES):
            upper, lower = grid[0][column], grid[1][column]
            _draw_plane(upper, example, plane)
            _draw_plane(lower, example, plane)
            _draw_overlay(lower, example, plane, low, high)
            upper.set_title(plane, color=FOREGROUND)
            row_mm, column_mm = example.pixel_mm[plane]
            upper.set_aspect(row_mm / column_mm)
            lower.set_aspect(row_mm / column_mm)
        scale = ScalarMappable(Normalize(low, high), _overlay_colours())
        bar = figure.colorbar(scale, ax=grid.ravel().tolist(), shrink=0.6, pad=0.02, aspect=22)
        bar.set_label("contribution to similarity", color=FOREGROUND)
        bar.ax.tick_params(colors=FOREGROUND)
        bar.outline.set_visible(False)
    return figure


def _width_by_height(example: ExampleStudy, plane: str) -> float:
    rows, columns = example.images[plane].shape
    row_mm, column_mm = example.pixel_mm[plane]
    return float(columns * column_mm / (rows * row_mm))


def _range(example: ExampleStudy) -> tuple[float, float]:
    values = np.concatenate([example.similarities[plane].ravel() for plane in PLANES])
    low, high = np.percentile(values, [1, 99.5])
    return float(low), float(max(high, low + 1e-6))


def _draw_plane(axes: Axes, example: ExampleStudy, plane: str) -> None:
    axes.imshow(example.images[plane], cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set_axis_off()


def _draw_overlay(axes: Axes, example: ExampleStudy, plane: str, low: float, high: float) -> None:
    axes.imshow(
        example.similarities[plane],
        cmap=_overlay_colours(),
        vmin=low,
        vmax=high,
        interpolation="bilinear",
    )


def _overlay_colours() -> ListedColormap:
    """Inferno (equally readable with any colour vision), clear at the low end."""
    colours = mpl.colormaps["inferno"](np.linspace(0.35, 1.0, 256))
    share = np.linspace(0.0, 1.0, 256)
    colours[:, 3] = 0.8 * np.sqrt(np.clip((share - _LEAST_SHOWN) / (1.0 - _LEAST_SHOWN), 0.0, 1.0))
    return ListedColormap(colours)
