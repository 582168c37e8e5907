"""The command line: a table of commands, each one configuration dataclass and one function.

Nothing heavy is imported before a command is chosen, so `mg3d --help` stays quick. Options,
recipe keys and Python fields have the same names; a recipe is a YAML file with one section a
command, and options on the command line win over it.
"""

import dataclasses
import difflib
import importlib
import json
import re
import sys
import traceback
import types
import typing
from pathlib import Path
from typing import Any

from mg3d.errors import ConfigError, Mg3dError

# command -> (module, configuration, function, one line for `mg3d --help`)
COMMANDS: dict[str, tuple[str, str, str, str]] = {
    "phantom": ("mg3d.phantom.phantom", "PhantomConfig", "phantom",
                "write a synthetic hospital: CT volumes, reports, labels, masks"),
    "export": ("mg3d.phantom.export.export", "ExportConfig", "export",
               "write a phantom as a public data set or a hospital lays its data out"),
    "layouts": ("mg3d.data.layouts.listing", "LayoutsConfig", "layouts",
                "list the layouts of scans and reports that can be read"),
    "audit": ("mg3d.audit.audit", "AuditConfig", "audit",
              "look for faults in scans, reports and tables before training on them"),
    "prepare": ("mg3d.data.preparation.prepare", "PrepareConfig", "prepare",
                "turn scans and reports into a store that training reads"),
    "remove": ("mg3d.data.preparation.remove", "RemoveConfig", "remove",
               "take a patient out of a store and out of what was made from it"),
    "pretrain": ("mg3d.training.pretrain", "PretrainConfig", "pretrain",
                 "pre-train a model on a store; goes on where it stopped"),
    "plan": ("mg3d.training.planner", "PlanConfig", "plan",
             "predict memory, time and disk of a recipe before it is started"),
    "evaluate": ("mg3d.evaluation.evaluate", "EvaluateConfig", "evaluate",
                 "zero-shot findings and retrieval of a run, two protocols side by side"),
    "report": ("mg3d.reporting.report", "ReportConfig", "report",
               "one HTML page from a run"),
}  # fmt: skip
RECIPE_OPTION = "--recipe"
RECIPE_FIRST = ("pretrain", "plan")
"""Commands whose first word is the recipe."""
SECTION_OF = {"plan": "pretrain"}
"""Section of the recipe that a command reads, where it is not its own."""
RECIPE_FOLDER = Path(__file__).parent / "recipes"
PARSER_KEY = re.compile(r'Parser key "([^"]+)":\s*')
NOTICE = "Research software, not a medical device: nothing it prints is for patient care."


def main(argv: list[str] | None = None) -> int:
    """Run a command; exit code 0 done, 1 data, 2 usage, 3 internal, 75 asks to be requeued."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())  # noqa: T201
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from mg3d import __version__

        print(f"mg3d {__version__}")  # noqa: T201
        return 0
    try:
        return _run(arguments[0], arguments[1:])
    except Mg3dError as error:
        _complain(f"{type(error).__name__}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted; the same command goes on from what is already written")
        return 130
    except OSError as error:  # a path of the user's: absent, a folder, not permitted
        _complain(f"{error.strerror}: {error.filename}" if error.filename else str(error))
        return 1
    except Exception:
        # The one place that catches everything: Python would exit with 1, which says "your data"
        # to whoever runs this in a script, where the truth is "our code".
        traceback.print_exc()
        _complain("this is a defect of mg3d, please report it with the lines above")
        return 3


def _run(command: str, arguments: list[str]) -> int:
    if command not in COMMANDS:
        raise ConfigError(f"unknown command {command!r}{_suggest(command, COMMANDS)}. {_list()}")
    module_name, config_name, function_name, summary = COMMANDS[command]
    module = importlib.import_module(module_name)
    settings = parse(getattr(module, config_name), command, arguments, summary)
    result = getattr(module, function_name)(settings)
    return result if isinstance(result, int) else 0


def parse(kind: Any, command: str, arguments: list[str], summary: str = "") -> Any:
    """Build the configuration of a command from its recipe section and its options.

    Args:
        kind: The configuration dataclass.
        command: Its name: the section of the recipe that applies.
        arguments: What follows the command. For `RECIPE_FIRST` the first word is the recipe; other
            commands take ``--recipe NAME``.
        summary: One line for the help page.

    Returns:
        An instance of ``kind``.

    Raises:
        ConfigError: For unknown options, wrong types and unreadable recipes, with a suggestion.
    """
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    recipe, rest = _take_recipe(command, arguments)
    positional = ["RECIPE"] if command in RECIPE_FIRST else []
    required = [f.name for f in dataclasses.fields(kind) if _is_required(f)]
    rest = _join_lists(_name_positionals(rest, required, command), _list_options(kind))
    parser = jsonargparse.ArgumentParser(
        prog=f"mg3d {command}",
        usage=" ".join(["mg3d", command, *positional, *map(str.upper, required), "[options]"]),
        description=f"{summary}. {NOTICE}",
        allow_abbrev=False,  # an option that a later version adds must not change what a word means
        exit_on_error=False,
        default_env=False,
    )
    parser.add_argument(RECIPE_OPTION, metavar="NAME|FILE", help=_recipe_help())
    parser.add_class_arguments(kind)
    defaults = _as_options(_recipe_section(recipe, command, kind)) if recipe else []
    try:
        values = parser.instantiate(parser.parse_args([*defaults, *rest]))
    except jsonargparse.ArgumentError as error:
        in_recipe = _is_of(str(error), defaults, rest)
        place = f"recipe {recipe!r}, {command}: " if in_recipe else ""
        raise ConfigError(place + _explain(str(error), kind, command)) from None
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})


def _name_positionals(words: list[str], required: list[str], command: str) -> list[str]:
    """Turn the leading words into the options they stand for, in the order of the usage line."""
    count = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    if count > len(required):
        raise ConfigError(
            f"mg3d {command}: {words[len(required)]!r} is one word too many; it takes "
            f"{' '.join(name.upper() for name in required)} and then options"
        )
    named = [f"--{name}={word}" for name, word in zip(required, words[:count], strict=False)]
    return named + words[count:]


def _list_options(kind: Any, prefix: str = "--") -> set[str]:
    """Options that take any number of texts or paths."""
    found = set()
    for key, hint in typing.get_type_hints(kind).items():
        if hint in (tuple[str, ...], tuple[Path, ...]):
            found.add(f"{prefix}{key}")
        nested = _dataclass_of(hint)
        if nested is not None:
            found |= _list_options(nested, f"{prefix}{key}.")
    return found


def _join_lists(words: list[str], options: set[str]) -> list[str]:
    """Write lists as JSON: both ``--runs a b`` and ``--runs "[a, b]"`` are lists of two, and an id
    of digits stays the text it is, where YAML would read 0012 as ten."""
    joined: list[str] = []
    place = 0
    while place < len(words):
        option, given, first = words[place].partition("=")
        place += 1
        if option not in options:
            joined.append(words[place - 1])
            continue
        items = [first] if given else []
        while not given and place < len(words) and not words[place].startswith("-"):
            items.append(words[place])
            place += 1
        joined.append(f"{option}={_as_list(items)}" if items else option)
    return joined


def _as_list(items: list[str]) -> str:
    if len(items) != 1 or not items[0].startswith("["):
        return json.dumps(items)
    import yaml

    try:
        content = yaml.load(items[0], Loader=yaml.BaseLoader)  # which makes only texts
    except yaml.YAMLError:
        return items[0]  # for the parser to refuse
    return json.dumps(content)


def _is_required(field: Any) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _take_recipe(command: str, arguments: list[str]) -> tuple[str | None, list[str]]:
    """Split the recipe from the other words."""
    rest = list(arguments)
    places = [i for i, word in enumerate(rest) if word.split("=")[0] == RECIPE_OPTION]
    if len(places) > 1:
        raise ConfigError("--recipe is given twice; one recipe applies")
    for place in places:
        _, given, recipe = rest.pop(place).partition("=")
        if not given and place < len(rest):
            recipe = rest.pop(place)
        if not recipe:
            raise ConfigError("--recipe needs a name or a file after it")
        return recipe, rest
    if command in RECIPE_FIRST and rest and not rest[0].startswith("-"):
        return rest[0], rest[1:]
    return None, rest


def _recipe_help() -> str:
    names = ", ".join(recipe_names())
    return f"Takes this command's section of a recipe as defaults; a file, or one of {names}."


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPE_FOLDER.glob("*.yaml"))


def read_recipe(name: str) -> dict[str, Any]:
    """Read a recipe by its name, or from a YAML file.

    Raises:
        ConfigError: If there is no such recipe or it is no YAML mapping.
    """
    import yaml

    known = RECIPE_FOLDER / f"{name}.yaml"
    path = known if known.is_file() else Path(name)
    if not path.is_file():
        raise ConfigError(
            f"recipe {name!r} is neither a file nor one of {', '.join(recipe_names())}"
            f"{_suggest(name, recipe_names())}"
        )
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a recipe is a mapping with one section a command")
    unknown = set(content) - set(COMMANDS) - {"about"}
    if unknown:
        worst = sorted(unknown)[0]
        raise ConfigError(
            f"{path}: unknown section {worst!r}{_suggest(worst, COMMANDS)}. {_list()}"
        )
    return content


def _recipe_section(name: str, command: str, kind: Any) -> dict[str, Any]:
    part = SECTION_OF.get(command, command)
    section = read_recipe(name).get(part) or {}
    _check_keys(section, kind, f"recipe {name!r}, {part}")
    return typing.cast(dict[str, Any], section)


def _check_keys(section: Any, kind: Any, place: str) -> None:
    """Unknown keys are errors, at any depth."""
    if not isinstance(section, dict):
        raise ConfigError(f"{place}: expected a mapping, got {section!r}")
    hints = typing.get_type_hints(kind)
    for key, value in section.items():
        if key not in hints:
            raise ConfigError(
                f"{place}: unknown key {key!r}{_suggest(key, hints)}. Known keys: "
                f"{', '.join(sorted(hints))}"
            )
        nested = _dataclass_of(hints[key])
        if nested is not None and value is not None:
            _check_keys(value, nested, f"{place}.{key}")


def _dataclass_of(hint: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return hint
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next((a for a in typing.get_args(hint) if dataclasses.is_dataclass(a)), None)
    return None


def _as_options(section: dict[str, Any], prefix: str = "--") -> list[str]:
    """A recipe section as command-line words, so that both go through one parser."""
    words: list[str] = []
    for key, value in section.items():
        if isinstance(value, dict) and value:
            words += _as_options(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            words.append(f"{prefix}{key}={text}")
    return words


def _option_names(kind: Any, prefix: str = "") -> list[str]:
    names = []
    for key, hint in typing.get_type_hints(kind).items():
        names.append(f"{prefix}{key}")
        nested = _dataclass_of(hint)
        if nested is not None:
            names += _option_names(nested, f"{prefix}{key}.")
    return names


def _is_of(message: str, defaults: list[str], rest: list[str]) -> bool:
    """Whether the value that jsonargparse refuses stands in the recipe, and no option hides it."""
    named = PARSER_KEY.match(message)
    if named is None:
        return False
    option = f"--{named[1]}"
    in_recipe, on_line = (
        any(word.split("=")[0] == option for word in words) for words in (defaults, rest)
    )
    return in_recipe and not on_line


def _explain(message: str, kind: Any, command: str) -> str:
    """jsonargparse's message in the words of the help page; a near name where one was mistyped."""
    message = PARSER_KEY.sub(r"\1: ", message)
    message = re.sub(r"Expected an? <class '(?:\w+\.)*(\w+)'>", r"Expected \1", message)
    message = re.sub(r"Expected an? typing\.Literal\[(.*?)\]", r"Expected one of \1", message)
    for word in message.replace("=", " ").split():
        if word.startswith("--"):
            hint = _suggest(word[2:], _option_names(kind))
            if hint and word[2:] not in _option_names(kind):
                return f"{message}{hint}"
    return f"{message}. See `mg3d {command} --help`."


def _suggest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _list() -> str:
    return f"Commands: {', '.join(COMMANDS)}"


def _overview() -> str:
    lines = [
        "usage: mg3d COMMAND ... [--help]",
        "",
        "Pre-train 3D encoders from CT volumes and their reports, and evaluate them honestly.",
        "",
        "commands, in the order of a first run:",
        *(f"  {name:<10} {entry[3]}" for name, entry in COMMANDS.items()),
        "",
        f"recipes:   {', '.join(recipe_names())}",
        "example:   mg3d pretrain phantom-tiny STORE RUN",
        "`mg3d COMMAND --help` lists every option with its unit and default.",
        "",
        NOTICE,
    ]
    return "\n".join(lines)


def _complain(message: str) -> None:
    sys.stderr.write(f"mg3d: {message}\n")
