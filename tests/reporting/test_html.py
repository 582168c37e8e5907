"""Pieces of HTML escape what they are given."""

from mg3d.reporting import html

HOSTILE = '<script>alert("1")</script>&'
ESCAPED = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;"


def test_every_piece_escapes_its_text() -> None:
    pieces = [
        html.paragraph(HOSTILE),
        html.paragraph(HOSTILE, kind="hint"),
        html.missing(HOSTILE, "r"),
        html.table([HOSTILE], [[HOSTILE]]),
        html.facts({HOSTILE: HOSTILE}),
        html.facts({"nested": {HOSTILE: [HOSTILE]}}),
        html.chart("<svg/>", HOSTILE),
        html.picture("data:,", HOSTILE, HOSTILE),
        html.folded(HOSTILE, HOSTILE),
    ]
    for piece in pieces:
        assert "<script>" not in piece
        assert ESCAPED in piece


def test_a_table_has_a_cell_for_each_value() -> None:
    table = html.table(["a", "b"], [["1", "2"], ["3", "4"]])
    assert table.count("<th>") == 2
    assert table.count("<td>") == 4


def test_facts_are_flattened() -> None:
    facts = html.facts({"seeds": {"run": 7, "mask": None}, "devices": ["cpu", "cuda"]})
    assert "<td>seeds.run</td><td>7</td>" in facts
    assert "<td>seeds.mask</td><td>-</td>" in facts
    assert "<td>devices</td><td>cpu, cuda</td>" in facts
