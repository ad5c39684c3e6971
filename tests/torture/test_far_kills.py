"""Machines with a store at a server are killed at random instants, and their disks are wiped."""

import random
import sys

import pytest
from far_store import Campaign, Place
from s3_servers import FlakyProxy, rclone_server, weed_server

pytestmark = pytest.mark.torture

ROUNDS = 200


@pytest.mark.timeout(7200)
def test_what_was_called_verified_is_there_after_every_one_of_two_hundred_kills(tmp_path, capsys):
    """Killed while saving, sending or finishing; a new machine has it, whole, and the newest of it."""
    with weed_server(tmp_path / "server") as server:
        server.create_bucket("bucket")
        place = Place(server, "kills", tmp_path)
        try:
            campaign = Campaign(place, random.Random(4))
            for number in range(ROUNDS):
                campaign.round()
                with capsys.disabled():
                    sys.stdout.write(f"\n{number + 1}: {campaign.told[-1]}")
                    sys.stdout.flush()
            assert campaign.claimed
        finally:
            place.close()


@pytest.mark.timeout(3600)
def test_it_is_there_also_if_one_request_in_twenty_fails(tmp_path, capsys):
    """Forty kills, with a proxy that answers 503, or breaks the connection before or after the request."""
    with rclone_server(tmp_path / "server") as server, FlakyProxy(server.port, seed=5) as proxy:
        server.create_bucket("bucket")
        proxy.fail_share = 0.05
        place = Place(server, "flaky", tmp_path)
        try:
            campaign = Campaign(
                place, random.Random(6), address=server.address("bucket", "flaky", url=proxy.url)
            )
            for number in range(40):
                campaign.round()
                with capsys.disabled():
                    sys.stdout.write(f"\n{number + 1}: {campaign.told[-1]}")
                    sys.stdout.flush()
            assert campaign.claimed
        finally:
            place.close()
