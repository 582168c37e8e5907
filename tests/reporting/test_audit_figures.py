"""The charts of an audit draw the numbers they are given."""

import numpy as np
import pytest

from mg3d.reporting.audit_figures import hu_bands, measure_histograms

MEASURES = {
    "a": {"title": "slice distance", "unit": "mm"},
    "b": {"title": "share of air", "unit": ""},
}


def test_the_median_is_drawn_over_the_middles_of_the_bins() -> None:
    figure = hu_bands([-1000, 0, 400], [[0.1, 0.2], [0.3, 0.6], [0.4, 0.9]])
    (axes,) = figure.axes
    line = next(each for each in axes.get_lines() if each.get_label() == "median volume")
    assert np.asarray(line.get_xdata()).tolist() == [-500, 200]
    assert np.asarray(line.get_ydata()).tolist() == [0.3, 0.6]
    assert axes.get_yscale() == "symlog"  # a share may be 0


def test_each_measure_has_a_panel_with_all_its_volumes() -> None:
    values = {"a": [1.0, 1.0, 5.0], "b": [0.5] * 7}
    figure = measure_histograms(MEASURES, values)
    drawn = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in drawn] == ["slice distance, mm", "share of air"]
    for axes, known in zip(drawn, values.values(), strict=True):
        heights = [patch.get_height() for patch in axes.patches]  # type: ignore[attr-defined]
        assert sum(heights) == pytest.approx(len(known))
