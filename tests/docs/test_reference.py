"""Reference pages agree with the code they describe."""

import dataclasses
import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from mg3d.cli import COMMANDS, parse
from mg3d.evaluation.prompts import load_prompts
from mg3d.evaluation.protocol import PROTOCOLS
from mg3d.objectives.registry import OBJECTIVES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    path = DOCS / "generate_reference.py"
    spec = importlib.util.spec_from_file_location("generate_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_option_tables_are_up_to_date(generator: ModuleType) -> None:
    page = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    assert page == generator.updated(page), "run: python docs/generate_reference.py"


def test_every_option_says_what_it_means(generator: ModuleType) -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| .* \| (.*) \|$", generator.options_text(), re.MULTILINE)
    assert len(rows) > 80
    assert [name for name, meaning in rows if len(meaning) < 10] == []


def test_inherited_options_keep_their_meaning(generator: ModuleType) -> None:
    """`seed` of `mg3d plan` is a field of `TrainingConfig`, not of `PlanConfig`."""
    text = generator.options_text()
    section = text[text.index("## mg3d plan") : text.index("## mg3d evaluate")]
    assert "| `seed` | `1` | Seed of the initial weights, order and masks. |" in section
    assert "| `devices` | `1` | Processes in all" in section


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("pretrain", "mg3d pretrain RECIPE STORE RUN [options]"),
        ("plan", "mg3d plan RECIPE [options]"),
        ("layouts", "mg3d layouts [options]"),
    ],
)
def test_the_usage_line_names_the_words_in_their_order(
    generator: ModuleType, command: str, usage: str
) -> None:
    assert f"\n\n`{usage}`: {COMMANDS[command][3]}." in generator.options_text()


def _yaml_blocks(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```yaml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_recipe_on_the_page_is_accepted(tmp_path: Path) -> None:
    (text,) = _yaml_blocks("reference/recipes.md")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    sections = set(yaml.safe_load(text)) - {"about"}
    assert sections <= set(COMMANDS)
    for command in sections:
        module, kind_name, _, _ = COMMANDS[command]
        kind: Any = getattr(importlib.import_module(module), kind_name)
        words = ["x" for field in dataclasses.fields(kind) if _is_required(field)]
        arguments = (
            [str(recipe), *words] if command == "pretrain" else [*words, "--recipe", str(recipe)]
        )
        assert isinstance(parse(kind, command, arguments), kind)


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def test_the_prompts_on_the_page_are_accepted(tmp_path: Path) -> None:
    (text,) = _yaml_blocks("how-to/your-own-scans.md")
    (tmp_path / "prompts.yaml").write_text(text)
    prompts = load_prompts(str(tmp_path / "prompts.yaml"), ["Pleural effusion"])
    assert set(prompts) == {"report", "plain"}


def test_the_table_of_objectives_is_complete() -> None:
    text = (DOCS / "reference" / "objectives.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) \|$", text, flags=re.MULTILINE)
    assert [name for name, _ in rows] == list(OBJECTIVES)


def test_default_weights_on_the_page_are_those_of_the_code() -> None:
    from mg3d.objectives.registry import ObjectivesConfig

    text = (DOCS / "reference" / "objectives.md").read_text(encoding="utf-8")
    settings = ObjectivesConfig()
    for name, weight in re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) \|$", text, flags=re.MULTILINE):
        assert float(weight) == getattr(settings, name).weight


def test_both_protocols_are_explained() -> None:
    text = (DOCS / "explanation" / "evaluation-protocols.md").read_text(encoding="utf-8")
    assert all(f"`{protocol.name}`" in text for protocol in PROTOCOLS)


@pytest.mark.parametrize(
    ("page", "folder"), [("reference/model.md", "model"), ("reference/data-path.md", "data")]
)
def test_files_named_on_a_page_exist(page: str, folder: str) -> None:
    package = Path(__file__).parents[2] / "src" / "mg3d"
    text = (DOCS / page).read_text(encoding="utf-8")
    names = set(re.findall(r"`([\w/]+\.py)`", text))
    assert names
    for name in names:
        assert (package / name).is_file() or (package / folder / name).is_file(), name


def test_every_file_of_the_model_is_on_its_page() -> None:
    text = (DOCS / "reference" / "model.md").read_text(encoding="utf-8")
    files = {path.name for path in (DOCS.parent / "src" / "mg3d" / "model").glob("[a-z]*.py")}
    assert {name for name in files if f"`{name}`" not in text} <= {"outputs.py"}
