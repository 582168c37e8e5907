"""The page of an audit: everything it shows comes from the content of `audit.json`."""

from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files
from itertools import groupby
from string import Template
from typing import Any

from mg3d.reporting import html
from mg3d.reporting.audit_figures import hu_bands, measure_histograms
from mg3d.reporting.theme import to_svg

Document = Mapping[str, Any]
_MOST_LISTED = 40
"""Places of one kind of fault; all of them are in audit.json."""
_DOES = {
    "stop": "writes nothing",
    "set_aside": "leaves these scans out",
    "keep": "keeps them",
}
_WHYS = {
    "faulty": "With a warning or an error",
    "unlike": "Least like the others",
    "others": "Some of the rest",
}
_LIKENESS = {
    "file": "same file content",
    "voxels": "same voxels, other header or format",
    "nearly": "nearly the same image",
}
_PERCENTILES = ("smallest", "5 %", "median", "95 %", "largest")


def draw_audit(document: Document) -> str:
    """The page of an audit.

    Args:
        document: Content of `audit.json`.

    Returns:
        One HTML file that needs nothing else; the same document gives the same bytes.
    """
    bodies = {anchor: draw(document) for anchor, (_, draw) in SECTIONS.items()}
    shown = {anchor: body for anchor, body in bodies.items() if body}
    here = files("mg3d.reporting")
    verdict, mood = _verdict(document)
    counts = document["summary"]["counts"]
    return Template((here / "audit_page.html").read_text(encoding="utf-8")).substitute(
        version=escape(document["version"]),
        title="MG-3D data audit",
        css=(here / "style.css").read_text(encoding="utf-8"),
        heading=escape(f"{counts['volumes']:,} volumes, read as {document['layout']}"),
        verdict=escape(verdict),
        mood=mood,
        cards=_cards(counts),
        navigation="".join(f'<a href="#{a}">{escape(SECTIONS[a][0])}</a>' for a in shown),
        sections="\n".join(
            f'<section id="{anchor}"><h2>{escape(SECTIONS[anchor][0])}</h2>\n{body}\n</section>'
            for anchor, body in shown.items()
        ),
    )


def _verdict(document: Document) -> tuple[str, str]:
    """One sentence, and the class that colours it."""
    severities = [kind["severity"] for kind in document["kinds"].values()]
    errors, warnings = severities.count("error"), severities.count("warning")
    counts = document["summary"]["counts"]
    usable = f"{counts['usable']:,} of {counts['volumes']:,} volumes are usable"
    if errors:
        return f"{_kinds(errors, 'error')}, {_kinds(warnings, 'warning')}: {usable}.", "chance"
    if warnings:
        return f"No error, {_kinds(warnings, 'warning')}: {usable}.", ""
    return f"No error and no warning: {usable}.", "learned"


def _kinds(count: int, word: str) -> str:
    return f"{count} kind{'s' * (count != 1)} of {word}"


def _cards(counts: Mapping[str, int]) -> str:
    cards = [
        (f"{counts['patients']:,}", "patients"),
        (f"{counts['studies']:,}", "studies"),
        (f"{counts['volumes']:,}", "volumes"),
        (f"{counts['files']:,}", "files"),
        (f"{counts['bytes'] / 1e9:,.2f} GB", "on the disk"),
    ]
    body = "".join(f'<div class="card"><b>{v}</b><span>{escape(t)}</span></div>' for v, t in cards)
    return f'<div class="cards">{body}</div>'


def _found(document: Document) -> str:
    """What was found, worst first, and what to do about it."""
    if not document["kinds"]:
        return html.paragraph("Nothing out of the ordinary.")
    rows = "".join(
        f'<tr><td class="severity {kind["severity"]}">{kind["severity"]}</td>'
        f"<td>{escape(kind['title'])}<br><code>{escape(name)}</code></td>"
        f'<td class="count">{kind["count"]:,}</td>'
        f"<td>{escape(kind['remedy'])}</td><td>{escape(_DOES[kind['action']])}</td></tr>\n"
        for name, kind in document["kinds"].items()
    )
    head = "".join(
        f"<th>{text}</th>" for text in ("", "what", "count", "what to do", "mg3d prepare")
    )
    table = f'<table class="faults"><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>'
    return table + "\n" + "\n".join(_places(document))


def _places(document: Document) -> list[str]:
    """Behind a click: where each kind of fault was found."""
    lists = []
    for name, group in groupby(document["faults"], key=lambda fault: fault["kind"]):
        faults = list(group)
        lines = [_line(fault) for fault in faults[:_MOST_LISTED]]
        if len(faults) > _MOST_LISTED:
            lines.append(f"and {len(faults) - _MOST_LISTED:,} more in audit.json")
        lists.append(html.folded(f"{name}: {len(faults):,}", "\n".join(lines)))
    return lists


def _line(fault: Mapping[str, str]) -> str:
    where = " ".join(dict.fromkeys(filter(None, (fault["volume_id"], fault["place"]))))
    return f"{where}: {fault['message']}" if where else fault["message"]


def _splits(document: Document) -> str:
    """Patients, studies and volumes of each split, and volumes a study."""
    names = ("patients", "studies", "volumes", "usable")
    rows = [
        [split, *(f"{counts[name]:,}" for name in names)]
        for split, counts in document["summary"]["splits"].items()
    ]
    sizes = document["summary"]["volumes_per_study"]
    several = [[size, f"{count:,}"] for size, count in sizes.items()]
    return html.table(["split", *names], rows) + html.table(["volumes a study", "studies"], several)


def _scans(document: Document) -> str:
    """Geometry and Hounsfield units over the collection."""
    summary = document["summary"]
    if not summary["measures"]:
        return ""
    rows = [
        [
            f"{each['title']} {each['unit']}".strip(),
            *(f"{value:g}" for value in each["percentiles"]),
        ]
        for each in summary["measures"].values()
    ]
    slices = [
        [_between(row["above_mm"], row["to_mm"]), f"{row['volumes']:,}"]
        for row in summary["slice_distances"]
    ]
    axes = [[name, f"{count:,}"] for name, count in summary["orientations"].items()]
    bands = to_svg(
        hu_bands(summary["hu"]["edges"], summary["hu"]["bands"]),
        name="hu", title="Share of voxels by Hounsfield units",
    )  # fmt: skip
    spread = to_svg(
        measure_histograms(summary["measures"], _values(document)),
        name="measures", title="Distribution of each measure over the volumes",
    )  # fmt: skip
    return "\n".join(
        [
            html.chart(bands, "Voxels by HU, over all usable volumes; the scale is logarithmic."),
            html.chart(spread, "Volumes by measure: a second hump is a second kind of scan."),
            html.table(["usable volumes", *_PERCENTILES], rows),
            html.table(["slice distance", "volumes"], slices),
            html.table(["stored axes grow to", "volumes"], axes),
        ]
    )


def _between(low: float, high: float | None) -> str:
    return f"above {low:g} mm" if high is None else f"{low:g} to {high:g} mm"


def _values(document: Document) -> dict[str, list[float]]:
    """Measure -> its value in each usable volume that has one."""
    values: dict[str, list[float]] = {name: [] for name in document["summary"]["measures"]}
    for volume in document["volumes"]:
        for name, value in volume["measures"].items():
            if name in values and value is not None:
                values[name].append(value)
    return values


def _reports(document: Document) -> str:
    """How long, how complete and how often the same."""
    facts = document["summary"]["reports"]
    if not facts["words"]:
        return ""
    lengths = [
        [f"{name} a report", *(f"{value:,}" for value in facts[name])]
        for name in ("words", "clauses")
    ]
    counts = {
        "studies": facts["num_reports"],
        "without a report": facts["num_empty"],
        "without findings": facts["without_findings"],
        "without impression": facts["without_impression"],
        "different texts": facts["num_different"],
        "shared with another patient": f"{facts['share_shared']:.1%}",
        "alike but for numbers in five patients or more": f"{facts['share_template']:.1%}",
        "clauses that more than 5 % of the patients have": f"{facts['share_boilerplate']:.1%}",
        "longer than the model reads, at least": f"{facts['share_too_long']:.1%}",
    }
    return html.facts(counts) + html.table(["", *_PERCENTILES], lengths)


def _labels(document: Document) -> str:
    """Prevalence of each finding in each split."""
    labels = document["summary"]["labels"]
    if not labels:
        return ""
    splits = list(labels[0]["splits"])
    header = ["studies with the finding", *splits, "unknown"]
    rows = [
        [
            label["name"],
            *(_prevalence(label["splits"][split]) for split in splits),
            f"{sum(label['splits'][split]['unknown'] for split in splits):,}",
        ]
        for label in labels
    ]
    return html.table(header, rows)


def _prevalence(counts: Mapping[str, int]) -> str:
    known = counts["present"] + counts["absent"]
    return f"{counts['present']:,} of {known:,}" if known else "-"


def _duplicates(document: Document) -> str:
    """Sets of volumes that hold the same scan."""
    rows = [
        [
            _LIKENESS[each["likeness"]] + (f" ({each['detail']})" if each["detail"] else ""),
            "across splits" if each["leaks"] else "",
            ", ".join(each["volumes"][:8]) + (" ..." if len(each["volumes"]) > 8 else ""),
        ]
        for each in document["duplicates"][:_MOST_LISTED]
    ]
    return html.table(["what is the same", "leak", "volumes"], rows) if rows else ""


def _pictures(document: Document) -> str:
    """Thumbnails in groups."""
    if not document["pictures"]:
        return ""
    parts = [
        html.paragraph(
            "Middle axial, coronal and sagittal plane, -1000 to 600 HU; the patient's right is on "
            "the left, the front or the head on top.",
            kind="hint",
        )
    ]
    for why, title in _WHYS.items():
        figures = "".join(
            html.picture(
                f"data:image/png;base64,{each['png']}",
                f"Middle planes of volume {each['volume_id']}",
                f"{each['volume_id']} {each['text']}".strip(),
            )
            for each in document["pictures"]
            if each["why"] == why
        )
        if figures:
            parts.append(f'<h3>{escape(title)}</h3><div class="pictures">{figures}</div>')
    return "\n".join(parts)


SECTIONS: Mapping[str, tuple[str, Callable[[Document], str]]] = {
    "found": ("What was found", _found),
    "splits": ("Splits", _splits),
    "scans": ("Scans", _scans),
    "reports": ("Reports", _reports),
    "labels": ("Labels", _labels),
    "duplicates": ("Duplicates", _duplicates),
    "pictures": ("Pictures", _pictures),
}
"""Anchor -> heading and function; a section without content is left out."""
