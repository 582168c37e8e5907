"""A signal becomes a request, and afterwards signals mean what they meant before."""

import os
import signal

import pytest

from mg3d.training.stop import EXIT_REQUEUE, stop_signals


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_noted_and_ends_nothing(kind: signal.Signals) -> None:
    before = signal.getsignal(kind)
    with stop_signals() as request:
        assert not request.asked
        os.kill(os.getpid(), kind)
        assert request.asked
    assert signal.getsignal(kind) == before


def test_handlers_return_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError), stop_signals():
        raise RuntimeError
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_exit_code_is_that_of_a_temporary_failure() -> None:
    assert EXIT_REQUEUE == os.EX_TEMPFAIL
