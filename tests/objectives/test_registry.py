from dataclasses import fields, replace

import pytest
from jsonargparse import CLI, set_parsing_settings

from mg3d.errors import ConfigError
from mg3d.objectives.masked_report import MaskedReportConfig
from mg3d.objectives.plain_alignment import PlainAlignmentConfig
from mg3d.objectives.registry import OBJECTIVES, ObjectivesConfig, build_objectives
from mg3d.objectives.siglip import SiglipConfig

NOTHING = ObjectivesConfig(
    **{name: replace(getattr(ObjectivesConfig(), name), weight=0) for name in OBJECTIVES}
)


def test_each_name_is_a_field_and_the_name_of_what_it_builds():
    assert [field.name for field in fields(ObjectivesConfig)] == list(OBJECTIVES)
    for name, build in OBJECTIVES.items():
        assert build(getattr(ObjectivesConfig(), name)).name == name


def test_the_default_is_the_full_method_with_its_weights():
    weights = {term.objective.name: term.weight for term in build_objectives(ObjectivesConfig())}
    assert weights == {
        "masked_report": 1,
        "masked_volume": 1,
        "plain_alignment": 1,
        "global_alignment": 0.1,
        "aggregation_contrast": 0.1,
        "sentence_similarity": 0.1,
    }


def test_a_weight_of_zero_leaves_a_term_out():
    settings = replace(NOTHING, siglip=SiglipConfig(weight=2.5))
    (only,) = build_objectives(settings)
    assert (only.objective.name, only.weight) == ("siglip", 2.5)


def test_nothing_to_learn_is_refused():
    with pytest.raises(ConfigError, match="every objective has weight 0"):
        build_objectives(NOTHING)


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_impossible_weights_are_refused(weight):
    settings = replace(NOTHING, masked_report=MaskedReportConfig(weight=weight))
    with pytest.raises(ConfigError, match=r"objectives\.masked_report\.weight is"):
        build_objectives(settings)


def test_two_losses_for_the_one_plain_space_are_refused():
    settings = replace(
        NOTHING, siglip=SiglipConfig(weight=1), plain_alignment=PlainAlignmentConfig(weight=1)
    )
    with pytest.raises(ConfigError, match="plain_alignment and siglip train the same"):
        build_objectives(settings)


def test_every_setting_is_an_option_with_a_help_text(capsys):
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    options = ["--sentence_similarity.similar_above=0.9", "--clip.weight=1"]
    settings = CLI(ObjectivesConfig, args=options)
    assert settings.sentence_similarity.similar_above == 0.9
    assert settings.clip.weight == 1

    with pytest.raises(SystemExit):
        CLI(ObjectivesConfig, args=["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for name in OBJECTIVES:
        for field in fields(getattr(settings, name)):
            text = shown.split(f"--{name}.{field.name} ", 1)[1].split("(type:")[0]
            assert len(text.split()) > 6, (name, field.name, text)
