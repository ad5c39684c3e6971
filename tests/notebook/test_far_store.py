"""Real kernels whose state outlives their machine, at a real S3 server."""

import json
import random

import pytest
from far_store import BEGIN, LOOK, STEP, Campaign, Place, start
from s3_servers import FlakyProxy, rclone_server, wait_until

SENT = "keepstate.status().durability == 'verified'"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """rclone is up in 0.1 s, and refuses no put of a name that is there."""
    with rclone_server(tmp_path_factory.mktemp("server")) as running:
        running.create_bucket("bucket")
        yield running


@pytest.fixture
def place(server, tmp_path, request):
    found = Place(server, request.node.name.replace("_", "-")[:60].strip("-"), tmp_path)
    yield found
    found.close()


def test_a_new_machine_goes_on_where_the_killed_one_was(place):
    """Killed without any warning, its disk gone: the remaining cells run elsewhere."""
    machine = place.machine()
    kernel = machine.kernel()
    kernel.run(BEGIN)
    kernel.run(STEP)
    assert kernel.run(f"{STEP}\nprint(keepstate.snapshot('step 2').durability)").text.strip() in (
        "local",
        "verified",
    )
    kernel.until(SENT)
    machine.wipe()

    other = place.machine().kernel()
    seen = json.loads(other.run(LOOK).text)
    assert (seen["step"], seen["torn"], seen["failed"]) == (2, [], {})
    other.run(STEP)
    assert other.say("[step, torn()]") == [3, []]
    place.must_be_sound()


def test_what_was_called_verified_is_there_after_a_kill_at_any_moment(place):
    """Three rounds of the campaign of which there are two hundred in the torture."""
    campaign = Campaign(place, random.Random(1))
    for _ in range(3):
        campaign.round()


def test_the_process_that_sends_outlives_a_killed_kernel_and_then_ends(place):
    """What was saved before the kill arrives, and nothing of ours stays."""
    machine = place.machine()
    kernel = machine.kernel()
    kernel.run(BEGIN)
    kernel.run(f"{STEP}\nkeepstate.snapshot('step 1')")
    kernel.kill()
    wait_until(lambda: not machine.processes(), "the process that sends has ended", 60.0)
    assert machine.verified()
    other = place.machine().kernel()
    assert other.say("[step, torn()]") == [1, []]


def test_a_server_that_is_gone_for_a_while_costs_nothing(place):
    """Killed and started again: cells go on, the status says so, and everything arrives."""
    kernel = place.machine().kernel()
    kernel.run(BEGIN)
    kernel.until(SENT)
    place.server.kill()
    try:
        kernel.run(f"{STEP}\nkeepstate.snapshot('step 1')")
        said = kernel.until("keepstate.status().error", "the trouble is told")
        assert kernel.say("keepstate.status().durability") == "local"
        assert kernel.say("keepstate.status().pending_bytes > 0")
        kernel.run(STEP)
    finally:
        place.server.restart()
    kernel.until(SENT)
    assert kernel.say("keepstate.status().error") is None
    assert "127.0.0.1" in said
    place.must_be_sound()


def test_a_network_that_is_cut_and_fails_now_and_then_costs_nothing(place):
    """Seconds without any network, and one request in twenty that fails."""
    with FlakyProxy(place.server.port, seed=3) as proxy:
        proxy.fail_share = 0.05
        machine = place.machine(address=place.server.address("bucket", place.folder, url=proxy.url))
        kernel = machine.kernel()
        kernel.run(BEGIN)
        kernel.until(SENT)
        proxy.cut()
        kernel.run(f"{STEP}\nkeepstate.snapshot('step 1')")
        kernel.until("keepstate.status().error", "the trouble is told")
        proxy.mend()
        kernel.run(f"{STEP}\nkeepstate.snapshot('step 2')")
        kernel.until(SENT)
        assert kernel.say("keepstate.status().error") is None
        assert kernel.say("[step, torn()]") == [2, []]
        machine.settle()
    place.must_be_sound()


def test_a_store_that_cannot_be_reached_at_the_start_is_joined_later(place):
    """The session guards here, sends later, and can bring back what is there; neither hides the other."""
    machine = place.machine()
    kernel = machine.kernel()
    kernel.run(BEGIN)
    kernel.run(f"{STEP}\nkeepstate.snapshot('step 1')")
    kernel.until(SENT)
    machine.wipe()

    with FlakyProxy(place.server.port) as proxy:
        proxy.cut()
        machine = place.machine(address=place.server.address("bucket", place.folder, url=proxy.url))
        kernel = machine.kernel()
        assert "cannot be reached" in kernel.said
        kernel.run("other = 'made without the store'; keepstate.track('other')")
        kernel.run("keepstate.snapshot('apart')")
        proxy.mend()
        kernel.until(SENT)
        kernel.until("[r for r in keepstate.status().remarks if 'Another session' in r]")
        assert kernel.say("sorted(s.note for s in keepstate.snapshots() if s.note)") == ["apart", "step 1"]
        kernel.run("(first,) = [s for s in keepstate.snapshots() if s.note == 'step 1']")
        kernel.run("keepstate.restore('step', 'parts', 'trail', at=first)")
        assert kernel.say("[step, torn(), other]") == [1, [], "made without the store"]
        machine.settle()


def test_two_machines_at_once_hide_nothing_of_each_other(place):
    """An old tab and a new machine: both histories stand, the newer is restored, and the user is told."""
    old = place.machine().kernel()
    old.run("who = 'old'; keepstate.track('who'); keepstate.snapshot('old')")
    old.until(SENT)
    new = place.machine().kernel()
    assert new.say("who") == "old"
    new.run("who = 'new'; keepstate.snapshot('new')")
    new.until(SENT)
    old.run("who = 'older'; keepstate.snapshot('older')")
    old.until(SENT)
    old.until("[r for r in keepstate.status().remarks if 'Another session' in r]")

    third = place.machine().kernel()
    assert third.say("who") in ("new", "older")
    assert third.say("sorted(s.note for s in keepstate.snapshots() if s.note)") == ["new", "old", "older"]
    assert "Another session of this notebook wrote at the same time" in third.said
    place.must_be_sound()


def test_two_members_in_one_folder_never_see_each_others_state(place):
    """Nor can one of them begin without saying who it is."""
    ana = place.machine().kernel()
    ana.run("who = 'ana'; keepstate.track('who'); keepstate.snapshot()")
    ana.until(SENT)
    machine = place.machine()
    ben = machine.kernel(start(place.address, member="ben"))
    assert ben.say("[s.restored is None, keepstate.snapshots()]") == [True, []]
    nobody = place.machine().kernel("import keepstate")
    refused = nobody.run(f"keepstate.start(store={place.address!r}, project='p', notebook='n')", ok=False)
    assert "nobody says the member" in refused.error


def test_finish_proves_before_it_returns_and_gives_the_machine_back_only_then(place, tmp_path):
    """On Colab the call that ends the machine comes last; while the store is gone it does not come."""
    colab = tmp_path / "colab" / "google" / "colab"
    colab.mkdir(parents=True)
    (colab.parent / "__init__.py").write_text("")
    (colab / "__init__.py").write_text("")
    (colab / "runtime.py").write_text("calls = []\ndef unassign():\n    calls.append(1)\n")
    kernel = place.machine(KEEPSTATE_HOST="colab", PYTHONPATH=str(tmp_path / "colab")).kernel()
    kernel.run(BEGIN)
    kernel.run("from google.colab import runtime; import keepstate._session.far_side as f")
    place.server.kill()
    try:
        failed = kernel.run("f.STANDSTILL_SECONDS = f.ASK_AGAIN_SECONDS = 1.0; keepstate.finish()", ok=False)
        assert failed.error.startswith("StoreError: not everything has reached")
        assert kernel.say("runtime.calls") == []
        kernel.run(STEP)
    finally:
        place.server.restart()
    done = kernel.run("f.STANDSTILL_SECONDS = 60.0; st = keepstate.finish(); print(st.durability, st.state)")
    assert done.text.split() == ["verified", "stopped"]
    assert kernel.say("runtime.calls") == [1]
