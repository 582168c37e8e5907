"""The tree in the README is true: what it lists exists, and its top levels lack nothing."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "mg3d"
UNLISTED = {"src", ".gitignore", "__init__.py", "__main__.py", "py.typed"}


def tree() -> dict[str, str]:
    """Path, put together from the indentation, -> purpose."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## Where things are") :]
    match = re.search(r"```text\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    assert match
    parents: list[str] = []
    purposes = {}
    for line in match[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, purpose = line.strip().partition(" ")
        parents = [*parents[:depth], name]
        purposes["".join(parents)] = purpose.strip()
    return purposes


def tracked_names(folder: Path) -> set[str]:
    """First path components below ``folder`` that git knows."""
    command = ["git", "ls-files", "-z", "."]
    listed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    return {path.split("/")[0] for path in listed.split("\0") if path}


def test_what_is_listed_exists() -> None:
    for path in tree():
        place = ROOT / path
        assert place.is_dir() if path.endswith("/") else place.is_file(), path


def test_everything_but_self_explaining_losses_has_a_purpose() -> None:
    bare = {path for path, purpose in tree().items() if not purpose}
    bare -= {path for path in bare if path.startswith("src/mg3d/objectives/")}
    assert bare == {"src/mg3d/"}


def test_nothing_at_the_top_levels_is_missing() -> None:
    paths = {path.rstrip("/") for path in tree()}
    for name in tracked_names(ROOT) - UNLISTED:
        assert any(path == name or path.startswith(f"{name}/") for path in paths), name
    for name in tracked_names(PACKAGE) - UNLISTED:
        place = f"src/mg3d/{name}"
        assert any(path == place or path.startswith(f"{place}/") for path in paths), name


def test_every_loss_is_listed() -> None:
    from mg3d.objectives.registry import OBJECTIVES

    assert {f"src/mg3d/objectives/{name}.py" for name in OBJECTIVES} <= set(tree())
