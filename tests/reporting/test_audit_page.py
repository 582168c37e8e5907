"""The page of an audit, from a document alone."""

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from mg3d.reporting.audit_page import SECTIONS, draw_audit

MEASURE = {"title": "slice distance", "unit": "mm", "percentiles": [1, 1, 2, 3, 3]}
COUNTS = {"volumes": 3, "studies": 2, "patients": 2, "usable": 2, "files": 40, "bytes": 12_000_000}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@pytest.fixture
def document() -> dict[str, Any]:
    fault = {
        "kind": "hu_mask", "message": "41 values & <b>more</b>", "place": "line 7",
        "volume_id": "v7", "study_id": "s7", "patient_id": "p7",
    }  # fmt: skip
    kind = {
        "severity": "error", "action": "set_aside", "title": "A segmentation mask",
        "remedy": "Give the CT.", "count": 1, "volumes": 1,
    }  # fmt: skip
    split = {"present": 1, "absent": 3, "unknown": 2}
    return {
        "schema": "mg3d.audit/1",
        "version": "0.1.0",
        "layout": "manifest",
        "kinds": {"hu_mask": kind},
        "faults": [fault],
        "summary": {
            "counts": COUNTS,
            "splits": {"train": COUNTS, "val": COUNTS, "test": COUNTS},
            "volumes_per_study": {"1": 1, "2": 1},
            "orientations": {"LPS": 2},
            "slice_distances": [
                {"above_mm": 1.0, "to_mm": 1.5, "volumes": 1},
                {"above_mm": 5.5, "to_mm": None, "volumes": 1},
            ],
            "measures": {"slice_mm": MEASURE},
            "hu": {"edges": [-1000, 0, 1000], "bands": [[0.1, 0.2], [0.4, 0.5], [0.7, 0.8]]},
            "labels": [
                {"name": "Nodule", "splits": dict.fromkeys(("train", "val", "test"), split)}
            ],
            "reports": {
                "num_reports": 2, "num_empty": 0, "num_different": 2, "median_words": 20.0,
                "most_words": 30, "share_too_long": 0.5, "share_shared": 0.0, "share_template": 0.0,
                "share_boilerplate": 0.25, "without_findings": 0, "without_impression": 1,
                "words": [10, 11, 20, 29, 30], "clauses": [1, 1, 2, 3, 3],
            },
        },
        "duplicates": [
            {"likeness": "voxels", "volumes": ["a", "b"], "leaks": True, "detail": ""}
        ],
        "outliers": [],
        "pictures": [{"volume_id": "v7", "why": "faulty", "text": "A mask", "png": PIXEL}],
        "volumes": [{"measures": {"slice_mm": mm} if mm else {}} for mm in (1.2, 6.0, None)],
    }  # fmt: skip


class Balanced(HTMLParser):
    """Complains about tags that are closed in another order than they were opened."""

    VOID = frozenset({"meta", "img", "br", "path", "use", "rect", "line", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(document: dict[str, Any]) -> None:
    page = draw_audit(document)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert page == draw_audit(copy.deepcopy(document))
    assert "Research software, not a medical device" in page
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []
    for anchor, (title, _) in SECTIONS.items():
        assert f'<section id="{anchor}"><h2>{title}</h2>' in page


def test_it_says_what_is_wrong_where_and_what_to_do(document: dict[str, Any]) -> None:
    page = draw_audit(document)
    assert "1 kind of error, 0 kinds of warning: 2 of 3 volumes are usable." in page
    for text in (
        "A segmentation mask",
        "<code>hu_mask</code>",
        "Give the CT.",
        "leaves these scans",
    ):
        assert text in page
    assert "v7 line 7: 41 values &amp; &lt;b&gt;more&lt;/b&gt;" in page
    assert "across splits" in page
    assert "1 of 4" in page
    assert "1 to 1.5 mm" in page
    assert "above 5.5 mm" in page
    assert f"data:image/png;base64,{PIXEL}" in page


def test_many_places_are_cut_and_counted(document: dict[str, Any]) -> None:
    document["faults"] *= 50
    assert "and 10 more in audit.json" in draw_audit(document)


@pytest.mark.parametrize(
    ("severities", "line", "mood"),
    [
        ([], "No error and no warning", "learned"),
        (["note"], "No error and no warning", "learned"),
        (["warning", "note"], "No error, 1 kind of warning", ""),
        (["error", "error"], "2 kinds of error, 0 kinds of warning", "chance"),
    ],
)
def test_the_verdict_follows_the_worst(
    document: dict[str, Any], severities: list[str], line: str, mood: str
) -> None:
    kind = document["kinds"]["hu_mask"]
    document["kinds"] = {f"k{i}": kind | {"severity": s} for i, s in enumerate(severities)}
    assert f'<p class="verdict {mood}">{line}' in draw_audit(document)


def test_parts_without_content_are_left_out(document: dict[str, Any]) -> None:
    document |= {"kinds": {}, "faults": [], "duplicates": [], "pictures": [], "volumes": []}
    document["summary"] |= {"measures": {}, "labels": []}
    document["summary"]["reports"]["words"] = []
    page = draw_audit(document)
    assert "Nothing out of the ordinary." in page
    for anchor in ("scans", "reports", "labels", "duplicates", "pictures"):
        assert f'id="{anchor}"' not in page
