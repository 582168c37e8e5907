"""Damage to files and texts, drawn from a generator so that a number names it for good.

Half of the damage is blind (bits, bytes, chunks), half knows the format: it changes lines, numbers
and cells of tables and headers, nodes of JSON, elements of DICOM, and goes inside gzip and zip,
where blind damage would only ever meet their checksums.
"""

import copy
import gzip
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom import dcmread, dcmwrite
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

ODD_NUMBERS = (
    "0", "-1", "1", "2", "3.5", "-0.0", "1e308", "-1e308", "1e-320", "nan", "inf", "-inf", "1e999",
    "2147483647", "2147483648", "4294967296", "9223372036854775808", "99999999999999999999999",
    "65536", "0x10", "1.5.2", "1,5", "\u00b2", "\u0663", "1_000", "--1", "+", "None", "", " ",
)  # fmt: skip
ODD_TEXTS = (
    "", " ", "\x00", "\ufeff", "\u202e", "A" * 5000, "'", '"', '""', '"""', ",", ";", "\t", "\n",
    "\r", "\r\n", "\x0c", "\x1f", "\x85", "\u2028", "../../up", "/", "\\", "C:\\x", "=1+1", "{}",
    "[]", "null", "true", "\u0130", "\u00df", "\U0001d7db", "{\\rtf1 ", "<br>", "&lt;", "&#0;",
    "\u00e2\u20ac\u2122", "FINDINGS:", "IMPRESSION:", "Dr. ", "MRN ", ":", "(" * 300, "e.g. ",
    "1. ", "." * 300, "a:" * 300, "<" * 300, "\\n", "[" * 2000, "-" * 300, "{" * 300, "\ufffd",
)  # fmt: skip
_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, 10**30, "", "x", "\x00", [], {}, [[]], [None], [[[[1]]]],
    {"": ""}, "../../up", "A" * 5000, float("nan"), float("inf"), {"image": {}}, ["a", 1, None],
)  # fmt: skip
_NUMBER = re.compile(rb"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_TEXT_ENDINGS = (".csv", ".tsv", ".jsonl", ".txt", ".nhdr", ".mhd")
_HEADER_END = {".nrrd": re.compile(rb"\r?\n\r?\n"), ".mha": re.compile(rb"ElementDataFile[^\n]*\n")}
_UNWRITABLE = (
    ValueError, TypeError, AttributeError, LookupError, ArithmeticError, NotImplementedError,
    struct.error,
)  # fmt: skip
"""What pydicom raises for a data set so damaged that it cannot be written."""
_LONGEST = 1 << 20
"""Bytes of a damaged file; growth by repetition stops here."""


def damage_file(path: Path, source: random.Random) -> None:
    """Damage one file in place."""
    data = path.read_bytes()
    path.unlink()  # it may be a link to the seed
    path.write_bytes(_damage(path.name.lower(), data, source)[:_LONGEST])


def damage_text(text: str, source: random.Random) -> str:
    """Damage a text that never was a file: pieces moved, doubled, dropped, odd ones put in."""
    for _ in range(source.randint(1, 6)):
        start, end = sorted(source.randint(0, len(text)) for _ in range(2))
        end = min(end, start + source.choice((0, 1, 5, 40)))
        kind = source.randrange(5)
        if kind == 0:
            text = text[:start] + source.choice(ODD_TEXTS) + text[end:]
        elif kind == 1:
            text = text[:start] + text[end:]
        elif kind == 2:
            text = text[:end] + text[start:end] * source.choice((1, 2, 50)) + text[end:]
        elif kind == 3:
            text = text[:start] + source.choice((str.upper, str.lower, str.title))(text[start:])
        else:
            odd = chr(source.choice((source.randrange(0x250), source.randrange(0xD800))))
            text = text[:start] + odd * source.choice((1, 3, 200)) + text[end:]
    return text[: 1 << 16]


def _damage(name: str, data: bytes, source: random.Random) -> bytes:
    if source.random() < 0.4:
        return _blind(data, source)
    if name.endswith(".gz"):
        inside = _damage(name.removesuffix(".gz"), gzip.decompress(data), source)
        return gzip.compress(inside, compresslevel=1, mtime=0)
    if name.endswith((".npz", ".xlsx")):
        return _inside_zip(data, source)
    if name.endswith(".json"):
        return _inside_json(data, source)
    for ending, end in _HEADER_END.items():
        if name.endswith(ending):
            found = end.search(data)
            cut = found.end() if found else len(data)
            return _lines(data[:cut], source) + data[cut:]
    if name.endswith(_TEXT_ENDINGS):
        return _lines(data, source)
    if name.startswith("im0") or name == "sr":
        return _elements(data, source)
    return _numbers_in_header(data, source)


def _blind(data: bytes, source: random.Random) -> bytes:
    """One to eight changes of bits, bytes and chunks, mostly near the beginning."""
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 4, 8))):
        size = len(changed)
        reach = max(1, min(size, source.choice((64, 400, size))))
        at = source.randrange(reach) if size else 0
        kind = source.randrange(7)
        if kind == 0 and size:
            changed[at] ^= 1 << source.randrange(8)
        elif kind == 1 and size:
            changed[at] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
        elif kind == 2:
            changed[at:at] = source.randbytes(source.choice((1, 2, 16)))
        elif kind == 3:
            del changed[at : at + source.choice((1, 2, 16, 200))]
        elif kind == 4:
            del changed[source.randint(0, size) :]
        elif kind == 5:
            chunk = bytes(changed[at : at + source.choice((4, 64, 500))])
            changed[at:at] = chunk * source.choice((1, 2, 20))
        else:
            start = source.randint(0, size)
            chunk = bytes(changed[start : start + 64])
            changed[at : at + len(chunk)] = chunk
    return bytes(changed)


def _numbers_in_header(data: bytes, source: random.Random) -> bytes:
    """Boundary values where a binary header may hold numbers."""
    changed = bytearray(data)
    for _ in range(source.choice((1, 2, 5))):
        form, values = source.choice(
            (
                ("<h", (0, 1, -1, 2, 4, 8, 512, 32767, -32768)),
                ("<i", (0, 1, -1, 540, 348, 2**31 - 1, -(2**31))),
                ("<q", (0, -1, 2**62, 2**63 - 1)),
                ("<f", (0.0, -1.0, 1e-40, 3e38, float("nan"), float("inf"))),
                ("<d", (0.0, 1e300, float("nan"), float("-inf"))),
            )
        )
        size = struct.calcsize(form)
        slots = min(len(changed), 600) // size
        if slots:
            struct.pack_into(form, changed, source.randrange(slots) * size, source.choice(values))
    return bytes(changed)


def _lines(data: bytes, source: random.Random) -> bytes:
    """Lines, cells and numbers of a text changed."""
    for _ in range(source.choice((1, 1, 2, 4))):
        lines = data.splitlines(keepends=True) or [b""]
        at = source.randrange(len(lines))
        kind = source.randrange(8)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(at, source.choice(lines))
        elif kind == 2:
            lines[at] = _replace_number(lines[at], source)
        elif kind == 3:
            cells = re.split(rb"([,;:=\t ])", lines[at])
            cells[source.randrange(len(cells))] = source.choice(ODD_TEXTS).encode()
            lines[at] = b"".join(cells)
        elif kind == 4:
            cells = lines[at].split(b",")
            source.shuffle(cells)
            lines[at] = b",".join(cells)
        elif kind == 5:
            where = source.randint(0, len(lines[at]))
            lines[at] = lines[at][:where] + source.choice(ODD_TEXTS).encode() + lines[at][where:]
        elif kind == 6:
            where = source.randint(0, len(lines[at]))
            lines[at] = lines[at][:where] + source.randbytes(3) + lines[at][where + 3 :]
        else:
            other = source.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        data = b"".join(lines)
    return data


def _replace_number(line: bytes, source: random.Random) -> bytes:
    found = list(_NUMBER.finditer(line))
    if not found:
        return line
    start, end = source.choice(found).span()
    return line[:start] + source.choice(ODD_NUMBERS).encode() + line[end:]


def _inside_zip(data: bytes, source: random.Random) -> bytes:
    """One member of an archive damaged, its checksum made to fit."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(packed, "w") as new:
        victim = source.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            if name == victim:
                damage: Callable[[bytes, random.Random], bytes]
                damage = _lines if name.endswith((".xml", ".rels")) else _blind
                content = damage(content, source)
            new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _inside_json(data: bytes, source: random.Random) -> bytes:
    """Nodes of a document replaced, dropped or renamed."""
    document = json.loads(data)
    for _ in range(source.choice((1, 1, 2, 5))):
        document = _change_node(document, source)
    return json.dumps(document).encode()


def _change_node(document: Any, source: random.Random) -> Any:
    places: list[tuple[Any, Any]] = []
    todo = [document] if isinstance(document, dict | list) else []
    while todo:
        node = todo.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                todo.append(node[key])
    if not places or source.random() < 0.05:
        return copy.deepcopy(source.choice(_ODD_VALUES))
    node, key = source.choice(places)
    kind = source.randrange(4)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[source.choice(ODD_TEXTS)] = node.pop(key)
    elif kind == 2 and isinstance(node[key], str):
        node[key] = damage_text(node[key], source)
    else:
        node[key] = copy.deepcopy(source.choice(_ODD_VALUES))
    return document


def _elements(data: bytes, source: random.Random) -> bytes:
    """Elements of a DICOM file dropped, emptied, or given bytes that they should not hold."""
    packed = io.BytesIO()
    try:
        dataset = dcmread(io.BytesIO(data), force=True)
        for _ in range(source.choice((1, 1, 2, 4))):
            holder = _some_level(dataset, source)
            tags = list(holder.keys())
            if tags and source.random() < 0.3:
                del holder[source.choice(tags)]
            elif tags:
                _change_element(holder, source.choice(tags), source)
        dcmwrite(packed, dataset, enforce_file_format=False)
    except _UNWRITABLE:
        return _blind(data, source)
    return packed.getvalue()


def _some_level(dataset: Dataset, source: random.Random) -> Dataset:
    """The data set or the item of a sequence inside it."""
    holder = dataset
    for _ in range(source.randrange(4)):
        inner = [tag for tag in holder.keys() if holder.get_item(tag).VR == "SQ"]  # noqa: SIM118
        inside = list(holder[source.choice(inner)].value) if inner else []
        if not inside:
            break
        holder = source.choice(inside)
    return holder


def _change_element(holder: Dataset, tag: Any, source: random.Random) -> None:
    old = holder.get_item(tag)
    kind = old.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "UN")
    if kind == "SQ":
        holder[tag].value = Sequence(list(holder[tag].value) * source.choice((0, 2, 3)))
        return
    value = source.choice((*ODD_NUMBERS, *ODD_TEXTS)).encode("latin-1", "replace")[:4000]
    if source.random() < 0.4:
        value = b"\\".join(source.choice(ODD_NUMBERS).encode("utf-8") for _ in range(6))
    if kind in ("US", "SS", "UL", "SL", "FL", "FD", "OW", "OB"):
        size = source.choice((0, 1, 2, 4, 8, 16))
        value = source.choice((b"\x00", b"\xff", source.randbytes(1))) * size
    value += b" " * (len(value) % 2)
    raw = RawDataElement(Tag(tag), kind, len(value), value, 0, False, True)
    holder._dict[Tag(tag)] = raw
