"""Prompts: what is said of a finding that is there, and of one that is not.

A prompt file is YAML: finding -> wording -> positive and negative lists. The wordings are judged
side by side: `report` as the training reports phrase it, `plain` as the literature does, `unseen`
in words that no report of the training data uses.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mg3d.errors import ConfigError

WORDINGS = ("report", "plain", "unseen")
PROMPT_FOLDER = Path(__file__).parent.parent / "recipes" / "prompts"


@dataclass(frozen=True)
class PromptPair:
    """Prompts of one finding in one wording; several are an ensemble."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


def load_prompts(
    name_or_file: str, finding_names: Sequence[str]
) -> dict[str, dict[str, PromptPair]]:
    """Read the prompts of the findings that a store has labels for.

    Args:
        name_or_file: A set that comes with the package, by name, or a YAML file.
        finding_names: Names of the store's label columns.

    Returns:
        Wording -> finding -> prompts, in the order of `WORDINGS` and ``finding_names``.

    Raises:
        ConfigError: If the file is unreadable or a finding lacks prompts.
    """
    path = PROMPT_FOLDER / f"{name_or_file}.yaml"
    if not path.is_file():
        path = Path(name_or_file)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PROMPT_FOLDER.glob("*.yaml")))
        raise ConfigError(f"prompts {name_or_file!r}: neither a file nor one of {known}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping from findings to prompts")
    for name in finding_names:
        if name not in content:
            near = difflib.get_close_matches(name, [str(key) for key in content], n=1)
            hint = f" (it has {near[0]!r})" if near else ""
            raise ConfigError(
                f"{path}: no prompts for the finding {name!r} of the store{hint}. Add them, or "
                "give another file with --prompts."
            )
    used = [w for w in WORDINGS if any(w in (content[name] or {}) for name in finding_names)]
    return {
        wording: {name: _pair(content[name], wording, f"{path}: {name}") for name in finding_names}
        for wording in used
    }


def _pair(entry: Any, wording: str, place: str) -> PromptPair:
    """The prompts under one wording, which must be there once any finding has that wording."""
    sides = entry.get(wording) if isinstance(entry, Mapping) else None
    lists = []
    for side in ("positive", "negative"):
        texts = sides.get(side) if isinstance(sides, Mapping) else None
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
            raise ConfigError(f"{place}: {wording}.{side} must be a list of at least one sentence")
        lists.append(tuple(texts))
    return PromptPair(*lists)
