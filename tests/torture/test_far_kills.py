"""Machines with a store at a server are killed at random instants, and lose disk, network and server."""

import random
import sys

import pytest
from far_store import BEGIN, STEP, Campaign, Place, pause, start
from s3_servers import SERVERS, FlakyProxy

from keepstate._base.clock import SYSTEM_CLOCK

pytestmark = pytest.mark.torture

ROUNDS = 50
"""Of each campaign, of which there are four."""
DELAY_SECONDS = 0.02
"""Of each request: a store that is not on this machine, so that more of the kills fall into the sending."""
CELL_SECONDS = 5.0
"""What a cell may take that waits for nothing, on a busy machine."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fail_share", [0.0, 0.05])
@pytest.mark.parametrize("make", ["weed", "rclone"])
def test_what_was_called_verified_is_there_after_every_kill(make, fail_share, tmp_path, capsys):
    """Killed while saving, sending or finishing; a new machine has it, whole, and the newest of it."""
    with SERVERS[make](tmp_path / "server") as server, FlakyProxy(server.port, seed=5) as proxy:
        server.create_bucket("bucket")
        proxy.delay_seconds, proxy.fail_share = DELAY_SECONDS, fail_share
        place = Place(server, "kills", tmp_path)
        try:
            chance = random.Random(f"{make} {fail_share}")
            campaign = Campaign(place, chance, address=server.address("bucket", "kills", url=proxy.url))
            for number in range(ROUNDS):
                campaign.round()
                with capsys.disabled():
                    sys.stdout.write(f"\n{make} {fail_share:.0%} {number + 1}: {campaign.told[-1]}")
                    sys.stdout.flush()
            assert len(campaign.claimed) >= ROUNDS // 2, "it has hit too little of the sending"
        finally:
            place.close()


@pytest.mark.timeout(1800)
def test_a_minute_without_network_and_a_server_that_dies_disturb_no_cell(tmp_path):
    """Slow, one request in twenty failing, a minute away, then killed: all is told, and all arrives."""
    with SERVERS["weed"](tmp_path / "server") as server, FlakyProxy(server.port, seed=7) as proxy:
        server.create_bucket("bucket")
        proxy.delay_seconds, proxy.fail_share = 0.05, 0.05
        place = Place(server, "away", tmp_path)
        try:
            address = server.address("bucket", "away", url=proxy.url)
            machine = place.machine(address=address)
            kernel = machine.kernel(start(address, interval=1.0))
            kernel.run(BEGIN)
            kernel.until("keepstate.status().durability == 'verified'")
            proxy.cut_after_bytes = 500_000
            steps = _work(kernel, 0, 60.0)
            assert kernel.say("keepstate.status().transfer") == "unreachable"
            assert kernel.say("keepstate.status().error")
            proxy.mend()
            steps = _work(kernel, steps, 30.0)
            server.kill()
            steps = _work(kernel, steps, 45.0)
            assert kernel.say("keepstate.status().error")
            server.restart()
            steps = _work(kernel, steps, 30.0)
            kernel.settle()
            kernel.until("keepstate.status().durability == 'verified'", seconds=400.0)
            assert kernel.say("[keepstate.status().error, keepstate.status().pending_bytes]") == [None, 0]
            machine.wipe()
            other = place.machine().kernel()
            assert other.say("[step, torn()]") == [steps, []]
        finally:
            place.close()
        place.must_be_sound()


def _work(kernel, steps, seconds):
    """Run a cell every half second, none of which may print or wait; give how many steps it is then."""
    until = SYSTEM_CLOCK.monotonic() + seconds
    while SYSTEM_CLOCK.monotonic() < until:
        began = SYSTEM_CLOCK.monotonic()
        assert kernel.run(STEP).text == ""
        assert SYSTEM_CLOCK.monotonic() - began < CELL_SECONDS
        steps += 1
        pause(0.5)
    return steps
