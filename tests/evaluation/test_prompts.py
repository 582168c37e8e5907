from pathlib import Path

import pytest

from mg3d.errors import ConfigError
from mg3d.evaluation.prompts import PromptPair, load_prompts

PAIR = "{positive: [Nodule., A nodule.], negative: [No nodule.]}"


def written(folder: Path, text: str) -> str:
    path = folder / "prompts.yaml"
    path.write_text(text)
    return str(path)


def test_wordings_and_findings_keep_their_order(tmp_path: Path) -> None:
    text = f"nodule: {{plain: {PAIR}, report: {PAIR}}}\neffusion: {{report: {PAIR}, plain: {PAIR}}}"
    prompts = load_prompts(written(tmp_path, text), ["effusion", "nodule"])
    assert list(prompts) == ["report", "plain"]
    assert list(prompts["plain"]) == ["effusion", "nodule"]
    assert prompts["report"]["nodule"] == PromptPair(("Nodule.", "A nodule."), ("No nodule.",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodules: {}", "no prompts for the finding 'nodule' of the store .it has 'nodules'"),
        (f"nodule: {{report: {PAIR}}}\neffusion: {{}}", "effusion: report.positive must be a list"),
        ("nodule: {report: {positive: [], negative: [x]}}\neffusion: {}", "report.positive"),
        ("nodule: {report: {positive: x, negative: [x]}}\neffusion: {}", "report.positive"),
        ("- nodule", "expected a mapping"),
        ("{", "not YAML"),
    ],
)
def test_a_faulty_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_prompts(written(tmp_path, text), ["nodule", "effusion"])


def test_an_unknown_set_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="neither a file nor one of"):
        load_prompts("no-such-set", ["nodule"])
