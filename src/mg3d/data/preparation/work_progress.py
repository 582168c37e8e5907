"""Showing how work on many scans goes: a live bar on a terminal, a line now and then in a log."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from mg3d.progress import bar, console

_LOG_EVERY_S = 60.0
Outcome = TypeVar("Outcome")


def watched(
    outcomes: Iterable[Outcome], total: int, is_bad: Callable[[Outcome], bool]
) -> Iterator[Outcome]:
    """Yield outcomes while showing count, rate, time left and how many are bad.

    Args:
        outcomes: As they come.
        total: How many will come.
        is_bad: Whether one counts as set aside.
    """
    began = last = time.monotonic()
    num_done = num_bad = 0
    with bar() as progress:
        task = progress.add_task("prepare", total=total, status="")
        for outcome in outcomes:
            yield outcome
            num_done += 1
            num_bad += is_bad(outcome)
            now = time.monotonic()
            rate = num_done / max(now - began, 1e-3)
            bad = f", {num_bad} set aside" if num_bad else ""
            progress.update(task, advance=1, status=f"{rate:.1f} scans/s{bad}")
            if not console.is_terminal and now - last >= _LOG_EVERY_S:
                last = now
                left_h = (total - num_done) / rate / 3600
                console.print(
                    f"{num_done} of {total}, {rate:.2f} scans/s, {left_h:.1f} h left{bad}"
                )
