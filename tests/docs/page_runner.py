"""Runs the code blocks of a page of the documentation in a folder.

`console` blocks: each line that starts with ``$`` is a command, the lines below it are its output,
in which ``...`` stands for anything; they must appear in this order. `mg3d` runs in this process
(starting Python and torch for each command would cost most of the time), other commands in a
shell. A comment ``<!-- exits with N -->`` above a block states the exit code of its last command.
`python` blocks of a page share their names. Everything else is not run.
"""

import io
import re
import shlex
import subprocess
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg3d.cli import main

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"(?:^<!-- exits with (?P<code>\d+) -->\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    kind: str
    body: str
    exit_code: int

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}, line {self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, match.start("body")),
            kind=match["kind"],
            body=match["body"],
            exit_code=int(match["code"] or 0),
        )
        for match in BLOCK.finditer(text)
    ]


def run_page(page: Path, folder: Path) -> None:
    """Run what is runnable on a page, in order."""
    names: dict[str, Any] = {"__name__": "__documentation__"}
    with chdir(folder):
        for block in blocks_of(page):
            if block.kind == "console":
                _run_console(block)
            elif block.kind == "python":
                code = compile("\n" * block.line + block.body, str(page), "exec")
                exec(code, names)


def _run_console(block: Block) -> None:
    commands = re.split(r"^\$ ", block.body, flags=re.MULTILINE)
    assert not commands[0].strip(), f"{block.place}: output before the first command"
    for number, text in enumerate(commands[1:], start=2):
        command, _, expected = text.partition("\n")
        code, output = _run(command)
        wanted = block.exit_code if number == len(commands) else 0
        assert code == wanted, f"{block.place}: `{command}` exits with {code}\n{output}"
        _compare(block, command, expected, output)


def _run(command: str) -> tuple[int, str]:
    if not command.startswith("mg3d "):
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        code = main(shlex.split(command)[1:])
    return code, output.getvalue()


def _compare(block: Block, command: str, expected: str, output: str) -> None:
    words = " ".join(output.split())  # where lines are wrapped depends on the width of a terminal
    pattern = re.escape(" ".join(expected.split())).replace(r"\.\.\.", ".*")
    assert re.search(pattern, words, flags=re.DOTALL), (
        f"{block.place}: `{command}` prints something else:\n{output}"
    )
