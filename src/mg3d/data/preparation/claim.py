"""Claiming a folder for a store: ours to write, not emptied or changed by mistake."""

import json
from pathlib import Path
from typing import Any

from mg3d.data.preparation.pool import take_markers
from mg3d.data.preparation.removed import REMOVED_FILE
from mg3d.data.store import (
    PREPARING_FILE,
    REMOVING_FILE,
    SCHEMA,
    STORE_FILE,
    VOLUME_FOLDER,
    StoreSettings,
    stored_volumes,
)
from mg3d.errors import ConfigError
from mg3d.files import remove_stale_temporaries, write_json
from mg3d.progress import console

_STORE_NAMES = frozenset({PREPARING_FILE, REMOVING_FILE, STORE_FILE, REMOVED_FILE, VOLUME_FOLDER})


def refuse_to_drop(out: Path, wanted: set[str]) -> None:
    """Stop before a wrong manifest empties a store that took days to make.

    Raises:
        ConfigError: If the store holds volumes that are not wanted.
    """
    dropped = sorted(stored_volumes(out) - wanted)
    if dropped:
        raise ConfigError(
            f"{out}: holds {len(dropped)} volumes that this manifest does not ask for (the first "
            f"is {dropped[0]!r}). Choose another folder, or drop them with --overwrite true."
        )


def refuse_foreign(out: Path) -> None:
    """Stop where a slip of the pen would spread a store over a folder of scans.

    Raises:
        ConfigError: If the folder holds files, and none that a store has.
    """
    try:
        names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    except (FileNotFoundError, NotADirectoryError):  # the lock says the latter better
        return
    if names and not names & _STORE_NAMES:
        raise ConfigError(f"{out}: holds other files than a store. Choose another folder.")


def refuse_half_removed(out: Path) -> None:
    """Stop where the removal of a patient was interrupted: it must come to its end first.

    Raises:
        ConfigError: If so.
    """
    if (out / REMOVING_FILE).exists():
        raise ConfigError(
            f"{out}: removing a patient was interrupted here; run the same `mg3d remove` again, "
            "then this command"
        )


def claim(out: Path, settings: StoreSettings, *, overwrite: bool) -> None:
    """Make sure that the folder is ours to write, and clear what a killed run left behind.

    Args:
        out: The store, locked by the caller.
        settings: What it is to be made with.
        overwrite: Replace a store that was made with others.

    Raises:
        ConfigError: If it was made with others, and ``overwrite`` is off; if it holds other files.
        StorageError: If it cannot be written.
    """
    refuse_foreign(out)
    wanted = settings.to_json()
    for name in (PREPARING_FILE, STORE_FILE):
        try:
            found = json.loads((out / name).read_text(encoding="utf-8")).get("settings")
            if isinstance(found, dict):  # what an older version did not know it did by default
                found = StoreSettings().to_json() | found
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError):
            found = None
        if found == wanted:
            continue
        if not overwrite:
            raise ConfigError(
                f"{out}: holds a store made with other settings ({_difference(found, wanted)}). "
                "Choose another folder, or replace it with --overwrite true."
            )
        (out / STORE_FILE).unlink(missing_ok=True)
    write_json(out / PREPARING_FILE, {"schema": SCHEMA, "settings": wanted})
    interrupted = take_markers(out)
    if interrupted:
        console.print(f"an earlier run was stopped at {', '.join(interrupted)}; going on")
    clear_leftovers(out)


def clear_leftovers(out: Path) -> None:
    """Delete temporary files of killed processes."""
    remove_stale_temporaries(out)
    remove_stale_temporaries(out / VOLUME_FOLDER)


def _difference(found: Any, wanted: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return "its description is not readable"
    there, asked = _flat(found), _flat(wanted)
    names = [name for name in asked if there.get(name) != asked[name]]
    return "; ".join(f"{name}: {there.get(name)} there, {asked[name]} asked for" for name in names)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names, as the command line spells them."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat
