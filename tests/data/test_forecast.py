"""The forecast: disk exactly, totals as the theory says, nothing written."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mg3d.data.layouts.layout import AUTO, LayoutOptions, read_catalogue
from mg3d.data.preparation.backends import Workers
from mg3d.data.preparation.forecast import choose_sample, estimate_total, forecast
from mg3d.data.preparation.plan import Plan, make_plan
from mg3d.data.preparation.prepare import prepare
from mg3d.data.preparation.removed import RemovedPatients
from mg3d.errors import DataError
from mg3d.progress import console


def _plan(site: Any, out: Path) -> Plan:
    catalogue = read_catalogue(site.manifest, AUTO, LayoutOptions())
    geometry = site.config(out).geometry
    return make_plan(catalogue, out, geometry, RemovedPatients.read(out))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_nothing_is_written_and_the_disk_is_right(make_site: Any, tmp_path: Path) -> None:
    site, out = make_site(20), tmp_path / "store"
    settings = site.config(out, dry_run=True)
    before = sorted(tmp_path.rglob("*"))
    assert prepare(settings) is None
    assert sorted(tmp_path.rglob("*")) == before
    found = forecast(_plan(site, out), out, Workers(num=1))
    assert (found.num_volumes, found.num_sampled, found.num_bad) == (20, 8, 0)
    prepare(replace(settings, dry_run=False))
    # Measured: 5 % too much, since a row of this index has one label and the estimate 18.
    assert found.disk_bytes == pytest.approx(_bytes(out), rel=0.15)
    volumes = sum(path.stat().st_size for path in (out / "volumes").iterdir())
    assert 0 < volumes < found.disk_bytes
    assert found.seconds > 0
    assert found.memory_bytes > 30e6  # no Python with numpy takes less
    again = forecast(_plan(site, out), out, Workers(num=1))
    assert (again.num_volumes, again.num_sampled, again.seconds) == (0, 0, 0)


def test_bad_scans_are_counted_and_take_no_disk(make_site: Any, tmp_path: Path) -> None:
    site, out = make_site(8), tmp_path / "store"
    good = forecast(_plan(site, out), out, Workers(num=1))
    for number in range(4):
        site.image(number).write_bytes(b"broken")
    found = forecast(_plan(site, out), out, Workers(num=1))
    assert found.num_bad == 4
    assert found.disk_bytes < 0.8 * good.disk_bytes
    for number in range(4, 8):
        site.image(number).unlink()
    with pytest.raises(DataError, match=r"none of 8 scans tried.*mg3d audit"):
        forecast(_plan(site, out), out, Workers(num=1))


def test_it_is_shown_in_units_that_fit(make_site: Any, tmp_path: Path, capsys: Any) -> None:
    site, out = make_site(3), tmp_path / "store"
    found = forecast(_plan(site, out), out, Workers(num=1))
    console.quiet = False
    replace(found, seconds=30 * 3600, seconds_error=3600.0, disk_bytes=1e18).show(out)
    shown = capsys.readouterr().err
    assert "30.0 +- 1.0 h" in shown
    assert "too small" in shown
    replace(found, seconds=12.0, seconds_error=1.0).show(out)
    shown = capsys.readouterr().err
    assert "12.0 +- 1.0 s" in shown
    assert "too small" not in shown


def test_a_sample_covers_the_sizes() -> None:
    sizes = list(np.random.default_rng(0).permutation(1000))
    chosen = [sizes[i] for i in choose_sample(sizes, 5)]
    assert chosen == [0, 250, 500, 749, 999]
    assert choose_sample(sizes[:3], 5) == sorted(range(3), key=lambda i: sizes[i])


def test_a_total_that_follows_the_size_is_met_exactly() -> None:
    sizes = [float(n**2) for n in range(1, 101)]
    chosen = choose_sample([int(size) for size in sizes], 9)
    values = [3 + 0.5 * sizes[i] for i in chosen]
    total, error = estimate_total([sizes[i] for i in chosen], values, sizes)
    assert total == pytest.approx(sum(3 + 0.5 * size for size in sizes))
    assert error == pytest.approx(0, abs=1e-6)


def test_the_stated_error_holds_for_most_samples() -> None:
    """Over 200 populations the true sum lies within the error in about 95 of 100."""
    generator, hits = np.random.default_rng(1), 0
    for _ in range(200):
        sizes = generator.uniform(1, 3, 300)
        values = 2 + sizes + generator.normal(0, 0.5, 300)
        chosen = generator.choice(300, 20, replace=False)
        total, error = estimate_total(sizes[chosen], values[chosen], list(sizes))
        hits += abs(total - values.sum()) <= error
    assert 180 <= hits <= 199  # measured 186


def test_no_slope_where_sizes_are_equal_or_mislead() -> None:
    assert estimate_total([5.0, 5, 5], [1.0, 2, 3], [5.0] * 30)[0] == pytest.approx(60)
    assert estimate_total([1.0, 2, 3], [3.0, 2, 1], [3.0] * 10)[0] == pytest.approx(20)
    assert estimate_total([], [], []) == (0.0, 0.0)
