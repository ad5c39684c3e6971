"""Exceptions that say themselves how they are made."""

import pytest


@pytest.mark.parametrize("raised", ["MyError(3)", "caught()"])
def test_an_exception_with_a_reduce_of_its_own_is_made_as_that_says(notebook, raised):
    """Its ``__init__`` sets what nothing else does, with a cause or without one."""
    notebook.run("""
class MyError(ValueError):
    def __init__(self, code):
        super().__init__(f"code {code}")
        self.code = code
    def __reduce__(self):
        return MyError, (self.code,)

def caught():
    try:
        raise MyError(3) from KeyError("k")
    except MyError as error:
        return error
""")
    notebook.run(f"x = {raised}")
    notebook.encode()
    notebook.check("assert (x.code, str(x)) == (3, 'code 3')")
