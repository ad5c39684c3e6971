"""Interrupts while a cell waits: what is done to the handler of the user's process."""

import signal

from keepstate._notebook.refusing import interruptible


def test_a_handler_in_c_is_left_alone(monkeypatch):
    """Python cannot name it, so it could not be put back."""
    monkeypatch.setattr(signal, "getsignal", lambda _number: None)
    replaced = []
    monkeypatch.setattr(signal, "signal", lambda *call: replaced.append(call))
    with interruptible():
        pass
    assert replaced == []


def test_another_handler_is_put_back():
    """An interrupt raises in between, whatever was there before."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
