"""Figures become markup that is deterministic, scalable, recoloured by the page, and safe."""

import base64
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from matplotlib.figure import Figure

import mg3d.reporting.theme as theme


def _drawn() -> Figure:
    with theme.style():
        figure = Figure(figsize=(3, 2))
        axes = figure.add_subplot()
        theme.add_grid(axes)
        axes.plot([0, 1], [0, 1], color=theme.COLOURS["blue"])
        axes.set_title("a < b")
    return figure


def test_the_same_figure_gives_the_same_text() -> None:
    assert theme.to_svg(_drawn(), name="a", title="t") == theme.to_svg(
        _drawn(), name="a", title="t"
    )


def test_ids_of_two_figures_never_meet() -> None:
    ids = [
        set(re.findall(r'id="([^"]+)"', theme.to_svg(_drawn(), name=name, title="t")))
        for name in ("first", "second")
    ]
    assert all(ids)
    assert not ids[0] & ids[1]


def test_colours_are_variables_and_text_stays_text() -> None:
    svg = theme.to_svg(_drawn(), name="a", title="t")
    assert f"var(--blue, {theme.COLOURS['blue']})" in svg
    assert "a &lt; b" in svg
    assert 'width="100%"' not in svg.split(">")[0]
    assert " width=" not in svg.split(">")[0]
    assert "viewBox" in svg.split(">")[0]


def test_it_is_well_formed_and_loads_nothing() -> None:
    svg = theme.to_svg(_drawn(), name="a", title='said "aloud" & <clear>')
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'said "aloud" & <clear>'
    assert not re.search(r'(?:href|src)="(?!#)', svg)


def test_every_colour_is_a_variable_of_the_style_sheet_in_both_modes() -> None:
    css = (Path(theme.__file__).parent / "style.css").read_text()
    light, dark = css.split("@media screen", 1)
    for name, value in theme.COLOURS.items():
        assert re.search(rf"--{name}: #[0-9a-f]{{6}};", light), name
        assert re.search(rf"--{name}: #[0-9a-f]{{6}};", dark), name
        if name in theme.SERIES:
            assert f"--{name}: {value};" in light


def test_a_picture_is_a_png_inside_the_page() -> None:
    uri = theme.to_data_uri(_drawn())
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body).startswith(b"\x89PNG")
