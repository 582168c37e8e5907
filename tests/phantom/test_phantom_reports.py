"""Reports against labels, judged by keywords written here and not by the generator's tags."""

import re

import pytest

from mg3d.phantom.findings import FINDINGS
from mg3d.phantom.reports import draw_report

KEYWORDS = (
    r"medical (material|device)|pacemaker|port catheter|sternal wires",
    r"(arterial|aort)\w*.*calcif|calcif.*(arterial|aort)",
    r"cardiomegaly|heart is (not )?enlarged|(enlargement|size) of the heart|heart is normal",
    r"pericardial effusion|pericardium",
    r"coronary",
    r"hiatal hernia",
    r"lymphadenopathy|lymph nodes",
    r"emphysema",
    r"atelecta",
    r"nodul",
    r"ground-glass|lung opacity",
    r"fibrotic",
    r"pleural effusion|pleural space|pleural or pericardial",
    r"mosaic",
    r"peribronchial|bronchial walls",
    r"consolidat",
    r"bronchiect|dilated bronchi",
    r"interlobular",
)
NEGATED = re.compile(
    r"\b(no|not|without|unremarkable|within normal limits|normal in size)\b", re.IGNORECASE
)


def clauses(text):
    return [clause.strip() for clause in re.split(r"[.;]", text) if clause.strip()]


def stated(text, k):
    """What a text says about a finding: a set of True (present) and False (absent)."""
    found = set()
    for clause in clauses(text):
        lowered = clause.lower()
        if k == 1 and "coronary" in lowered and "aort" not in lowered:
            continue
        if re.search(KEYWORDS[k], lowered):
            found.add(not NEGATED.search(clause))
    return found


def test_no_clause_contradicts_the_labels(plans):
    for plan in plans:
        for section in (plan.report.findings_text, plan.report.impression_text):
            for k, label in enumerate(plan.labels):
                assert stated(section, k) <= {bool(label)}, (FINDINGS[k].name, section)


def test_every_present_finding_is_stated_in_both_sections(plans):
    for plan in plans:
        for k in plan.lesions:
            assert stated(plan.report.findings_text, k) == {True}
            assert stated(plan.report.impression_text, k) == {True}


def test_normal_statements_are_true(plans):
    lung = ("Emphysema", "Atelectasis", "Lung nodule", "Lung opacity", "Consolidation",
            "Pulmonary fibrotic sequela", "Mosaic attenuation pattern", "Bronchiectasis",
            "Peribronchial thickening", "Interlobular septal thickening")  # fmt: skip
    covered = {
        "The lungs are clear": lung,
        "No infiltrate or mass in the lungs": ("Lung nodule", "Lung opacity", "Consolidation"),
        "The airways are unremarkable": ("Bronchiectasis", "Peribronchial thickening"),
        "The mediastinum is unremarkable": ("Hiatal hernia", "Lymphadenopathy"),
        "The heart and pericardium are unremarkable": ("Cardiomegaly", "Pericardial effusion"),
        "No pleural or pericardial effusion": ("Pleural effusion", "Pericardial effusion"),
    }
    names = [finding.name for finding in FINDINGS]
    used = set()
    for plan in plans:
        for text, group in covered.items():
            if text in plan.report.findings_text:
                used.add(text)
                assert not any(plan.labels[names.index(name)] for name in group)
    assert used == set(covered)


def test_absent_findings_are_sometimes_negated_and_sometimes_left_out(plans):
    for k in range(len(FINDINGS)):
        absent = [stated(plan.report.findings_text, k) for plan in plans if not plan.labels[k]]
        assert 0.2 < sum(map(bool, absent)) / len(absent) < 0.9


def test_tags_agree_with_the_labels(plans):
    for plan in plans:
        for sentence in (*plan.report.findings, *plan.report.impression):
            assert sentence.text.endswith(".")
            assert sentence.text.count(".") == 1
            assert sentence.text[0].isupper()
            assert "{" not in sentence.text
            if sentence.stated == "present":
                (k,) = sentence.about
                assert k in plan.lesions
            if sentence.stated == "absent":
                assert sentence.about
                assert not sentence.about & plan.lesions.keys()


def test_sizes_and_sides_in_the_text_are_those_of_the_lesion(plans):
    sizes, sides = 0, 0
    for plan in plans:
        for sentence in (*plan.report.findings, *plan.report.impression):
            if sentence.stated != "present":
                assert "mm" not in sentence.text.split()
                continue
            (k,) = sentence.about
            lesion = plan.lesions[k]
            for size in re.findall(r"(\d+) mm", sentence.text):
                sizes += 1
                assert int(size) == lesion.size_mm > 0
            lowered = sentence.text.lower()
            for side in ("right", "left"):
                if re.search(rf"\b{side}\b", lowered) and "left anterior descending" not in lowered:
                    sides += 1
                    assert side in (lesion.side, *lesion.place.split())
    assert sizes > 300
    assert sides > 300


def test_a_normal_study_says_so(plans):
    report = draw_report({}, 3, 0, "normal")
    assert len(report.impression) == 1
    assert re.match(r"No a|Unremarkable", report.impression_text)


def test_style_does_not_depend_on_findings(plans):
    """What is said about everything else is word for word the same without a finding."""
    checked = 0
    for number, plan in enumerate(plans[:80]):
        keys = ("train", number, 1)
        assert draw_report(plan.lesions, 3, 11, *keys) == plan.report
        for k in plan.lesions:
            others = {j: lesion for j, lesion in plan.lesions.items() if j != k}
            if not others:
                continue
            without = draw_report(others, 3, 11, *keys)
            for section in ("findings", "impression"):
                kept = sorted(s.text for s in getattr(plan.report, section) if k not in s.about)
                same = sorted(s.text for s in getattr(without, section) if k not in s.about)
                assert kept == same
            checked += 1
    assert checked > 100


@pytest.mark.parametrize("phrasings", [1, 3, 6])
def test_more_phrasings_give_more_wordings(phrasings):
    texts = {
        sentence.text
        for number in range(80)
        for sentence in draw_report({}, phrasings, 0, number).findings
        if sentence.about == {12}
    }
    assert len(texts) == min(phrasings, 4)
