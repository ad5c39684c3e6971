"""``keepstate.rebuild()``: what is missing is shown with what makes it again, which runs on request."""

import pytest


@pytest.fixture
def lost_generator(guarded):
    """A session that has lost a generator, and went on from what was kept."""
    first = guarded(track="all")
    first.run("rows = [1, 2, 3, 4]; factor = 10")
    first.run("def numbers(of):\n    for each in of:\n        yield each * factor")
    first.run("unrelated = 5")
    first.run("gen = numbers(rows); label = 'first'")
    first.run("next(gen)")
    first.run("label = 'last'")
    first.settle()
    first.kill()
    return guarded()


def test_the_error_says_what_it_was_which_cell_made_it_and_what_makes_it_again(lost_generator):
    """All that the user needs, below the NameError."""
    missed = lost_generator.run("sum(gen)", ok=False)
    assert missed.error == "NameError: name 'gen' is not defined"
    assert "<generator object numbers>" in missed.text
    assert "(gen = numbers(rows); label = 'first')" in missed.text
    assert "keepstate.rebuild('gen')" in missed.text


def test_a_plan_shows_the_cells_and_runs_nothing(lost_generator):
    """The code, what it uses, and what stays as it is."""
    shown = lost_generator.run("plan = keepstate.rebuild(); plan")
    assert "gen can be made by 2 cells (nothing has run yet" in shown.text
    assert "gen = numbers(rows)" in shown.text
    assert "next(gen)" in shown.text
    assert "unrelated" not in shown.text
    assert "also binds label: yours stay as they are" in shown.text
    assert "<pre>" in shown.html[0]
    assert lost_generator.run("print('gen' in globals())").text == "False\n"


def test_running_a_plan_binds_what_was_missing_and_nothing_else(lost_generator):
    """The generator is where it was, and a variable that its cell binds too keeps its value."""
    lost_generator.run("before = rows\nreport = keepstate.rebuild('gen', run=True).report")
    assert lost_generator.run("print(report.made, report.failed)").text == "('gen',) {}\n"
    assert lost_generator.run("print(label, rows is before, list(gen))").text == "last True [20, 30, 40]\n"
    assert lost_generator.run("print(keepstate.rebuild())").text == "keepstate: nothing is missing\n"


def test_a_plan_is_run_once(lost_generator):
    """Twice would be two generators."""
    lost_generator.run("plan = keepstate.rebuild('gen'); plan.run()")
    assert lost_generator.run("plan.run()", ok=False).error.startswith("RebuildError")


def test_a_loss_is_carried_until_it_is_made_good(lost_generator, guarded):
    """The third session knows as much as the second."""
    lost_generator.run("more = 1")
    lost_generator.settle()
    lost_generator.kill()
    third = guarded()
    assert "<generator object numbers>" in third.said
    third.run("keepstate.rebuild(run=True)")
    third.settle()
    third.kill()
    fourth = guarded()
    assert fourth.run("keepstate.rebuild(run=True); print(list(gen))").text == "[20, 30, 40]\n"


def test_a_restored_value_that_is_newer_is_told(guarded):
    """The cell had read it before it was changed."""
    first = guarded(track="all")
    first.run("rows = [1]")
    first.run("gen = (row for row in rows)")
    first.run("rows.append(2)")
    first.settle()
    first.kill()
    second = guarded()
    said = second.run("print(keepstate.rebuild('gen'))").text
    assert "rows is taken as it is now, which is newer than what cell [" in said
    assert "(rows.append(2)) has changed it" in said


def test_a_restored_value_is_not_changed_by_a_cell_that_runs_again(guarded):
    """It is given a copy."""
    first = guarded(track="all")
    first.run("log = []")
    first.run("log.append('made'); gen = (x for x in 'ab')")
    first.settle()
    first.kill()
    second = guarded()
    plan = "plan = keepstate.rebuild('gen'); print(plan)"
    assert "may change log: it is given copies" in second.run(plan).text
    second.run("plan.run()")
    assert second.run("print(log, list(gen))").text == "['made'] ['a', 'b']\n"


def test_cells_that_reach_outside_are_warned_of(guarded):
    """Files, networks and commands, before anything runs."""
    first = guarded(track="all")
    first.run("path = 'out.txt'")
    first.run("open(path, 'w').write('x')\n!echo hello\ngen = (x for x in 'ab')")
    first.settle()
    first.kill()
    second = guarded()
    said = second.run("print(keepstate.rebuild('gen'))").text
    assert "WARNING: runs a command of the system" in said
    assert "WARNING: writes or removes files" in said
    assert second.run("keepstate.rebuild('gen', run=True); print(list(gen))").text.endswith("['a', 'b']\n")


def test_a_cell_that_fails_again_leaves_everything_as_it_was(guarded):
    """The name stays missing, with the error; others are made."""
    first = guarded(track="all")
    first.run("import os; allowed = True")
    first.run("assert not os.environ.get('FAIL')\nbound = 1\ngen = (x for x in 'ab')")
    first.run("other = (x for x in 'cd')")
    first.settle()
    first.kill()
    second = guarded()
    second.run("bound = 'mine'; os.environ['FAIL'] = '1'")
    second.run("report = keepstate.rebuild(run=True).report")
    assert second.run("print(report.made, report.failed['gen'], bound)").text.startswith("('other',) cell [")
    assert second.run("print(bound, 'gen' in globals(), list(other))").text == "mine False ['c', 'd']\n"


def test_a_cell_whose_secret_was_taken_out_is_not_run(guarded):
    """It would do something else."""
    first = guarded(track="all")
    first.run("gen = (x for x in [dict(password='hunter2')])")
    first.settle()
    first.kill()
    second = guarded()
    assert "held a secret, which is not recorded" in second.run("print(keepstate.rebuild('gen'))").text


def test_a_name_that_was_never_tracked_is_made_again_on_request(guarded):
    """A helper that the user forgot to track; what later cells made of it is what counts."""
    first = guarded()
    first.run("base = 3; keepstate.track('base')")
    first.run("helper = base + 1; other = 0")
    first.run("helper += 1; other = 9; base = 3.0")
    first.settle()
    first.kill()
    second = guarded()
    assert "keepstate.rebuild('helper')" in second.run("helper", ok=False).text
    second.run("report = keepstate.rebuild('helper', run=True).report")
    assert second.run("print(helper, other, base, report.made)").text == "5.0 9 3.0 ('helper', 'other')\n"


def test_what_later_cells_replaced_is_made_on_the_way_and_not_bound(guarded):
    """An older value never stands in for the last one."""
    first = guarded(track=["gen", "kept"])
    first.run("step = 1")
    first.run("gen = (x for x in [step])")
    first.run("step = 2; kept = 1")
    first.settle()
    first.kill()
    second = guarded()
    second.run("report = keepstate.rebuild('gen', run=True).report")
    assert second.run("print(report.made, report.not_bound, 'step' in globals())").text == (
        "('gen',) ('step',) False\n"
    )


def test_a_picture_taken_while_cells_run_again_shows_the_notebook_as_it_was(guarded):
    """A variable that a cell binds for a moment is never kept with that value."""
    first = guarded(track="all")
    first.run("label = 'first'; gen = (x for x in 'ab'); snap = keepstate.snapshot")
    first.run("label = 'again'; gen = (x for x in 'ab'); snap()")
    first.run("label = 'last'")
    first.settle()
    first.kill()
    second = guarded()
    second.run("fresh = 1; keepstate.rebuild('gen', run=True)")
    labels = "print({keepstate.load('label', at=each) for each in keepstate.snapshots()[:2]}, label)"
    assert second.run(labels).text == "{'last'} last\n"


def test_a_lost_name_that_is_bound_anew_makes_a_snapshot(guarded):
    """Its last cell is all that is known of it."""
    first = guarded(track="all")
    first.run("gen = (x for x in 'ab'); n = 1")
    first.settle()
    first.run("gen = (x for x in 'cd')")
    first.settle()
    first.kill()
    assert guarded().run("keepstate.rebuild(run=True); print(list(gen))").text == "['c', 'd']\n"


def test_a_cell_that_was_cut_off_is_not_run_again(guarded):
    """The connection was made in the first line of a cell that never ended: it is told, with the cell."""
    from test_sessions import wait_until_kept_inside

    first = guarded()
    message = first.send(
        "gen = (x for x in 'ab'); i = 0; keepstate.track('gen', 'i')\n"
        "while i < 2_000_000_000:\n    i += 1\n    if i % 500_000 == 0: print(i, flush=True)"
    )
    first.wait_for(message, "\n")
    wait_until_kept_inside(first)
    first.kill()
    second = guarded()
    assert "(gen = (x for x in 'ab'); i = 0;" in second.said
    assert "had not ended when the state was kept" in second.run("print(keepstate.rebuild('gen'))").text


def test_what_a_cell_changes_in_a_way_that_its_code_does_not_show_is_told(guarded):
    """A library changed its argument; the report says so, and how to get the kept one."""
    first = guarded(track="all")
    first.run("import operator\nlog = []; quiet = [0]")
    first.run("operator.iadd(log, ['made']); gen = (x for x in quiet)")
    first.settle()
    first.kill()
    second = guarded()
    report = second.run("report = keepstate.rebuild('gen', run=True).report; print(report)").text
    assert "log" in second.run("print(report.changed)").text
    assert "quiet" not in second.run("print(report.changed, report.unchecked)").text
    assert "keepstate.restore('log')" in report
    assert second.run("keepstate.restore('log'); print(log)").text == "['made']\n"


def test_a_plan_that_is_interrupted_leaves_everything_as_it_was(guarded):
    """What the cell had bound until then is gone again, and the plan can be made anew."""
    first = guarded(track="all")
    first.run("import os, threading; label = 'first'")
    first.run(
        "label = 'again'; gen = (x for x in 'ab')\n"
        "if os.environ.get('HANG'): print('hangs', flush=True); threading.Event().wait(60)"
    )
    first.run("label = 'last'")
    first.settle()
    first.kill()
    second = guarded()
    second.run("os.environ['HANG'] = '1'")
    message = second.send("keepstate.rebuild('gen', run=True)")
    second.wait_for(message, "hangs")
    second.interrupt()
    assert second.wait(message).error.startswith("KeyboardInterrupt")
    assert second.run("print(label, 'gen' in globals())").text == "last False\n"
    second.run("del os.environ['HANG']; plan = keepstate.rebuild('gen', run=True)")
    assert second.run("print(label, list(gen))").text == "last ['a', 'b']\n"
