"""Recipes: what makes an object anew that cannot be kept."""

import pytest

CONNECT = "import sqlite3\nplace = 'a.db'\ndef connect():\n    return sqlite3.connect(place)"

TRACK = "keepstate.track('place', 'sqlite3', 'connect'); keepstate.track(conn=conn, recipe=connect)"


def kept_connection(kernel, *, track=TRACK):
    kernel.run(CONNECT)
    kernel.run(
        "conn = connect(); conn.execute('create table t (x)'); conn.execute('insert into t values (7)')"
    )
    kernel.run("conn.commit()")
    kernel.run(track)
    kernel.settle()
    kernel.kill()


def test_a_connection_is_made_anew_by_its_recipe(guarded):
    """After a kill it is there, usable, tracked, and said to be made anew."""
    kept_connection(guarded())
    second = guarded()
    assert "conn was made anew by its recipe" in second.said
    assert second.run("print(conn.execute('select x from t').fetchall())").text == "[(7,)]\n"
    assert second.run("print('conn' in s.status().tracked, s.restored.failed)").text == "True {}\n"


def test_a_recipe_goes_on_to_the_third_session(guarded):
    """It is kept again, without a word from the user."""
    kept_connection(guarded())
    second = guarded()
    second.run("more = 1; keepstate.track('more')")
    second.settle()
    second.kill()
    third = guarded()
    assert third.run("print(conn.execute('select x from t').fetchall())").text == "[(7,)]\n"


def test_a_lambda_that_holds_what_it_needs_is_a_recipe(guarded):
    """A closure is kept with what is in it, and shares it with the variable of that name."""
    first = guarded()
    first.run(
        "def recipe_of(rows): return lambda: iter_of(rows)\ndef iter_of(rows): return (row for row in rows)"
    )
    first.run(
        "rows = [1, 2]; gen = iter_of(rows); keepstate.track('rows', 'iter_of')\n"
        "keepstate.track(gen=gen, recipe=recipe_of(rows))"
    )
    first.settle()
    first.kill()
    second = guarded()
    assert second.run("rows.append(3); print(list(gen))").text == "[1, 2, 3]\n"


def test_a_recipe_that_raises_leaves_the_name_failed_with_its_error(guarded):
    """What it needs was not tracked; the message says so, and the rest is there."""
    track = "keepstate.track('connect'); keepstate.track(conn=conn, recipe=connect)"
    kept_connection(guarded(), track=track)
    second = guarded()
    why = second.run("print(s.restored.failed['conn'])").text
    assert "its recipe failed: NameError: name " in why
    missed = second.run("conn", ok=False)
    assert "its recipe failed" in missed.text
    second.run(CONNECT)
    assert "conn" in second.run("print(keepstate.rebuild('conn', run=True).report)").text
    assert second.run("print(conn.execute('select x from t').fetchall())").text == "[(7,)]\n"


def test_what_can_be_kept_is_kept_and_its_recipe_is_not_run(guarded):
    """The kept value wins."""
    first = guarded()
    first.run("def make(): print('made'); return ['anew']")
    first.run("data = ['kept']; keepstate.track(data=data, recipe=make)")
    first.settle()
    first.kill()
    second = guarded()
    assert "made" not in second.said
    assert second.run("print(data)").text == "['kept']\n"


def test_a_live_variable_is_not_made_anew(guarded, tmp_path):
    """The user's own connection stays."""
    kept_connection(guarded())
    second = guarded(restore="off")
    second.run("keepstate.stop(snapshot=False)\nconn = 'mine'")
    second.run("s = keepstate.start(store='store', interval=0.3)")
    assert second.run("print(conn)").text == "mine\n"


def test_a_recipe_waits_for_what_it_uses_and_runs_on_the_main_thread(guarded):
    """In a lazy restore it runs when a cell reaches the name, after what it needs has come."""
    first = guarded()
    first.run("import threading\nbig = list(range(1000))")
    first.run(
        "def make():\n    where = threading.current_thread() is threading.main_thread()\n"
        "    return (x for x in [where, len(big)])"
    )
    first.run(
        "gen = make(); keepstate.track('big', 'threading', 'make'); keepstate.track(gen=gen, recipe=make)"
    )
    first.settle()
    first.kill()
    second = guarded(restore="lazy", then="\nprint('made', list(gen))")  # before our thread has begun
    assert "made [True, 1000]" in second.said


def test_random_numbers_go_on_as_if_no_recipe_had_run(guarded):
    """What a recipe draws is not missed by the user."""
    first = guarded()
    first.run("import random\ndef make():\n    random.random()\n    return (x for x in 'ab')")
    first.run(
        "gen = make(); random.seed(3); keepstate.track('random', 'make')\n"
        "keepstate.track(gen=gen, recipe=make)"
    )
    first.settle()
    expected = first.run("print(random.random())").text
    first.kill()
    assert guarded().run("print(random.random())").text == expected


def test_a_restore_by_name_runs_the_recipe_again(guarded):
    """A connection that was closed is made anew."""
    kept_connection(guarded())
    second = guarded()
    second.run("conn.close()")
    assert "made anew by its recipe" in second.run("print(keepstate.restore('conn'))").text
    assert second.run("print(conn.execute('select x from t').fetchall())").text == "[(7,)]\n"


def test_an_untracked_name_takes_its_recipe_along(guarded):
    """The next session neither makes nor misses it."""
    first = guarded()
    first.run("def make(): print('made')")
    first.run(
        "gen = (x for x in 'ab'); x = 1; keepstate.track('x')\n"
        "keepstate.track(gen=gen, recipe=make); keepstate.untrack('gen')"
    )
    first.settle()
    first.kill()
    second = guarded()
    assert "made" not in second.said
    assert second.run("print(s.restored.failed)").text == "{}\n"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("track('a', 'b', recipe=make)", "one recipe for 2 names"),
        ("track('a', recipe={'c': make})", "which is not among"),
        ("track('a', recipe=5)", "give a function"),
        ("track('a', recipe=lambda x: x)", "must do without arguments"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_at_once(guarded, call, said):
    """And nothing is tracked by that call."""
    one = guarded()
    one.run("a = b = 1\ndef make(): return 1")
    reply = one.run(f"keepstate.{call}", ok=False)
    assert reply.error.startswith("InvalidInputError")
    assert said in reply.error
    assert one.run("print(s.status().tracked)").text == "()\n"


def test_a_variable_called_recipe_can_be_tracked(guarded):
    """As before there were any."""
    one = guarded()
    assert one.run("recipe = [1]; print(keepstate.track(recipe=recipe))").text == "('recipe',)\n"
