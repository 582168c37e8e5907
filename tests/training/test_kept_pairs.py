"""A kind of pairs that a whole window lacks is reported, once."""

import pytest

from mg3d.training.kept_pairs import KeptPairs


def test_a_window_without_pairs_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = KeptPairs()
    for step in (1, 2):
        pairs.add({"sentence_similarity.positive_pairs": 0.0,
                   "sentence_similarity.negative_pairs": 0.2})  # fmt: skip
        pairs.warn(step)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("0 % positive pairs up to step 1") == said.count("pairs up to step") == 1


def test_one_step_with_pairs_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = KeptPairs()
    for share in (0.0, 0.1, 0.0):
        pairs.add(
            dict.fromkeys((f"sentence_similarity.{kind}_pairs" for kind in pairs.KINDS), share)
        )
    pairs.warn(3)
    KeptPairs().warn(3)  # a run without this objective
    assert not capsys.readouterr().err
