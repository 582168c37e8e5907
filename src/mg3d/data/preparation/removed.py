"""Removed patients: who must not come back, without saying who they are.

A store keeps a keyed hash of each removed patient's id. Whoever has the store and an id can tell
whether that patient was removed, which is what barring them needs; nobody can list them.
"""

import hashlib
import json
import secrets
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from mg3d.errors import DataError
from mg3d.files import write_jsonl

REMOVED_FILE = "removed.jsonl"
SCHEMA = "mg3d.removed/1"
_SALT_BYTES = 16
_DIGEST_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class History:
    """Content hashes of a store before and after it lost a patient."""

    split: str
    """The split the patient stood in."""
    with_patient: frozenset[str]
    without_patient: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Removal:
    """One removed patient."""

    patient: str
    """Keyed hash of the patient id."""
    split: str
    """The split the patient stood in; "" for one whose scans had all been set aside."""
    before: str
    """Content hash of the store that held the patient."""
    after: str
    """Content hash of the store without."""


@dataclass(frozen=True, kw_only=True)
class RemovedPatients:
    """The removed patients of a store, in the order of their removal."""

    salt: str
    removals: tuple[Removal, ...] = ()

    @classmethod
    def read(cls, store: Path) -> Self:
        """Those of a store; none, with a new salt, where it has no list.

        Raises:
            DataError: If the list is damaged: patients must not come back unnoticed.
        """
        path = store / REMOVED_FILE
        try:
            head, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            if head["schema"] != SCHEMA:
                raise ValueError("schema")
            return cls(salt=head["salt"], removals=tuple(Removal(**row) for row in rows))
        except FileNotFoundError:
            return cls(salt=secrets.token_hex(_SALT_BYTES))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: not readable ({type(error).__name__}), so removed patients could come "
                "back. Restore the file, or delete it if none was ever removed."
            ) from error

    def write(self, store: Path) -> None:
        """Keep the list in a store; no file where nobody is on it.

        Raises:
            StorageError: If the store cannot be written.
        """
        path = store / REMOVED_FILE
        if not self.removals:
            path.unlink(missing_ok=True)
            return
        head: dict[str, Any] = {"schema": SCHEMA, "salt": self.salt}
        write_jsonl(path, [head, *(asdict(removal) for removal in self.removals)])

    def digest(self, patient_id: str) -> str:
        """How this list names a patient."""
        key = bytes.fromhex(self.salt)
        return hashlib.blake2b(patient_id.encode(), key=key, digest_size=_DIGEST_BYTES).hexdigest()

    def find(self, patient_id: str) -> Removal | None:
        """The latest removal of a patient."""
        digest = self.digest(patient_id)
        return next((r for r in reversed(self.removals) if r.patient == digest), None)

    def barred(self, patient_ids: Collection[str]) -> set[str]:
        """Those of some patients that were removed."""
        if not self.removals:
            return set()
        known = {removal.patient for removal in self.removals}
        return {patient for patient in patient_ids if self.digest(patient) in known}

    def history(self, patient_id: str, current: str) -> History:
        """Which contents of the store held a removed patient.

        Removals chain contents: where one ended, the next began. A content that `mg3d prepare`
        made in between breaks the chain, and what lies behind is not known.

        Args:
            patient_id: Of a patient on this list.
            current: Content hash of the store as it is.
        """
        removal = self.find(patient_id)
        assert removal is not None
        place = self.removals.index(removal)
        with_patient = {removal.before}
        for earlier in reversed(self.removals[:place]):
            if earlier.after in with_patient:
                with_patient.add(earlier.before)
        later = self.removals[place:]
        without = {content for r in later for content in (r.before, r.after)} | {current}
        return History(
            split=removal.split,
            with_patient=frozenset(with_patient),
            without_patient=frozenset(without - with_patient),
        )

    def plus(self, patient_id: str, split: str, before: str, after: str) -> Self:
        """The list with one more."""
        removal = Removal(patient=self.digest(patient_id), split=split, before=before, after=after)
        return replace(self, removals=(*self.removals, removal))

    def without(self, patient_ids: Collection[str]) -> Self:
        """The list without some, who may come back."""
        back = {self.digest(patient) for patient in patient_ids}
        kept = tuple(removal for removal in self.removals if removal.patient not in back)
        return replace(self, removals=kept)
