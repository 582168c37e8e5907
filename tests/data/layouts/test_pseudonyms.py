"""Pseudonyms: stable under a key, different under another, and a key that only its owner reads."""

from hashlib import sha256
from pathlib import Path

import pytest

from mg3d.data.layouts.pseudonyms import ENDING, Pseudonyms, open_key
from mg3d.errors import ConfigError


def test_the_key_is_made_beside_the_source_for_its_owner_only(tmp_path: Path) -> None:
    source = tmp_path / "site"
    source.mkdir()
    names = open_key(None, source)
    file = tmp_path / f"site{ENDING}"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(source.iterdir()) == []
    assert open_key(None, source) == names == open_key(file, tmp_path / "elsewhere")
    other = open_key(tmp_path / "other", source)
    assert other.of("patient", "17") != names.of("patient", "17")
    assert file.read_text().strip() not in repr(names)


def test_a_name_depends_on_all_of_the_identity_and_on_nothing_else() -> None:
    names = Pseudonyms(b"k" * 32)
    assert names.of("patient", "17") == names.of("patient", "17")
    made = [
        names.of("patient", "17"), names.of("study", "17"), names.of("series", "17"),
        names.of("study", "1", "7"), names.of("study", "17", ""), names.of("study", "18"),
    ]  # fmt: skip
    assert len(set(made)) == len(made)
    assert [name[0] for name in made] == ["P", "S", "V", "S", "S", "S"]
    assert {len(name) for name in made} == {17}


def test_the_hash_is_hmac_sha_256() -> None:
    """Against the definition of RFC 2104, written out with plain SHA-256."""
    key = bytes(range(32))
    inner, outer = (bytes(b ^ pad for b in key.ljust(64, b"\0")) for pad in (0x36, 0x5C))
    digest = sha256(outer + sha256(inner + b"patient\x1f17").digest()).hexdigest()
    assert Pseudonyms(key).of("patient", "17") == "P" + digest[:16]


@pytest.mark.parametrize("content", ["", "00", "zz" * 32])
def test_what_is_no_key_is_never_replaced(content: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    with pytest.raises(ConfigError, match="with another key all pseudonyms change"):
        open_key(file, tmp_path)
    assert file.read_text() == content


def test_a_key_that_cannot_be_made_asks_for_another_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="name another file with --key"):
        open_key(tmp_path / "file" / "key", tmp_path)
