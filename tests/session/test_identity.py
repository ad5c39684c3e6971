"""Nobody restores somebody else's state by a guess."""

import pytest

from keepstate._hosts import Host, profile_named
from keepstate._session.identity import identify
from keepstate.errors import IdentityError

PLAIN = profile_named("plain")
NOBODY = Host(PLAIN, ())


def test_on_a_disk_of_ones_own_constants_stand_in():
    """The same constants on every machine find the same state again."""
    found = identify(project=None, member=None, notebook=None, host=NOBODY, shared=False)
    assert (found.project, found.member, found.notebook) == ("default", "me", "notebook")


def test_the_host_names_the_notebook_and_the_account():
    """What the host knows is used before any constant."""
    host = Host(PLAIN, (), "work/a.ipynb", "ana")
    found = identify(project=None, member=None, notebook=None, host=host, shared=False)
    assert (found.member, found.notebook) == ("ana", "work/a.ipynb")


def test_what_the_call_says_wins():
    """An argument is stronger than the host."""
    host = Host(PLAIN, (), "work/a.ipynb", "ana")
    found = identify(project="p", member="ben", notebook="b", host=host, shared=True)
    assert (found.project, found.member, found.notebook) == ("p", "ben", "b")


def test_a_shared_store_asks_for_what_nobody_has_said():
    """Two people with the same constant would restore each other's state."""
    with pytest.raises(IdentityError, match=r"member and the notebook.*member='…', notebook='…'"):
        identify(project="p", member=None, notebook=None, host=NOBODY, shared=True)
