"""SIGTERM and SIGUSR1: not the end at once, but a request that the loop reads between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_REQUEUE = 75
"""Exit code of a command that has saved its state and asks to be run again."""


class StopRequest:
    """Whether this process was asked to stop; all processes have to agree on the step."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, _signal: int, _frame: FrameType | None) -> None:
        """Take note of a signal."""
        self.asked = True


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM (schedulers, shutdown) and SIGUSR1 (SLURM's warning) into a request."""
    request = StopRequest()
    previous = {kind: signal.signal(kind, request.ask) for kind in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield request
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)
