"""The command line: quick help, recipes under options, errors that suggest the right word."""

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mg3d import cli
from mg3d.data.preparation.prepare import PrepareConfig
from mg3d.data.preparation.remove import RemoveConfig
from mg3d.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Inner."""

    rate: float = 1.0
    """Learning rate, > 0."""
    window: tuple[int, int, int] = (1, 2, 3)
    """Window in tokens."""


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A command."""

    out: Path
    """Folder."""
    steps: int = 3
    """Steps, > 0."""
    inner: Inner = field(default_factory=Inner)
    """Inner."""


def parse(*words: str) -> Toy:
    return cli.parse(Toy, "phantom", list(words))


@pytest.fixture
def recipe(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_leading_words_fill_required_fields() -> None:
    assert parse("here", "--steps", "5") == Toy(out=Path("here"), steps=5)


def test_nested_options_have_the_names_of_the_fields() -> None:
    toy = parse("here", "--inner.rate=2", "--inner.window", "[4,5,6]")
    assert toy.inner == Inner(rate=2.0, window=(4, 5, 6))


def test_recipe_gives_defaults_and_options_win(recipe) -> None:
    name = recipe("about: a test\nphantom:\n  steps: 7\n  inner: {rate: 3.0, window: [7, 8, 9]}\n")
    toy = parse("here", "--recipe", name, "--inner.rate", "4")
    assert toy == Toy(out=Path("here"), steps=7, inner=Inner(rate=4.0, window=(7, 8, 9)))


def test_recipe_may_be_joined_by_an_equals_sign(recipe) -> None:
    name = recipe("phantom: {steps: 7}")
    assert parse(f"--recipe={name}", "--out=here") == parse("here", "--recipe", name)
    assert parse("here", f"--recipe={name}").steps == 7


def test_an_option_that_is_wrong_is_not_blamed_on_the_recipe(recipe) -> None:
    with pytest.raises(ConfigError, match=r"^steps: Expected int"):
        parse("here", "--recipe", recipe("phantom: {steps: 7}"), "--steps=x")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ZeroDivisionError("division by zero"), 3, "please report"),
        (FileNotFoundError(2, "No such file or directory", "scans.csv"), 1, "directory: scans.csv"),
        (OSError("the disk is gone"), 1, "mg3d: the disk is gone"),
        (ConfigError("no"), 2, "ConfigError: no"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_code_tells_data_usage_and_defects_apart(
    error: BaseException, code: int, message: str, monkeypatch, capsys
) -> None:
    def fail(command: str, arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["report"]) == code
    told = capsys.readouterr().err
    assert message in told
    assert ("Traceback" in told) == (code == 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phantom: {stesp: 1}", "unknown key 'stesp'; did you mean 'steps'"),
        ("phantom: {inner: {rat: 1}}", "phantom.inner: unknown key 'rat'; did you mean 'rate'"),
        ("fantom: {}", "unknown section 'fantom'; did you mean 'phantom'"),
        ("phantom: {steps: many}", "recipe .*recipe.yaml', phantom: steps: Expected int"),
        ("phantom: {inner: {rate: x}}", "recipe.yaml', phantom: inner.rate: Expected float"),
        ("phantom: [1]", "expected a mapping"),
        ("- 1", "a recipe is a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_bad_recipes_are_explained(recipe, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        parse("here", "--recipe", recipe(text))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["here", "--stesp", "4"], "did you mean 'steps'"),
        (["here", "--inner.rat", "4"], "did you mean 'inner.rate'"),
        (["here", "--steps", "x"], "^steps: Expected int. Got value: x"),
        (["here", "there"], "one word too many"),
        ([], "required: out"),
        (["here", "--recipe"], "needs a name"),
        (["here", "--recipe="], "needs a name"),
        (["here", "--recipe=a", "--recipe", "b"], "given twice"),
        (["here", "--recipe", "phantom-tinny"], "did you mean 'phantom-tiny'"),
    ],
)
def test_bad_words_are_explained(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(*words)


def test_unknown_command_exits_with_2_and_a_suggestion(capsys) -> None:
    assert cli.main(["pretrian"]) == 2
    assert "did you mean 'pretrain'" in capsys.readouterr().err


def test_help_of_the_program_is_quick_and_imports_nothing_heavy() -> None:
    began = time.perf_counter()
    code = "import sys; from mg3d.cli import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert "pretrain" in done.stdout
    assert "not a medical device" in done.stdout
    # 0.04 s measured; the bound is generous because test machines are shared.
    assert time.perf_counter() - began < 1.5


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_help_of_every_command_shows_defaults(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mg3d", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "default:" in done.stdout
    assert "--recipe NAME|FILE" in done.stdout


@pytest.mark.parametrize("name", cli.recipe_names())
def test_recipes_that_come_along_parse(name: str) -> None:
    import importlib

    for command, (module, kind, _, _) in cli.COMMANDS.items():
        if command in cli.read_recipe(name):
            config = getattr(importlib.import_module(module), kind)
            required = [f"--{f}=x" for f in _required(config)]
            words = [name, *required] if command == "pretrain" else [*required, "--recipe", name]
            assert isinstance(cli.parse(config, command, words), config)


def _required(kind) -> list[str]:
    import dataclasses

    return [f.name for f in dataclasses.fields(kind) if cli._is_required(f)]


@pytest.mark.parametrize(
    ("words", "items"),
    [
        (["--readmit", "0012"], ("0012",)),
        (["--readmit", "[0012]"], ("0012",)),
        (["--readmit=[0012, '1e3',null]"], ("0012", "1e3", "null")),
        (["--readmit", "p1", "p2", "--limit", "3"], ("p1", "p2")),
        (["--readmit=p1", "--limit=3"], ("p1",)),
        (["--readmit", "[]"], ()),
        (["--readmit", '["a, b"]'], ("a, b",)),
    ],
)
def test_a_list_of_ids_is_taken_as_it_is_typed(words: list[str], items: tuple[str, ...]) -> None:
    assert cli.parse(PrepareConfig, "prepare", ["in", "out", *words]).readmit == items


@pytest.mark.parametrize("words", [["--audits", "a", "b/c"], ["--audits", "[a, b/c]"]])
def test_a_list_of_folders_is_taken_as_it_is_typed(words: list[str]) -> None:
    settings = cli.parse(RemoveConfig, "remove", ["store", "0012", *words])
    assert (settings.patient, settings.audits) == ("0012", (Path("a"), Path("b/c")))


@pytest.mark.parametrize("words", [["--readmit"], ["--readmit", "[p1"], ["--readmit", "--limit"]])
def test_a_list_that_is_none_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="readmit"):
        cli.parse(PrepareConfig, "prepare", ["in", "out", *words])
