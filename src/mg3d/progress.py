"""Progress on the terminal: one bar with rate and time left, quiet plain lines elsewhere."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")
console = Console(stderr=True)


def bar() -> Progress:
    """A bar with description, count, elapsed time, estimate and a free text field ``status``."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=console,
        transient=False,
    )


def track(items: Iterable[Item], *, total: int, description: str) -> Iterator[Item]:
    """Yield ``items`` while a bar on stderr shows how many of ``total`` are done."""
    with bar() as progress:
        task = progress.add_task(description, total=total, status="")
        for item in items:
            yield item
            progress.advance(task)
