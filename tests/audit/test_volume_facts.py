"""Facts of a volume: geometry from the affine, HU from the voxels, and back from the cache."""

import json

import numpy as np
import pytest

from mg3d.audit.volume_facts import HU_EDGES, VolumeFacts, content_facts
from mg3d.data.volume import Volume


def volume() -> Volume:
    generator = np.random.default_rng(1)
    array = generator.normal(-1000, 12, (12, 10, 8))
    array[3:9, 3:8, :] = generator.normal(50, 12, (6, 5, 8))
    affine = np.zeros((4, 4))
    affine[[2, 0, 1], [0, 1, 2]] = (5, -2, 3)  # stored axes: S, L, A
    affine[3, 3] = 1
    return Volume(np.rint(array).astype(np.int16), affine)


def test_geometry_comes_from_the_affine() -> None:
    geometry = content_facts(volume())["geometry"]
    assert geometry.orientation == "SLA"
    assert geometry.shape == (12, 10, 8)
    assert geometry.spacing_mm == (5, 2, 3)
    assert geometry.ras_shape == (10, 8, 12)
    assert geometry.ras_spacing_mm == (2, 3, 5)
    assert geometry.extent_mm == (20, 24, 60)
    assert geometry.oblique_degrees == 0


def test_hu_come_from_the_voxels() -> None:
    hu, array = content_facts(volume())["hu"], volume().array
    assert (hu.minimum, hu.maximum) == (array.min(), array.max())
    assert hu.mean == pytest.approx(array.mean(), abs=0.01)
    assert hu.air_share == pytest.approx((array < -700).mean(), abs=1e-5)
    assert hu.air_peak == pytest.approx(-1000, abs=8)  # measured -1001
    assert hu.soft_peak == pytest.approx(50, abs=10)  # measured 48
    assert len(hu.shares) == len(HU_EDGES) - 1


def test_facts_come_back_from_json() -> None:
    facts = VolumeFacts(
        num_files=2, num_bytes=7, sha256="ab", faults=(("hu_no_air", "none"),), lung_litres=1.5,
        **content_facts(volume()),
    )  # fmt: skip
    back = VolumeFacts.from_json(json.loads(json.dumps(facts.to_json())))
    assert back == facts
    assert facts.fingerprint is not None
    assert (back.fingerprint == facts.fingerprint).all()
    empty = VolumeFacts(faults=(("unreadable", "no"),))
    assert VolumeFacts.from_json(json.loads(json.dumps(empty.to_json()))) == empty
