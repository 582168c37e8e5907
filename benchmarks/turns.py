"""Sides that each live in a process of their own, measured in turns.

A process that does one thing again and again is how training runs: the allocator and the caches
settle for that size. Sides of several sizes in one process would disturb each other there.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

Measure = Callable[[], float]


@contextmanager
def side(make: Callable[..., Callable[[], Any]], *given: Any) -> Iterator[Callable[[], Any]]:
    """Within the block, a process in which ``make(*given)`` was called once.

    Args:
        make: A function of a module, which prepares all and returns what is measured.
        given: Its arguments.

    Yields:
        A function that measures once, there.

    Raises:
        RuntimeError: If the process ended early, for example for want of memory.
    """
    spawn = get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, make, given))
    process.start()
    there.close()

    def measure() -> Any:
        try:
            here.send(True)
            answer = here.recv()
        except (EOFError, BrokenPipeError) as error:
            raise RuntimeError(f"{make.__name__}{given} ended early") from error
        return answer

    try:
        yield measure
    finally:
        here.close()  # which ends the process
        process.join()


def medians_in_turns(sides: Mapping[str, Measure], rounds: int) -> dict[str, float]:
    """Median of what each side measures, after one round that is not counted."""
    for measure in sides.values():
        measure()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            found[name].append(measure())
    return {name: statistics.median(values) for name, values in found.items()}


def _serve(connection: Connection, make: Callable[..., Any], given: tuple[Any, ...]) -> None:
    measure = make(*given)
    try:
        while connection.recv():
            connection.send(measure())
    except EOFError:
        pass  # nobody asks any more
