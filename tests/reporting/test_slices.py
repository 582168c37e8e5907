"""Example pictures: the right plane in the right place, one colour scale for all planes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.reporting.run_folder import PLANES, ExampleStudy, read_run
from mg3d.reporting.slices import example_figure


@pytest.fixture
def example(run_folder: Path) -> ExampleStudy:
    return read_run(run_folder).examples[0]


def test_planes_and_overlays_stand_below_each_other(example: ExampleStudy) -> None:
    axes = example_figure(example).axes
    for column, plane in enumerate(PLANES):
        upper, lower = axes[column], axes[column + 3]
        assert upper.get_title("left") == plane
        np.testing.assert_array_equal(upper.images[0].get_array(), example.images[plane])
        np.testing.assert_array_equal(lower.images[0].get_array(), example.images[plane])
        np.testing.assert_array_equal(lower.images[1].get_array(), example.similarities[plane])
        assert len(upper.images) == 1


def test_all_planes_share_one_scale(example: ExampleStudy) -> None:
    axes = example_figure(example).axes
    limits = {axes[column + 3].images[1].get_clim() for column in range(3)}
    assert len(limits) == 1


def test_the_ct_is_seen_where_similarity_is_low_and_the_overlay_where_it_is_high(
    example: ExampleStudy,
) -> None:
    overlay = example_figure(example).axes[3].images[1]
    colours = overlay.to_rgba(overlay.get_array())
    similarity = example.similarities["axial"]
    assert colours[np.unravel_index(similarity.argmin(), similarity.shape)][3] == 0
    assert colours[np.unravel_index(similarity.argmax(), similarity.shape)][3] > 0.7


def test_a_constant_map_is_drawn(example: ExampleStudy) -> None:
    flat = {plane: np.zeros_like(values) for plane, values in example.similarities.items()}
    low, high = example_figure(replace(example, similarities=flat)).axes[3].images[1].get_clim()
    assert low < high


def test_pixels_have_their_true_shape(example: ExampleStudy) -> None:
    axes = example_figure(example).axes
    assert all(axes[index].get_aspect() == pytest.approx(4.8 / 5.4) for index in range(6))


def test_an_example_without_pixel_sizes_is_drawn_with_square_pixels(
    run_folder: Path, edit_json: Callable[[Path, Callable[[dict[str, Any]], object]], None]
) -> None:
    path = next((run_folder / "evaluation" / "examples").glob("*.json"))
    edit_json(path, lambda about: about.pop("planes"))
    example = next(e for e in read_run(run_folder).examples if e.study_id == path.stem)
    assert example_figure(example).axes[0].get_aspect() == 1.0
