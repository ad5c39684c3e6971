"""Real kernels whose state outlives their machine, at a real S3 server."""

import json
import random

import pytest
from far_store import BEGIN, LOOK, STEP, Campaign, OwnKey, Place, pause, start
from s3_servers import FlakyProxy, rclone_server, running, wait_until

SENT = "keepstate.status().durability == 'verified'"
TOLD = "[each for each in keepstate.status().remarks if 'Another session' in each]"
NOTES = "sorted(each.note for each in keepstate.snapshots() if each.note)"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """rclone is up in 0.1 s, and has after a kill what it had acknowledged."""
    with rclone_server(tmp_path_factory.mktemp("server")) as one:
        one.create_bucket("bucket")
        yield one


@pytest.fixture
def place(server, tmp_path, request):
    found = Place(server, request.node.name.replace("_", "-")[:60].strip("-"), tmp_path)
    yield found
    found.close()


def test_a_new_machine_goes_on_where_the_killed_one_was(place):
    """Killed without any warning, its disk gone: the other cells run elsewhere, and levels are true."""
    machine = place.machine()
    kernel = machine.kernel()
    kernel.run(BEGIN)
    kernel.run(f"{STEP}\nkeepstate.snapshot('step 1')")
    assert kernel.run(STEP).text == ""
    kernel.settle()
    kernel.until(SENT)
    machine.wipe()

    other = place.machine().kernel()
    seen = json.loads(other.run(LOOK).text)
    assert (seen["step"], seen["torn"], seen["failed"]) == (2, [], {})
    assert {each["durability"] for each in seen["listed"]} == {"verified"}, (
        "none of them is on this machine alone"
    )
    other.run(STEP)
    assert other.say("[step, torn()]") == [3, []]
    other.settle()
    assert other.say("keepstate.snapshots()[0].durability") == "local"
    place.must_be_sound()


@pytest.mark.torture
def test_what_was_called_verified_is_there_after_a_kill_at_any_moment(place):
    """Three rounds of the campaign of which there are two hundred in the torture."""
    campaign = Campaign(place, random.Random(1))
    for _ in range(3):
        campaign.round()
    assert campaign.claimed, campaign.told


def test_what_sends_outlives_a_killed_kernel_and_an_ended_script_and_then_ends(place):
    """What was saved last arrives although nobody is there any more, and nothing of ours stays."""
    machine, elsewhere = place.machine(), place.machine()
    script = start(place.address, member="script")
    elsewhere.script(script + BEGIN + STEP)
    kernel = machine.kernel()
    kernel.run(BEGIN)
    kernel.run(f"{STEP}\nkeepstate.snapshot('step 1')")
    kernel.kill()
    for one in (elsewhere, machine):
        wait_until(lambda one=one: not one.processes(), "the process that sends has ended")
        assert one.verified()
        one.wipe()
    again = place.machine().script(script + "print(step, torn(), s.restored.snapshot.reason)")
    assert again.splitlines()[-1] == "1 [] exit"
    assert place.machine().kernel().say("[step, torn()]") == [1, []]


@pytest.mark.torture
def test_a_server_that_dies_in_mid_transfer_costs_nothing(place):
    """Cells go on and the status says why nothing arrives; a session that begins meanwhile guards here.

    Once the server is back, everything is sent and what was there can be restored: neither history hides the
    other.
    """
    with FlakyProxy(place.server.port) as proxy:
        machine = place.machine(address=place.server.address("bucket", place.folder, url=proxy.url))
        kernel = machine.kernel()
        kernel.run(BEGIN)
        kernel.run(f"{STEP}\nfirst = keepstate.snapshot('step 1')")
        kernel.until(SENT)
        proxy.cut_after_bytes = 500_000
        kernel.run(f"for _ in range(PARTS):\n    {STEP}\nkeepstate.snapshot('step 9')")
        wait_until(lambda: proxy._is_cut, "half of it is sent")
        place.server.kill()
        try:
            third = place.machine().kernel("")
            message = third.send(start(place.address))
            late = place.machine().kernel()
            assert "the store cannot be reached" in late.said
            assert "the store cannot be reached" in third.show(message)
            late.run("apart = [1]; keepstate.track('apart'); keepstate.snapshot('apart')")
            third.run("more = [2]; keepstate.track('more'); keepstate.snapshot('more')")
            said = kernel.until("keepstate.status().error", "the trouble is told")
            assert "127.0.0.1" in said
            kernel.run("status = keepstate.status()")
            assert kernel.say("[status.durability, status.transfer, status.pending_bytes > 0]") == [
                "local",
                "unreachable",
                True,
            ]
            assert kernel.run(STEP).text == ""
        finally:
            place.server.restart()
            proxy.mend()
        late.run(f"keepstate.restore('step', 'parts', 'trail', at={kernel.say('first.id')!r})")
        assert late.say("[step, torn(), apart]") == [1, [], [1]]
        late.until("keepstate.status().error is None")
        for one in (kernel, late, third):
            one.settle()
            one.until(SENT)
            assert one.say("keepstate.status().error") is None
        assert late.say(TOLD)
        assert third.say(TOLD)
        fourth = place.machine().kernel()
        assert fourth.say(NOTES) == ["apart", "more", "step 1", "step 9"]
        machine.settle()
    place.must_be_sound()


@pytest.mark.torture
def test_a_network_that_is_slow_away_for_seconds_and_fails_now_and_then_costs_nothing(place):
    """One request in twenty fails all the time; the cells see nothing of it, and everything arrives."""
    with FlakyProxy(place.server.port, seed=3) as proxy:
        proxy.fail_share, proxy.delay_seconds = 0.05, 0.03
        machine = place.machine(address=place.server.address("bucket", place.folder, url=proxy.url))
        kernel = machine.kernel()
        kernel.run(BEGIN)
        kernel.until(SENT)
        for step in (1, 2):
            proxy.cut()
            assert kernel.run(f"{STEP}\nsnapshot = keepstate.snapshot('step {step}')").text == ""
            pause(2.5)
            assert kernel.say("[keepstate.status().durability, keepstate.status().pending_bytes > 0]") == [
                "local",
                True,
            ]
            proxy.mend()
        kernel.until(SENT)
        assert kernel.say("keepstate.status().error") is None
        assert kernel.say("[step, torn()]") == [2, []]
        machine.settle()
    place.must_be_sound()


def test_a_key_that_expires_is_told_and_a_fresh_one_sends_everything(tmp_path):
    """The session goes on guarding on its machine; start() with other credentials is all that it takes."""
    with running(OwnKey(tmp_path / "server")) as server:
        server.create_bucket("bucket")
        place = Place(server, "expires", tmp_path)
        try:
            kernel = place.machine().kernel()
            kernel.run(BEGIN)
            kernel.until(SENT)
            server.change_secret("a/fresh+Secret0Secret0Secret0Secret0")
            assert kernel.run(f"{STEP}\nsnapshot = keepstate.snapshot('step 1')").text == ""
            kernel.until("keepstate.status().transfer == 'credentials'")
            assert "refuses us" in kernel.say("keepstate.status().error")
            assert kernel.run(STEP).text == ""
            assert kernel.say("keepstate.snapshot('step 2').durability") == "local"
            kernel.run("keepstate.stop()")
            kernel.run(f"import os; os.environ.update({server.credentials!r})")
            kernel.run(start(place.address))
            kernel.until(SENT)
            assert kernel.say("keepstate.status().error") is None
            assert kernel.say(
                "{each.durability for each in keepstate.snapshots() if each.note} == {'verified'}"
            )
            fresh = place.machine(**server.credentials).kernel()
            assert fresh.say("[step, torn()]") == [2, []]
        finally:
            place.close()


@pytest.mark.torture
def test_two_machines_at_once_hide_nothing_of_each_other(place):
    """An old tab and a new machine: both histories stand, the newer is restored, and each of them is told."""
    old = place.machine().kernel()
    old.run("who = 'old'; keepstate.track('who'); keepstate.snapshot('old')")
    old.until(SENT)
    new = place.machine().kernel()
    assert new.say("who") == "old"
    new.run("who = 'new'; keepstate.snapshot('new')")
    new.until(SENT)
    assert new.say(TOLD) == [], "what it began with is no news"
    old.run("who = 'older'; keepstate.snapshot('older')")
    old.until(SENT)
    (told,) = old.until(TOLD)
    assert new.say("keepstate.snapshots()[0].id[:10]") in told
    new.run("who = 'newest'; keepstate.snapshot('newest')")
    new.until(SENT)
    (told,) = new.until(TOLD)
    assert old.say("next(each.id[:10] for each in keepstate.snapshots() if each.note == 'older')") in told

    third = place.machine().kernel()
    assert third.say("who") == "newest"
    assert third.say(NOTES) == ["new", "newest", "old", "older"]
    assert "Another session of this notebook wrote at the same time" in third.said
    assert third.say("keepstate.load('who', at=keepstate.snapshots()[1])") == "older"
    place.must_be_sound()


def test_two_members_in_one_folder_never_see_each_others_state(place):
    """Nor can one of them begin without saying who it is."""
    ana = place.machine().kernel()
    ana.run("who = 'ana'; keepstate.track('who'); keepstate.snapshot()")
    ana.until(SENT)
    ben = place.machine().kernel(start(place.address, member="ben"))
    assert ben.say("[s.restored is None, keepstate.snapshots()]") == [True, []]
    ben.run("keepstate.stop()")
    refused = ben.run(f"keepstate.start(store={place.address!r}, project='p', notebook='n')", ok=False)
    assert "nobody says the member" in refused.error


def test_finish_proves_before_it_returns_and_gives_the_machine_back_only_then(place, tmp_path):
    """On Colab the call that ends the machine comes last; while the store is gone it does not come."""
    colab = tmp_path / "colab" / "google" / "colab"
    colab.mkdir(parents=True)
    (colab.parent / "__init__.py").write_text("")
    (colab / "__init__.py").write_text("")
    (colab / "runtime.py").write_text(
        "import keepstate\n"
        "calls = []\n"
        "def unassign():\n"
        "    calls.append([each.durability for each in keepstate._api._session.snapshots()])\n"
    )
    machine = place.machine(KEEPSTATE_HOST="colab", PYTHONPATH=str(tmp_path / "colab"))
    kernel = machine.kernel()
    kernel.run(BEGIN)
    kernel.run("from google.colab import runtime")
    place.server.kill()
    try:
        failed = kernel.run("s.finish(seconds=2.0)", ok=False)
        assert failed.error.startswith("StoreError: not everything has reached")
        assert kernel.say("[runtime.calls, keepstate.status().state]") == [[], "guarding"]
        assert kernel.run(STEP).text == ""
    finally:
        place.server.restart()
    done = kernel.run("st = keepstate.finish(); print(st.durability, st.pending_bytes, st.state)")
    assert done.text.split()[-3:] == ["verified", "0", "stopped"]
    (levels,) = kernel.say("runtime.calls")
    assert levels[0] == "verified"
    machine.wipe()
    assert place.machine().kernel().say("[step, torn()]") == [1, []]


RESULT = """
@keepstate.cache
def heavy(n):
    print("ran")
    return np.arange(n)
"""


def test_a_result_of_a_function_is_found_on_a_new_machine(place):
    """Where the far store alone has it; what was cleared is not, and a dead network costs one sentence."""
    machine = place.machine()
    kernel = machine.kernel()
    kernel.run(BEGIN + RESULT + "keepstate.snapshot('a state')")
    assert kernel.run("heavy(1000), heavy(2000); heavy.call_and_shelve(2000).clear()").text == "ran\nran\n"
    wait_until(lambda: len(machine.verified()) >= 3, "the results are at the store", 60)
    machine.wipe()
    other = place.machine().kernel()
    other.run(RESULT)
    assert other.run("print(heavy(1000).sum())").text == "499500\n"
    assert other.run("print(heavy(2000).sum())").text == "ran\n1999000\n"
    assert other.say("[each.note for each in keepstate.snapshots() if each.note]") == ["a state"]
    listed = place.command("log", "--results")
    assert "heavy(n=1000)" in listed.stdout, listed.stdout + listed.stderr
    assert "heavy" not in place.command("log").stdout
    place.must_be_sound()


def test_results_are_computed_where_the_store_cannot_be_reached(place):
    """What is kept there cannot be seen, which is said once."""
    with FlakyProxy(place.server.port) as proxy:
        kernel = place.machine(address=place.server.address("bucket", place.folder, url=proxy.url)).kernel()
        kernel.run(f"import warnings\n{RESULT}")
        proxy.cut()
        said = kernel.run(
            "with warnings.catch_warnings(record=True) as found:\n"
            "    warnings.simplefilter('always')\n    heavy(10); heavy(20); heavy(10)\n"
            "print([str(each.message) for each in found])"
        ).text
    assert said.count("ran") == 2
    assert said.count("what the store has cannot be seen") == 1
