"""A signal becomes a request, and afterwards signals mean what they meant before."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from mg3d.training.stop import EXIT_REQUEUE, STOP_SIGNALS, requeue_at_once, stop_signals


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_noted_and_ends_nothing(kind: signal.Signals) -> None:
    before = signal.getsignal(kind)
    with stop_signals() as request:
        assert not request.asked
        os.kill(os.getpid(), kind)
        assert request.asked
    assert signal.getsignal(kind) == before


HELD = """
import ctypes, time
from mg3d.training.stop import requeue_at_once, stop_signals
c, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
with requeue_at_once():
    with stop_signals() as stop:
        print("asks", flush=True)
        while not stop.asked:
            time.sleep(0.01)
    print("held", flush=True)
    c.pthread_mutex_lock(lock)
    c.pthread_mutex_lock(lock)  # for ever, and a handler of Python's would have to wait
"""


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGUSR1])
def test_outside_the_loop_a_signal_ends_even_a_process_that_waits_inside_a_library(kind) -> None:
    with subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout.readline() == "asks\n"
        held.send_signal(kind)  # within the loop it is a request
        assert held.stdout.readline() == "held\n"
        held.send_signal(kind)
        try:
            assert held.wait(20) == EXIT_REQUEUE
        finally:
            held.kill()


def test_what_signals_did_before_they_do_again() -> None:
    before = [signal.getsignal(kind) for kind in STOP_SIGNALS], threading.active_count()
    with requeue_at_once():
        assert [signal.getsignal(kind) for kind in STOP_SIGNALS] != before[0]
    assert ([signal.getsignal(kind) for kind in STOP_SIGNALS], threading.active_count()) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_handlers_return_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError), stop_signals():
        raise RuntimeError
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_exit_code_is_that_of_a_temporary_failure() -> None:
    assert EXIT_REQUEUE == os.EX_TEMPFAIL
