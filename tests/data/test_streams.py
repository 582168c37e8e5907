"""Compressed streams: the same bytes and the same damage with ISA-L and without."""

import gzip
import importlib
import io
import sys
import zlib
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from mg3d.data import streams as module
from mg3d.data.scan_error import ScanError

CONTENT = np.random.default_rng(0).normal(0, 10, 300_000).astype("<i2").tobytes()


@pytest.fixture(params=["isal", "zlib"])
def streams(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """The module as it is with the library and without it."""
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal.igzip", None)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("isal.igzip")
    else:
        pytest.importorskip("isal")
    yield importlib.reload(module)
    monkeypatch.undo()
    importlib.reload(module)


def _all(stream: module.Stream) -> bytes:
    buffer, found = bytearray(70_001), bytearray()
    while count := stream.readinto(memoryview(buffer)):
        found += buffer[:count]
    return bytes(found)


def test_content_comes_through(streams: ModuleType) -> None:
    assert _all(streams.gunzip(io.BytesIO(gzip.compress(CONTENT)))) == CONTENT
    assert _all(streams.Inflated(io.BytesIO(zlib.compress(CONTENT)))) == CONTENT
    two = gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:])
    assert _all(streams.gunzip(io.BytesIO(two))) == CONTENT  # as bgzip and pigz -i write it
    assert _all(streams.Inflated(io.BytesIO(b""))) == b""


def test_damage_raises_what_is_announced(streams: ModuleType) -> None:
    packed = gzip.compress(CONTENT)
    for damaged in (packed[:-9], b"text", packed[:400] + bytes(40) + packed[440:]):
        with pytest.raises(streams.DAMAGE):
            _all(streams.gunzip(io.BytesIO(damaged)))
    packed = zlib.compress(CONTENT)
    with pytest.raises(streams.DAMAGE):
        _all(streams.Inflated(io.BytesIO(packed[:400] + bytes(40) + packed[440:])))


def test_what_is_said_about_damage() -> None:
    own = ScanError("three axes", "geometry_not_3d")
    assert module.damage_error(own, "NRRD") is own
    system = module.damage_error(PermissionError(13, "Permission denied"), "NRRD")
    assert str(system).startswith("Permission denied while reading")
    assert str(module.damage_error(EOFError(), "NRRD")).startswith(
        "not readable as NRRD (EOFError)"
    )
