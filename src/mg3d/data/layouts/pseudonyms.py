"""Pseudonyms: names for patients, studies and series that follow from a secret and nothing else.

A keyed hash: the same id gives the same pseudonym as long as the key file is kept, and nobody
without it can find out which id that was, not even by trying all ids (HMAC, RFC 2104). Who holds
the key can; so it lies with the source, never with the store.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mg3d.errors import ConfigError, StorageError
from mg3d.files import PRIVATE, write_atomic

ENDING = ".mg3d-key"
_KEY_BYTES = 32
_DIGITS = 16
"""Hexadecimal digits of a pseudonym: 64 bits, so that a billion ids collide once in 40 tries."""

_LETTERS = {"patient": "P", "study": "S", "series": "V"}


@dataclass(frozen=True)
class Pseudonyms:
    """Names by a key."""

    key: bytes = field(repr=False)

    def of(self, kind: Literal["patient", "study", "series"], *identity: str) -> str:
        """The pseudonym of an id.

        Args:
            kind: What it names; the same text names different things as patient and as study.
            identity: What tells it from others, for example a UID.

        Returns:
            A letter and 16 hexadecimal digits: safe as a file name.
        """
        message = "\x1f".join((kind, *identity)).encode()
        digest = hmac.new(self.key, message, hashlib.sha256).hexdigest()
        return _LETTERS[kind] + digest[:_DIGITS]


def open_key(path: Path | None, source: Path) -> Pseudonyms:
    """The pseudonyms of a key file, which is made where it is missing.

    Args:
        path: The key file; None for one beside the source, of its name.
        source: Folder of the identified data.

    Raises:
        ConfigError: If the file is no key, or cannot be made.
    """
    home = source.resolve()
    file = path if path is not None else home.parent / f"{home.name}{ENDING}"
    try:
        key = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return Pseudonyms(_make_key(file))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file}: not a key of pseudonyms ({type(error).__name__}); name another file with "
            "--key, or restore this one: with another key all pseudonyms change"
        ) from error
    if len(key) != _KEY_BYTES:
        raise ConfigError(
            f"{file}: a key has {_KEY_BYTES} bytes, this has {len(key)}; name another file with "
            "--key, or restore this one: with another key all pseudonyms change"
        )
    return Pseudonyms(key)


def _make_key(file: Path) -> bytes:
    key = secrets.token_bytes(_KEY_BYTES)
    try:
        write_atomic(file, key.hex() + "\n", mode=PRIVATE)
    except StorageError as error:
        raise ConfigError(
            f"{file}: the key of pseudonyms cannot be made there; name another file with --key"
        ) from error
    return key
