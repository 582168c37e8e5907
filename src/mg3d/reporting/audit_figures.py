"""The charts of an audit: how the voxels and the geometry of a collection are distributed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mg3d.reporting.theme import COLOURS, add_grid, style

_COLUMNS = 4
_BINS = 24


def hu_bands(edges: Sequence[int], bands: Sequence[Sequence[float]]) -> Figure:
    """The histogram of the middle volume, and the range that most volumes stay in.

    Args:
        edges: HU, one more than there are bins.
        bands: Share of voxels in each bin: 10 %, 50 % and 90 % over the volumes.
    """
    middles = (np.array(edges[:-1]) + np.array(edges[1:])) / 2
    low, middle, high = (np.array(band) for band in bands)
    with style():
        figure = Figure(figsize=(8.2, 2.6), layout="constrained")
        axes = figure.add_subplot()
        axes.axvspan(0, 80, color=COLOURS["green"], alpha=0.12, label="soft tissue, 0 to 80 HU")
        axes.axvline(-1000, color=COLOURS["green"], linewidth=1, linestyle=(0, (4, 3)), label="air")
        axes.fill_between(
            middles, low, high, color=COLOURS["blue"], alpha=0.25, label="80 % of volumes"
        )
        axes.plot(middles, middle, color=COLOURS["blue"], label="median volume")
        axes.set_yscale("symlog", linthresh=0.001)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("HU")
        axes.set_ylabel("share of voxels")
        add_grid(axes, axis="y")
        axes.legend(loc="upper right", ncols=2)
    return figure


def measure_histograms(
    measures: Mapping[str, Mapping[str, Any]], values: Mapping[str, Sequence[float]]
) -> Figure:
    """Small multiples: how many volumes have which value of each measure.

    Args:
        measures: Name -> title and unit.
        values: Name -> one number a volume.
    """
    rows = math.ceil(len(values) / _COLUMNS)
    with style():
        figure = Figure(figsize=(9.6, 1.75 * rows), layout="constrained")
        grid = figure.subplots(rows, _COLUMNS, squeeze=False)
        panels: list[Axes] = [axes for row in grid for axes in row]
        for axes in panels[len(values) :]:
            axes.set_axis_off()
        for (name, known), axes in zip(values.items(), panels, strict=False):
            axes.hist(known, bins=_BINS, color=COLOURS["blue"])
            unit = measures[name]["unit"]
            axes.set_title(measures[name]["title"] + (f", {unit}" if unit else ""), fontsize=8.5)
            axes.tick_params(labelsize=7)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            add_grid(axes, axis="y")
    return figure
