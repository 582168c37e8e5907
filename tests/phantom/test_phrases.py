"""The words of the reports and the prompts that probe them."""

import re
from importlib import resources

import pytest
import yaml

from mg3d.phantom.findings import FINDINGS
from mg3d.phantom.phrases import COVERING, DEVICES, NEUTRAL, NO_ABNORMALITY, ON_SIDE, PHRASES
from mg3d.phantom.settings import DIFFICULTIES

NAMES = [finding.name for finding in FINDINGS]
FUNCTION_WORDS = {
    "a", "an", "and", "are", "at", "by", "in", "is", "no", "not", "of", "the", "there", "to", "with"
}  # fmt: skip


@pytest.fixture(scope="module")
def prompts():
    text = resources.files("mg3d.recipes").joinpath("prompts/phantom.yaml").read_text()
    return yaml.safe_load(text)


def words(text):
    return frozenset(re.findall(r"[a-z]+", text.lower())) - FUNCTION_WORDS


def generated():
    for phrasing in PHRASES:
        yield from (*phrasing.present, *phrasing.detailed, *phrasing.absent)
    yield from (text for text, _ in COVERING)
    yield from (*NEUTRAL, *NO_ABNORMALITY)


def test_every_finding_has_every_kind_of_wording():
    assert len(PHRASES) == len(FINDINGS)
    for phrasing in PHRASES:
        assert min(map(len, (phrasing.present, phrasing.detailed, phrasing.absent))) >= 4
    assert set(DEVICES) == {"pacemaker", "port", "wires"}
    assert set(ON_SIDE) == {"right", "left", "bilateral", ""}


def test_wordings_are_single_sentences_and_unique():
    texts = [text.lower() for text in generated()]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert text.endswith(".")
        assert not re.search(r"[.;]", text[:-1])


def test_prompts_cover_the_findings_in_three_wordings(prompts):
    assert list(prompts) == NAMES
    for sets in prompts.values():
        assert list(sets) == ["report", "plain", "unseen"]
        for wording in sets.values():
            assert len(wording["positive"]) == len(wording["negative"]) >= 2


def test_report_prompts_are_wordings_of_the_easiest_reports(prompts):
    for name, phrasing in zip(NAMES, PHRASES, strict=True):
        usable = DIFFICULTIES["easy"].phrasings
        assert set(prompts[name]["report"]["positive"]) <= set(phrasing.present[:usable])
        assert set(prompts[name]["report"]["negative"]) <= set(phrasing.absent[:usable])


def test_plain_prompts_are_the_name(prompts):
    for name in NAMES:
        plain = prompts[name]["plain"]
        assert plain["positive"] == [f"{name}.", f"{name} is present."]
        assert plain["negative"][1] == f"{name} is not present."


def test_unseen_prompts_never_occur_in_reports(prompts, plans):
    """No generated sentence holds all the content words of an unseen wording."""
    sentences = {words(text) for text in generated()}
    sentences |= {
        words(sentence.text)
        for plan in plans
        for sentence in (*plan.report.findings, *plan.report.impression)
    }
    for name in NAMES:
        for text in (*prompts[name]["unseen"]["positive"], *prompts[name]["unseen"]["negative"]):
            assert not any(words(text) <= sentence for sentence in sentences), text


def test_unseen_negatives_negate_the_positives(prompts):
    for name in NAMES:
        unseen = prompts[name]["unseen"]
        for positive, negative in zip(unseen["positive"], unseen["negative"], strict=True):
            assert words(positive) - {"visible"} <= words(negative) | {"visible"}
            assert re.search(r"\b(no|not)\b", negative.lower())
