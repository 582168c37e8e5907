"""SIGTERM and SIGUSR1: in the loop not the end, but a request that is read between two steps."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mg3d.progress import console

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Sent by schedulers at shutdown, and by SLURM some time before the end of a job."""

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
    """Turn the signals into a request within the block, also inside `requeue_at_once`."""
    request = StopRequest()
    previous = {kind: signal.signal(kind, request.ask) for kind in STOP_SIGNALS}
    watched = signal.set_wakeup_fd(-1)
    try:
        yield request
    finally:
        signal.set_wakeup_fd(watched)
        for kind, handler in previous.items():
            signal.signal(kind, handler)


@contextmanager
def requeue_at_once() -> Iterator[None]:
    """Within the block the signals end this process at once, with `EXIT_REQUEUE`.

    For what is before and after the loop: nothing is lost that the same command would not repeat.
    A thread looks out for them, because a handler would wait for as long as the main thread is
    inside torch, say for the first process at a barrier.
    """
    looks, wakes = os.pipe()
    os.set_blocking(wakes, False)
    watch = threading.Thread(target=_exit_when_woken, args=(looks,), daemon=True)
    previous = {kind: signal.signal(kind, _nothing) for kind in STOP_SIGNALS}
    before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    watch.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        for kind, handler in previous.items():
            signal.signal(kind, handler)
        os.close(wakes)
        watch.join()
        os.close(looks)


def _nothing(_signal: int, _frame: FrameType | None) -> None:
    """Only a signal that has a handler is written to the pipe."""


def _exit_when_woken(looks: int) -> None:
    while arrived := os.read(looks, 1):
        if arrived[0] in STOP_SIGNALS:
            console.print("stopped outside the steps; the same command goes on")
            os._exit(EXIT_REQUEUE)
