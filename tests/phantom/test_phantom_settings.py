from pathlib import Path

import pytest

from mg3d.errors import ConfigError
from mg3d.phantom.settings import DIFFICULTIES, PhantomConfig

OUT = Path("unused")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_train": -1}, "num_train: -1"),
        ({"num_train": 0, "num_val": 0, "num_test": 0}, "every split has 0 patients"),
        ({"difficulty": "hard"}, "choose one of easy, standard"),
        ({"grid": (64, 20, 64)}, "at least 32 voxels"),
        ({"follow_up_share": 1.5}, "use 0 to 1"),
        ({"num_workers": 0}, "or -1 for every core"),
    ],
)
def test_an_impossible_setting_names_itself_and_the_remedy(change, message):
    with pytest.raises(ConfigError, match=message):
        PhantomConfig(out=OUT, **change)


def test_patients_of_each_split():
    settings = PhantomConfig(out=OUT, num_train=3, num_val=2, num_test=1)
    assert [settings.num_patients(s) for s in ("train", "val", "test")] == [3, 2, 1]


def test_easy_is_easier_than_standard_in_every_respect():
    easy, standard = DIFFICULTIES["easy"], DIFFICULTIES["standard"]
    assert easy.jitter < standard.jitter
    assert easy.offset_mm < standard.offset_mm
    assert easy.noise_hu[1] < standard.noise_hu[1]
    assert easy.phrasings < standard.phrasings
    assert easy.lesion_scale[0] > standard.lesion_scale[0]
    assert easy.contrast[0] > standard.contrast[0]
