"""A word that is said reaches all who wait."""

import threading

from keepstate._base.word import Word


def test_all_who_wait_hear_it():
    """Several threads wait for one word, and it may be said more than once."""
    word, heard = Word(), []
    threads = [threading.Thread(target=lambda: heard.append(word.wait(30))) for _ in range(5)]
    for thread in threads:
        thread.start()
    word.say()
    word.say()
    for thread in threads:
        thread.join(30)
    assert heard == [True] * 5
    assert word.is_set()


def test_waiting_ends_when_time_does():
    """Nobody says it, and the answer is no."""
    assert not Word().wait(0.01)
