"""Write the option tables of reference/cli.md from the configuration dataclasses.

``python docs/generate_reference.py`` rewrites the page; a test fails when it is out of date.
"""

import dataclasses
import importlib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docstring_parser import parse_from_object

from mg3d.cli import COMMANDS, RECIPE_FIRST
from mg3d.files import write_atomic

PAGE = Path(__file__).parent / "reference" / "cli.md"
START = "<!-- options: written by docs/generate_reference.py -->"


def options_text() -> str:
    """The generated part of the page: a section and a table for each command."""
    return "\n".join(_section(command) for command in COMMANDS)


def updated(page: str) -> str:
    """``page`` with everything below the mark replaced."""
    head, mark, _ = page.partition(START)
    if not mark:
        raise SystemExit(f"{PAGE} lacks the line {START}")
    return f"{head}{START}\n\n{options_text()}"


def _section(command: str) -> str:
    module, kind_name, _, summary = COMMANDS[command]
    kind = getattr(importlib.import_module(module), kind_name)
    words = ["mg3d", command] + (["RECIPE"] if command in RECIPE_FIRST else [])
    words += [field.name.upper() for field in dataclasses.fields(kind) if _is_required(field)]
    rows = "\n".join(f"| `{name}` | {default} | {text} |" for name, default, text in _rows(kind))
    return (
        f"## mg3d {command}\n\n`{' '.join(words)} [options]`: {summary}.\n\n"
        f"| option | default | meaning |\n|---|---|---|\n{rows}\n"
    )


def _rows(kind: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    texts = _texts(kind)
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        text = " ".join(texts.get(field.name, "").split()).replace("|", "\\|")
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _rows(hints[field.name], f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", _default(field), text


def _texts(kind: Any) -> dict[str, str]:
    """The docstring below each field, of the class that defines it last.

    `parse_from_object` reads the source of one class, and so misses the fields it inherits.
    """
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            params = parse_from_object(base).params
            texts |= {p.arg_name: p.description for p in params if p.description}
    return texts


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: "dataclasses.Field[Any]") -> str:
    if _is_required(field):
        return "required"
    factory = field.default_factory
    value = field.default if factory is dataclasses.MISSING else factory()
    if isinstance(value, tuple):
        return f"`[{', '.join(str(item) for item in value)}]`"
    if isinstance(value, bool) or value is None:
        return f"`{str(value).lower() if value is not None else 'null'}`"
    return f"`{value}`"


if __name__ == "__main__":
    write_atomic(PAGE, updated(PAGE.read_text(encoding="utf-8")))
