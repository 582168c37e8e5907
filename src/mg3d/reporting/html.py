"""Small pieces of HTML; text that comes from a file is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any


def paragraph(text: str, *, kind: str = "") -> str:
    """A paragraph of plain text; ``kind`` is a class of style.css."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def missing(what: str, remedy: str) -> str:
    """Says in the page that a part is not there and how to get it."""
    return paragraph(f"{what} {remedy}", kind="missing")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text; the first column names the row."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows
    )
    inside = f"<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody>"
    return f'<div class="scroll"><table>{inside}</table></div>'


def facts(content: Mapping[str, Any]) -> str:
    """A two-column table of a (nested) mapping; nested keys are joined by dots."""
    rows = "".join(
        f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>\n"
        for key, value in _flat(content)
    )
    return f'<table class="facts"><tbody>\n{rows}</tbody></table>'


def chart(svg: str, caption: str) -> str:
    """A drawn chart with its caption; wide charts scroll sideways on a phone."""
    text = f"<figcaption>{escape(caption)}</figcaption>"
    return f'<figure><div class="scroll">{svg}</div>{text}</figure>'


def picture(data_uri: str, description: str, caption: str) -> str:
    """An embedded picture with its caption."""
    return (
        f'<figure><img src="{data_uri}" alt="{escape(description)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def folded(summary: str, text: str) -> str:
    """Preformatted text behind a heading that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(str(item) for item in value)
        else:
            yield name, "-" if value is None else str(value)
