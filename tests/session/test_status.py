"""What status() says of the machine's end."""

import pytest


@pytest.fixture
def script(run_script):
    """Run a script under a host of that name and return the last line that it printed."""

    def run(code, host):
        variables = {"KEEPSTATE_HOST": host, "KEEPSTATE_STORE": "store"}
        return run_script(
            code, start="import keepstate, datetime\n", variables=variables
        ).stdout.splitlines()[-1]

    return run


LEFT = "(s.deadline - datetime.datetime.now(datetime.UTC)).total_seconds()"


def test_the_hosts_limits_are_shown_and_a_guess_is_called_one(script):
    """Colab's idle limit is nowhere published; its lifetime is."""
    shown = script(
        f"""
        keepstate.start(); s = keepstate.status()
        assert 'deadline' in str(s) and 'in ' in str(s) and 'in ' in s._repr_html_()
        print(s.host, s.idle_limit_seconds, s.lifetime_limit_seconds, 0 < {LEFT} <= 5400, s.remarks[0][:46])
        """,
        host="colab",
    )
    assert shown == "colab 5400.0 43200.0 True The idle limit of 1 h 30 min is a guess: unpub"


def test_the_users_numbers_come_first(script):
    """Also the one that says that there is no such limit; then there may be no deadline at all."""
    shown = script(
        f"""
        keepstate.start(limits={{'idle_seconds': 600, 'lifetime_seconds': None}}); s = keepstate.status()
        print(s.idle_limit_seconds, s.lifetime_limit_seconds, 590 < {LEFT} <= 600, s.remarks)
        """,
        host="kaggle",
    )
    assert shown == "600.0 None True ()"
    shown = script(
        "keepstate.start(); s = keepstate.status(); print(s.deadline, s.seconds_left)", host="plain"
    )
    assert shown == "None None"


def test_a_lifetime_that_the_machine_has_outlived_counts_from_the_kernel(script):
    """Process 1 of a machine at home is older than any limit that somebody tries."""
    shown = script(
        f"""
        import psutil
        limit = 0.5 * (datetime.datetime.now().timestamp() - psutil.Process(1).create_time()) + 5
        keepstate.start(limits={{'lifetime_seconds': limit}}); s = keepstate.status()
        print(0 < {LEFT} <= limit)
        """,
        host="plain",
    )
    assert shown == "True"


def test_limits_may_change_while_it_guards(script):
    """An upgraded plan, or an administrator, moves the deadline at once; what is left out is the host's."""
    shown = script(
        f"""
        session = keepstate.start(); session.change_limits({{'idle_seconds': 100}}); s = keepstate.status()
        try: session.change_limits({{'idle': 3}})
        except keepstate.InvalidInputError as error: told = 'limits has no idle' in str(error)
        print(s.idle_limit_seconds, s.lifetime_limit_seconds, 90 < {LEFT} <= 100, told)
        """,
        host="kaggle",
    )
    assert shown == "100.0 43200.0 True True"


def test_a_lifetime_that_is_given_later_counts_as_one_that_was_given_at_the_start(script):
    """It does not count from the birth of a machine that is older than it."""
    shown = script(
        f"""
        import psutil
        limit = 0.5 * (datetime.datetime.now().timestamp() - psutil.Process(1).create_time()) + 5
        keepstate.start().change_limits({{'lifetime_seconds': limit}}); s = keepstate.status()
        print(s.deadline is not None and 0 < {LEFT} <= limit)
        """,
        host="plain",
    )
    assert shown == "True"
