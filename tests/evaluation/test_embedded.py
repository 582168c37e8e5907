from dataclasses import replace

import numpy as np
import pytest

from mg3d.errors import DataError


def test_a_study_is_the_mean_of_its_reconstructions(volumes) -> None:
    scans = volumes(patients=5, studies_each=2, volumes_each=3)
    studies = scans.by_study()
    assert len(studies) == 10
    assert len(set(studies.study_ids)) == 10
    for row, name in enumerate(studies.study_ids):
        members = [i for i, study in enumerate(scans.study_ids) if study == name]
        mean = scans.image[members].mean(0)
        np.testing.assert_allclose(studies.image[row], mean / np.linalg.norm(mean), atol=1e-15)
        np.testing.assert_array_equal(studies.labels[row], scans.labels[members[0]])
        np.testing.assert_array_equal(studies.text[row], scans.text[members[0]])


def test_the_order_of_encoding_leaves_no_trace(volumes) -> None:
    scans = volumes(patients=6, volumes_each=2)
    shuffled = scans.take(np.random.default_rng(0).permutation(len(scans)))
    for unit in ("study", "volume"):
        first, second = scans.in_unit(unit), shuffled.in_unit(unit)
        assert first.volume_ids == second.volume_ids
        np.testing.assert_array_equal(first.image, second.image)


def test_a_missing_embedding_stops_with_the_study_name(volumes) -> None:
    scans = volumes(patients=4)
    scans.check_finite()
    image = scans.image.copy()
    image[2, 1] = np.nan
    with pytest.raises(DataError, match=r"p002_s0.*image embedding is not finite"):
        replace(scans, image=image).check_finite()
    text = scans.text.copy()
    text[1] = np.nan
    with pytest.raises(DataError, match=r"p001_s0.*report embedding"):
        replace(scans, text=text).check_finite()
    replace(scans, text=text, report_ids=("a", "", "c", "d")).check_finite()  # no report, not read
