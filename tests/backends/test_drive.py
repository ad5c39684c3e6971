"""A folder of Google Drive is a place for bytes, whatever Drive and the network do in between."""

import contextlib
import gc
import http.client
import json
import logging
import os
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from drive_server import FOLDER, ROOT, STEP, DriveServer

from keepstate._base.clock import SYSTEM_CLOCK, ManualClock
from keepstate._base.retry import Backoff
from keepstate.backends import Credentials, Retrying, read_address
from keepstate.backends._drive import open_drive
from keepstate.backends._drive_tokens import StoredCredential
from keepstate.backends._drive_wire import Sessions
from keepstate.errors import (
    AlreadyThereError,
    CredentialsError,
    InvalidInputError,
    KeepstateError,
    NotFoundError,
    StoreError,
    StoreFullError,
    UnavailableError,
)
from keepstate.testing import BackendSuite

QUICK = Backoff(first_seconds=0.01, longest_seconds=0.02, total_seconds=20.0)
HASTY = Backoff(first_seconds=0.01, longest_seconds=0.02, total_seconds=0.05)
LONG = 22 * STEP + 5
"""Bytes that do not go in one request."""


@pytest.fixture
def server():
    with DriveServer() as server:
        yield server


@pytest.fixture
def at(server):
    """Open folders of that server, and close them at the end."""
    with contextlib.ExitStack() as stack:

        def open_it(folder="keepstate", *, patience=QUICK, clock=SYSTEM_CLOCK, **secrets):
            secrets = secrets or {"GDRIVE_TOKEN": server.token}
            address = read_address(server.address(folder))
            drive = open_drive(address, Credentials(secrets), clock=clock, patience=patience)
            return stack.enter_context(contextlib.closing(drive))

        yield open_it


@pytest.fixture
def drive(at):
    return at()


class TestDrive(BackendSuite):
    secrets = ("token-that-is-good",)

    @pytest.fixture
    def backend(self, drive):
        return drive


def found(drive, prefix=""):
    return {item.name: item.nbytes for item in drive.list(prefix)}


# --- the same store as through the mount


def test_objects_are_files_in_folders_of_their_names(server, drive):
    """What a mount would show is the layout of the store."""
    drive.put("keepstate.json", b"{}")
    drive.put("members/me/packs/0a/0a1b.pack", b"pack")
    assert server.paths() == {
        "keepstate/keepstate.json": b"{}",
        "keepstate/members/me/packs/0a/0a1b.pack": b"pack",
    }
    assert len(server.named("members")) == 1


def test_what_the_mount_wrote_is_read(server, drive):
    """Files that no program of ours created are objects, too."""
    server.add("keepstate/members/ana/leases/1.lease", b"lease")
    server.add("elsewhere/members/ana/leases/2.lease", b"other")
    assert found(drive) == {"members/ana/leases/1.lease": 5}
    assert bytes(drive.get("members/ana/leases/1.lease")) == b"lease"
    with pytest.raises(AlreadyThereError):
        drive.put("members/ana/leases/1.lease", b"mine")


def test_a_folder_below_a_folder(server, at):
    """An address may lead deeper, and with names that need escapes."""
    drive = at("Our%20team's/data%20%26%20state")
    drive.put("a/b", b"1")
    assert server.paths() == {"Our team's/data & state/a/b": b"1"}
    assert found(at("Our%20team's/data%20%26%20state")) == {"a/b": 1}


def test_a_shortcut_to_a_folder_that_is_shared_is_followed(server, at):
    """That is how a team's folder gets into the files of its members."""
    theirs = server.add("theirs/team", folder=True)
    server.add("team", target=theirs.id)
    at("team").put("a/b", b"1")
    assert server.paths() == {"theirs/team/a/b": b"1"}
    assert found(at("team")) == {"a/b": 1}


def test_other_files_are_no_objects(server, drive):
    """Names that no object can have, documents of Google's own and shortcuts are passed over."""
    drive.put("a/b", b"1")
    server.add("keepstate/a/Notes of ours.txt", b"text")
    server.add("keepstate/a/Z", b"upper case")
    server.add("keepstate/a/document", b"").mime = "application/vnd.google-apps.document"
    server.add("keepstate/a/shortcut", target=server.named("b")[0].id)
    server.add("keepstate/My folder/c", b"1")
    assert found(drive) == {"a/b": 1}
    with pytest.raises(NotFoundError):
        drive.get("a/document")


# --- names are not unique


def test_folders_of_one_name_are_read_all_and_the_oldest_is_written_to(server, at):
    """Two machines that made a folder at once do not hide anything from each other."""
    server.add("keepstate", folder=True)
    older, newer = (server.add("keepstate/members", folder=True) for _ in range(2))
    for number, folder in enumerate((older, newer)):
        below = server._insert("me", FOLDER, folder.id)
        server._insert(f"n{number}", "application/octet-stream", below.id, b"12345")
    drive = at()
    assert found(drive) == {"members/me/n0": 5, "members/me/n1": 5}
    assert bytes(drive.get("members/me/n1")) == b"12345"
    drive.put("members/me/n2", b"1")
    drive.put("members/ana/n3", b"1")
    assert server.entries[server.named("n2")[0].parents[0]].parents == [older.id]
    assert server.entries[server.named("ana")[0].id].parents == [older.id]


def test_a_second_folder_that_appears_later_is_found(server, at):
    """What is remembered of folders does not keep an object from being found."""
    drive = at()
    drive.put("members/me/n0", b"1")
    store = server.named("keepstate")[0].id
    second = server._insert("members", FOLDER, store)
    below = server._insert("me", FOLDER, second.id)
    server._insert("n1", "application/octet-stream", below.id, b"12345")
    assert drive.stat("members/me/n1").nbytes == 5
    assert found(drive) == {"members/me/n0": 1, "members/me/n1": 5}


def test_equal_files_of_one_name_are_one_object(server, drive):
    """A duplicate is not listed twice, and goes with the object."""
    server.add("keepstate/a/b", b"same")
    server.add("keepstate/a/b", b"same")
    assert [item.name for item in drive.list()] == ["a/b"]
    drive.delete("a/b")
    assert server.paths() == {}


def test_of_different_files_of_one_name_the_oldest_counts(server, at):
    """Every reader takes the same one, and a put refuses."""
    server.add("keepstate/a/b", b"oldest")
    server.add("keepstate/a/b", b"newer one")
    for drive in (at(), at()):
        assert bytes(drive.get("a/b")) == b"oldest"
        assert drive.stat("a/b").nbytes == 6
        assert found(drive) == {"a/b": 6}
        with pytest.raises(AlreadyThereError):
            drive.put("a/b", b"newer one")


def test_of_equally_old_files_of_one_name_the_lesser_id_counts(server, at):
    """Times have milliseconds, and two machines may be as fast."""
    folder = server.add("keepstate/a", folder=True).id
    octets = "application/octet-stream"
    two = [
        server._insert("b", octets, folder, data, file_id) for file_id, data in (("1z", b"1"), ("1a", b"22"))
    ]
    two[1].created = two[0].created
    assert bytes(at().get("a/b")) == b"22"
    assert found(at()) == {"a/b": 2}


def test_replacing_leaves_one_file(server, drive):
    """The oldest gets the bytes, so that no reader is misled for a moment, and duplicates go."""
    oldest = server.add("keepstate/a/b", b"oldest")
    server.add("keepstate/a/b", b"newer")
    drive.put("a/b", b"replaced", replace=True)
    assert server.paths() == {"keepstate/a/b": b"replaced"}
    assert server.named("b")[0].id == oldest.id


def test_two_threads_make_a_folder_once(server, drive):
    """Folders that one process makes are never doubled by itself."""
    together = threading.Barrier(8)

    def put(number):
        together.wait(30)
        drive.put(f"members/me/packs/{number}", b"1")

    with ThreadPoolExecutor(8) as pool:
        [*pool.map(put, range(8))]
    assert sorted(entry.name for entry in server.entries.values() if entry.mime == FOLDER) == sorted(
        ["My Drive", "keepstate", "members", "me", "packs"]
    )


# --- folders that go


@pytest.mark.parametrize("way", ["deleted", "thrown away"])
def test_a_folder_that_goes_is_made_anew(server, at, way):
    """What is remembered of it does not swallow objects."""
    drive = at()
    drive.put("members/me/a", b"1")
    members = server.named("members")[0]
    if way == "deleted":
        server.remove(members.id)
    else:
        server.throw_away(members)
    assert found(drive) == {}
    with pytest.raises(NotFoundError):
        drive.stat("members/me/a")
    drive.put("members/me/b", b"2")
    assert server.paths() == {"keepstate/members/me/b": b"2"}


@pytest.mark.parametrize("nbytes", [10, LONG])
def test_a_folder_that_is_deleted_before_a_put_is_made_anew_at_once(server, drive, nbytes):
    """The refusal of a file in a folder that is not there is no failure of the put."""
    drive.put("members/me/a", b"1")
    server.remove(server.named("members")[0].id)
    drive.put("members/me/b", bytes(nbytes))
    assert server.paths() == {"keepstate/members/me/b": bytes(nbytes)}


@pytest.mark.parametrize("nbytes", [10, LONG])
@pytest.mark.parametrize("replace", [False, True])
def test_what_goes_between_a_look_and_a_put_is_looked_for_again(server, drive, nbytes, replace):
    """A folder, or the file that was to be replaced, that somebody deletes just then is no failure."""
    drive.put("a/b", b"first")
    server.fail("multipart" if nbytes == 10 else "session", "notFound", status=404)
    name = "a/b" if replace else "a/c"
    drive.put(name, bytes(nbytes), replace=replace)
    assert server.paths()[f"keepstate/{name}"] == bytes(nbytes)


def test_folders_that_go_again_and_again_are_told(server, drive):
    """Nothing goes round in circles."""
    server.fail("multipart", "notFound", status=404, times=1000)
    with pytest.raises(UnavailableError, match="somebody else"):
        drive.put("a/b", b"1")


def test_nothing_is_kept_in_the_bin(server, drive):
    """A put into a folder that was thrown away is no success, and the next one makes another folder."""
    drive.put("members/me/a", b"1")
    server.throw_away(server.named("members")[0])
    with pytest.raises(UnavailableError, match="thrown away"):
        drive.put("members/me/b", b"2")
    drive.put("members/me/b", b"2")
    assert server.paths() == {"keepstate/members/me/b": b"2"}
    assert len(server.named("b")) == 1


def test_a_deletion_does_not_fill_the_bin(server, drive):
    """The space is free at once."""
    drive.put("a/b", b"12345")
    drive.delete("a/b")
    assert (drive.space().used, drive.space().in_trash) == (0, 0)
    assert server.counts["delete"] == 1


# --- proof


@pytest.mark.parametrize("nbytes", [10, LONG])
def test_bytes_that_arrive_damaged_are_refused(server, drive, nbytes):
    """The checksum tells, the damaged file goes, and the next try is a new file."""
    server.corrupts = 1
    with pytest.raises(UnavailableError, match="are not the"):
        drive.put("a/b", bytes(nbytes))
    assert server.paths() == {}
    with pytest.raises(NotFoundError):
        drive.stat("a/b")
    drive.put("a/b", bytes(nbytes))
    assert server.paths() == {"keepstate/a/b": bytes(nbytes)}


def test_a_checksum_that_comes_late_is_asked_for(server, drive):
    """An answer without one is no proof, and a second look may have it."""
    server.no_checksum_for = 1
    drive.put("a/b", b"12345")
    assert (server.counts["multipart"], server.counts["get"]) == (1, 2)  # root, and the file


def test_without_a_checksum_there_is_no_success(server, drive):
    """The bytes are not called kept before Drive has said so, and then nothing is sent again."""
    server.no_checksum_for = 2
    with pytest.raises(UnavailableError, match="no checksum"):
        drive.put("a/b", b"12345")
    drive.put("a/b", b"12345")
    assert server.counts["multipart"] == 1
    assert server.paths() == {"keepstate/a/b": b"12345"}


# --- lost answers


@pytest.mark.parametrize("nbytes", [10, LONG])
@pytest.mark.parametrize("lag", [0, 5])
def test_a_lost_answer_leaves_no_duplicate(server, at, nbytes, lag):
    """The next put of the same bytes finds its own success by the id, however late the listing is."""
    drive = at(patience=HASTY)
    server.lag_lists = lag
    data = os.urandom(nbytes)
    kinds = ("multipart",) if nbytes == 10 else ("send", "probe")
    for kind in kinds:
        server.fail(kind, drop=True, after=True, times=100)
    with pytest.raises(UnavailableError):
        drive.put("a/b", data)
    server.faults.clear()
    assert server.paths() == {"keepstate/a/b": data}
    drive.put("a/b", data)
    assert server.paths() == {"keepstate/a/b": data}
    with pytest.raises(AlreadyThereError):
        drive.put("a/b", data)


def test_a_refusal_of_what_was_done_leaves_no_duplicate(server, drive):
    """Drive has been seen to create a file and to answer that the rate was too high."""
    server.fail("multipart", "userRateLimitExceeded", after=True)
    with pytest.raises(UnavailableError):
        drive.put("a/b", b"12345")
    drive.put("a/b", b"12345")
    assert server.paths() == {"keepstate/a/b": b"12345"}


def test_after_a_lost_answer_other_bytes_are_refused(server, drive):
    """An object is there, and which one is not for the second put to say."""
    server.fail("multipart", drop=True, after=True)
    with pytest.raises(UnavailableError):
        drive.put("a/b", b"12345")
    with pytest.raises(AlreadyThereError):
        drive.put("a/b", b"others")
    assert server.paths() == {"keepstate/a/b": b"12345"}


def test_deleting_after_a_lost_answer_leaves_nothing(server, drive):
    """Also where no listing shows the file yet."""
    server.lag_lists = 100
    server.fail("multipart", drop=True, after=True)
    with pytest.raises(UnavailableError):
        drive.put("a/b", b"12345")
    drive.delete("a/b")
    assert server.paths() == {}


def test_a_lost_answer_to_the_making_of_a_folder_leaves_no_duplicate(server, drive):
    """Folders have ids that were chosen before, too."""
    server.lag_lists = 100
    server.fail("create", drop=True, after=True)
    with pytest.raises(UnavailableError):
        drive.put("a/b", b"1")
    drive.put("a/b", b"1")
    assert len(server.named("keepstate")) == 1
    assert server.paths() == {"keepstate/a/b": b"1"}


def test_a_replacement_whose_answer_was_lost_is_repeated(server, drive):
    """It is the same file and the same bytes."""
    for nbytes in (10, LONG):
        drive.put("a/b", b"first", replace=True)
        data = os.urandom(nbytes)
        server.fail("multipart" if nbytes == 10 else "send", drop=True, after=True)
        with contextlib.suppress(UnavailableError):
            drive.put("a/b", data, replace=True)
        drive.put("a/b", data, replace=True)
        assert server.paths() == {"keepstate/a/b": data}


# --- resuming


def test_a_long_object_goes_in_one_request(server, drive):
    """One for the session, and one for all bytes."""
    data = os.urandom(LONG)
    drive.put("b", data)
    counts = {kind: server.counts[kind] for kind in ("session", "send", "probe", "multipart")}
    assert counts == {"session": 1, "send": 1, "probe": 0, "multipart": 0}


def test_an_upload_goes_on_where_it_was_cut(server, drive):
    """Drive is asked how much it has, and only the rest is sent."""
    data = os.urandom(LONG)
    server.cuts_after = [5 * STEP + 1000, 7 * STEP]
    drive.put("b", data)
    assert server.paths() == {"keepstate/b": data}
    assert (server.counts["session"], server.counts["send"], server.counts["probe"]) == (1, 3, 2)


def test_an_upload_that_was_cut_before_anything_arrived_begins_at_the_start(server, drive):
    """An answer without a range means that nothing is there."""
    data = os.urandom(LONG)
    server.cuts_after = [1000]
    drive.put("b", data)
    assert server.paths() == {"keepstate/b": data}


def test_the_rest_is_sent_if_only_a_part_was_stored(server, drive):
    """It is never assumed that all of a request was kept."""
    data = os.urandom(LONG)
    server.stores_at_most = [3 * STEP, STEP, STEP]
    drive.put("b", data)
    assert server.paths() == {"keepstate/b": data}
    assert (server.counts["send"], server.counts["probe"]) == (4, 0)


def test_a_server_that_stores_nothing_is_not_asked_for_ever(server, at):
    """The put ends with an error when its patience does."""
    server.stores_at_most = [0] * 10_000
    with pytest.raises(UnavailableError, match="no more bytes"):
        at(patience=HASTY).put("b", bytes(LONG))
    assert server.counts["session"] == 1


def test_as_long_as_bytes_arrive_a_put_goes_on(server, at):
    """Its patience begins anew with each piece that Drive has."""
    data = os.urandom(LONG)
    server.cuts_after = [STEP + 1] * 22
    patience = Backoff(first_seconds=0.1, longest_seconds=0.1, total_seconds=2.0)
    clock = Ticking()
    at(patience=patience, clock=clock).put("b", data)
    assert clock.seconds > 4 * patience.total_seconds
    assert server.paths() == {"keepstate/b": data}
    assert server.counts["session"] == 1


class Ticking(ManualClock):
    """A clock that moves with every look at it."""

    step = 0.1

    def monotonic(self):
        self.seconds += self.step
        return self.seconds

    def wait(self, event, seconds):
        self.seconds += seconds
        return event.is_set()


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_failure_in_mid_upload_is_followed_by_a_question(server, drive, status):
    """Drive is asked how much it has."""
    data = os.urandom(LONG)
    server.fail("send", status=status, times=2)
    drive.put("b", data)
    assert server.paths() == {"keepstate/b": data}
    assert (server.counts["session"], server.counts["probe"]) == (1, 2)


@pytest.mark.parametrize("status", [404, 410])
def test_a_session_that_is_gone_is_replaced_for_the_same_file(server, drive, status):
    """The id stays, so there is one file whatever happens."""
    data = os.urandom(LONG)
    server.cuts_after = [9 * STEP]
    server.fail("probe", "notFound", status=status)
    drive.put("b", data)
    assert server.paths() == {"keepstate/b": data}
    assert server.counts["session"] == 2


def test_a_session_that_is_gone_because_it_succeeded_is_a_success(server, drive):
    """A new one is refused, because a file of that id is there, and its checksum is compared."""
    data = os.urandom(LONG)
    server.fail("send", drop=True, after=True)
    server.fail("probe", "notFound", status=404)
    drive.put("b", data)
    assert server.paths() == {"keepstate/b": data}
    assert (server.counts["session"], server.counts["send"]) == (2, 1)


def test_sessions_that_are_always_gone_end_the_put(server, at):
    """Nothing goes round in circles."""
    server.fail("send", "notFound", status=404, times=1000)
    with pytest.raises(UnavailableError):
        at(patience=HASTY).put("b", bytes(LONG))
    assert server.counts["session"] <= 30


def test_a_refusal_that_another_session_does_not_mend_is_told(server, drive):
    """After three sessions it is an error, and not an upload without end."""
    server.fail("send", "invalid", status=400, times=1000)
    with pytest.raises(StoreError, match="invalid") as raised:
        drive.put("b", bytes(LONG))
    assert not isinstance(raised.value, UnavailableError)
    assert server.counts["session"] == 3


def test_the_next_put_of_the_same_bytes_goes_on(server, at):
    """A break of the network that outlasts the patience of one call costs no byte twice."""
    drive = at(patience=HASTY)
    data = os.urandom(LONG)
    server.cuts_after = [9 * STEP]
    server.fail("probe", drop=True, times=1000)
    with pytest.raises(UnavailableError):
        drive.put("b", data)
    server.faults.clear()
    drive.put("b", data)
    assert server.paths() == {"keepstate/b": data}
    assert (server.counts["session"], server.counts["send"]) == (1, 2)


def test_a_put_that_is_stopped_ends_at_once(server, at):
    """Closing ends the waiting of other threads."""
    drive = at(patience=Backoff(first_seconds=300.0, longest_seconds=300.0, total_seconds=600.0))
    server.fail("send", status=503, times=1000)
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(drive.put, "b", bytes(LONG))
        wait_for(lambda: server.counts["send"])
        drive.close()
        with pytest.raises(UnavailableError):
            putting.result(30)


def wait_for(condition):
    until = SYSTEM_CLOCK.monotonic() + 30
    while not condition():
        assert SYSTEM_CLOCK.monotonic() < until
        threading.Event().wait(0.01)


@pytest.mark.parametrize("operation", ["put", "get"])
def test_a_network_that_is_too_slow_ends_a_call(server, at, operation):
    """However slowly bytes come, a call has an end."""
    clock = Ticking()
    drive = at(clock=clock, patience=HASTY)
    drive.put("a", bytes(LONG))
    clock.step = 30.0
    with pytest.raises(UnavailableError, match="too slow"):
        drive.put("b", bytes(LONG)) if operation == "put" else drive.get("a")


def test_many_failures_lose_and_double_nothing(server, at):
    """With a fifth of all requests failing, before or after what they do, every object is there once."""
    drive = at(GDRIVE_CREDENTIALS=server.credential())
    patient = Retrying(drive, stop=threading.Event(), backoff=QUICK)
    server.fail_share, server.lag_lists = 0.2, 3
    objects = {
        f"a/{number % 5}/{number}": os.urandom(LONG if number % 10 == 0 else 50) for number in range(60)
    }

    def there_and_back(name):
        patient.put(name, objects[name])
        return patient.get(name) == objects[name]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(there_and_back, objects))
    assert server.paths() == {f"keepstate/{name}": data for name, data in objects.items()}
    for name in [*objects][::2]:
        patient.delete(name)
        del objects[name]
    server.fail_share = 0.0
    assert server.paths() == {f"keepstate/{name}": data for name, data in objects.items()}


# --- refusals


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("userRateLimitExceeded", UnavailableError),
        ("rateLimitExceeded", UnavailableError),
        ("dailyLimitExceeded", UnavailableError),
        ("backendError", UnavailableError),
        ("internalError", UnavailableError),
        ("storageQuotaExceeded", StoreFullError),
        ("activeItemCreationLimitExceeded", StoreFullError),
        ("insufficientPermissions", CredentialsError),
        ("insufficientFilePermissions", StoreError),
    ],
)
@pytest.mark.parametrize("request_kind", ["list", "multipart", "session"])
def test_a_refusal_is_read_by_its_reason(server, at, reason, kind, request_kind):
    """The number alone would not tell what to do."""
    drive = at(patience=HASTY)
    server.fail(request_kind, reason, times=1000)
    with pytest.raises(StoreError) as raised:
        drive.put("a/b", bytes(LONG if request_kind == "session" else 10))
    assert type(raised.value) is kind
    assert reason in str(raised.value)
    assert "gdrive://keepstate" in str(raised.value)


def test_a_wait_that_is_asked_for_is_passed_on(server, drive):
    """It is the caller who waits."""
    server.fail("list", "userRateLimitExceeded", Retry_After=17)
    with pytest.raises(UnavailableError) as raised:
        [*drive.list()]
    assert raised.value.retry_after_seconds == 17


def test_the_limit_of_a_day_is_waited_for_by_hours(server, drive):
    """Nobody asks again in a minute."""
    server.fail("list", "dailyLimitExceeded")
    with pytest.raises(UnavailableError) as raised:
        [*drive.list()]
    assert raised.value.retry_after_seconds >= 3600


def test_the_newer_form_of_a_refusal_is_read_as_well():
    """Reasons stand in the details then."""
    from keepstate.backends._drive_errors import read_refusal

    body = {
        "error": {
            "code": 403,
            "message": "Request had insufficient authentication scopes.",
            "status": "PERMISSION_DENIED",
            "details": [{"@type": "...ErrorInfo", "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}],
        }
    }
    error = read_refusal(
        403, {}, json.dumps(body).encode(), doing="x", redact=str, now=SYSTEM_CLOCK.utc_now()
    )
    assert isinstance(error, CredentialsError)


@pytest.mark.parametrize("nbytes", [50, LONG])
def test_a_full_account_says_how_full_it_is(server, drive, nbytes):
    """What the bin holds counts, and the sentence says so."""
    server.limit_bytes = LONG
    server.other_usage = LONG - 30
    server.throw_away(server.add("thrown-away", b"x" * 20))
    with pytest.raises(StoreFullError, match=r"5\.8 MB of 5\.8 MB are used, 20 B of them by the bin"):
        drive.put("a/b", bytes(nbytes))
    space = drive.space()
    assert (space.used, space.limit, space.in_trash) == (LONG - 10, LONG, 20)
    assert server.counts["multipart"] + server.counts["session"] == 1


def test_an_account_without_a_limit(server, drive):
    """Its space has none."""
    assert drive.space().limit is None
    assert "no limit" in str(drive.space())


def test_a_full_account_whose_space_is_not_told(server, drive):
    """The first error stays the first."""
    server.fail("multipart", "storageQuotaExceeded")
    server.fail("about", "backendError")
    with pytest.raises(StoreFullError, match="bin counts"):
        drive.put("a/b", b"1")


@pytest.mark.parametrize("kind", ["put", "get", "stat", "list", "delete", "space"])
def test_a_server_that_is_not_there_is_unavailable(server, drive, kind):
    """Nothing else comes out of any call."""
    drive.put("a/b", b"1")
    for each in ("get", "list", "download", "delete", "about", "multipart"):
        server.fail(each, drop=True, times=100)
    call = {
        "put": lambda: drive.put("a/c", b"2"),
        "get": lambda: drive.get("a/b"),
        "stat": lambda: drive.stat("a/b"),
        "list": lambda: drive.list(),
        "delete": lambda: drive.delete("a/b"),
        "space": drive.space,
    }[kind]
    with pytest.raises(UnavailableError, match="connection"):
        call()


def test_a_server_that_cannot_be_reached_is_unavailable(at):
    """A refused connection, too."""
    with DriveServer() as gone:
        pass
    drive = open_drive(read_address(gone.address()), Credentials({"GDRIVE_TOKEN": "t" * 10}))
    with contextlib.closing(drive), pytest.raises(UnavailableError, match="connection"):
        drive.list()


@pytest.mark.parametrize(
    "answer",
    [b"<html>Sign in to this network</html>", b"", b"[]", b'{"files": [{"id": 5}]}', b'{"files": 1}'],
)
def test_an_answer_that_is_none_is_unavailable(server, drive, answer, monkeypatch):
    """The page of a hotel's network is not taken for an empty listing."""
    monkeypatch.setattr("drive_server._Handler.list", lambda handler: (200, {}, answer))
    with pytest.raises(UnavailableError, match="no answer of Drive"):
        drive.list()


def test_a_search_that_was_not_complete_is_no_listing(server, drive, monkeypatch):
    """Drive says so itself."""
    monkeypatch.setattr(
        "drive_server._Handler.list", lambda handler: (200, {}, {"files": [], "incompleteSearch": True})
    )
    with pytest.raises(UnavailableError, match="everywhere"):
        drive.list()


def test_a_listing_that_breaks_off_is_none(server, drive):
    """A page that fails is not the end."""
    for number in range(5):
        drive.put(f"a/{number}", b"1")
    server.most_per_page = 2
    server.fail("list", "backendError", times=0)
    assert len(found(drive)) == 5
    before = server.counts["list"]
    server.faults = [later("list", 3)]
    with pytest.raises(UnavailableError):
        drive.list()
    assert server.counts["list"] == before + 4


class later:
    """A fault of the request after so many others of its kind."""

    def __init__(self, kind, count):
        self._kind, self._left, self.times, self.after, self.drop = kind, count, 1, False, True

    @property
    def kind(self):
        self._left -= 1
        return self._kind if self._left == -1 else None


# --- reading


def test_an_object_that_breaks_off_is_not_taken_for_whole(server, drive, monkeypatch):
    """Its length was announced."""
    drive.put("a", bytes(1000))

    def cut_off(handler, file_id):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(bytes(500))
        handler.wfile.flush()
        handler.connection.shutdown(2)
        raise ConnectionResetError

    monkeypatch.setattr("drive_server._Handler.download", cut_off)
    with pytest.raises(UnavailableError):
        drive.get("a")


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, bytes(100)),
        (206, {"Content-Range": "bytes 0-9/1000"}, bytes(10)),
        (206, {"Content-Range": "bytes 10-14/1000"}, bytes(5)),
        (206, {"Content-Range": "bytes 10-19/1000"}, bytes(5)),
        (206, {}, bytes(10)),
        (206, {"Content-Range": "bytes 10-29/1000"}, bytes(20)),
    ],
)
def test_another_range_is_not_taken(server, drive, answer, monkeypatch):
    """Bytes of another place would be a silent wrong value."""
    drive.put("a", bytes(1000))
    monkeypatch.setattr("drive_server._Handler.download", lambda handler, file_id: answer)
    with pytest.raises(UnavailableError):
        drive.get("a", start=10, length=10)


def test_a_file_that_was_replaced_by_another_is_found_again(server, drive):
    """An id that is remembered and gone is looked up."""
    drive.put("a/b", b"first")
    server.remove(server.named("b")[0].id)
    server.add("keepstate/a/b", b"second")
    assert bytes(drive.get("a/b")) == b"second"
    server.remove(server.named("b")[0].id)
    server.add("keepstate/a/b", b"the third")
    assert drive.stat("a/b").nbytes == 9


def test_a_listing_that_shows_what_is_deleted_does_not_confuse(server, at):
    """A look by the id is what counts."""
    drive = at()
    drive.put("a/b", b"first")
    server.ghost_lists = 100
    drive.delete("a/b")
    for call in (lambda: drive.get("a/b"), lambda: drive.stat("a/b"), lambda: at().get("a/b")):
        with pytest.raises(NotFoundError):
            call()
    drive.put("a/b", b"second")
    assert server.paths() == {"keepstate/a/b": b"second"}
    assert bytes(drive.get("a/b")) == b"second"


def test_what_was_put_is_read_however_late_the_listing_is(server, drive):
    """Who has put an object knows its id; a second put is refused, and a deletion works."""
    server.lag_lists = 1000
    drive.put("a/b", b"first")
    assert bytes(drive.get("a/b")) == b"first"
    assert drive.stat("a/b").nbytes == 5
    drive.put("a/c", b"1")
    assert len(server.named("a")) == 1
    with pytest.raises(AlreadyThereError):
        drive.put("a/b", b"second")
    drive.put("a/b", b"second", replace=True)
    drive.delete("a/c")
    assert server.paths() == {"keepstate/a/b": b"second"}


def test_folders_are_not_made_again_while_listings_are_late(server, drive):
    """What was made here is known, also after a listing that misses it."""
    server.lag_lists = 1000
    drive.put("a/b", b"1")
    assert found(drive) == {}
    drive.put("a/c", b"1")
    drive.put("d/e", b"1")
    assert len(server.named("keepstate")) == len(server.named("a")) == 1
    assert server.paths().keys() == {"keepstate/a/b", "keepstate/a/c", "keepstate/d/e"}


# --- few requests


def test_a_deep_listing_takes_few_requests(server, at):
    """One for the folders above, one for each level and 50 folders, and one for each page."""
    for number in range(120):
        server.add(f"keepstate/members/me/packs/{number:02x}/{number}.pack", b"1")
    drive = at()
    assert len(found(drive, "members/me/packs/")) == 120
    assert server.counts["list"] == 1 + 1 + 3
    assert server.counts["get"] == 1


def test_a_listing_goes_over_pages(server, at):
    """Whatever the length of a page."""
    names = {f"keepstate/a/{number}": b"1" for number in range(25)}
    for name, data in names.items():
        server.add(name, data)
    server.most_per_page = 7
    assert {f"keepstate/{name}" for name in found(at())} == names.keys()


def test_nothing_for_several_folders_is_not_believed(server, at):
    """Drive has been seen to answer so, though there were files."""
    for number in range(5):
        server.add(f"keepstate/a/{number}/file", b"1")
    server.nothing_for_many = True
    assert len(found(at())) == 5


def test_reading_what_was_listed_takes_one_request(server, at):
    """Ids are remembered."""
    server.add("keepstate/a/b", b"12345")
    drive = at()
    [*drive.list()]
    server.counts.clear()
    assert bytes(drive.get("a/b", start=1, length=2)) == b"23"
    assert server.counts == {"download": 1}


def test_writing_in_a_folder_that_is_known_takes_two_requests(server, drive):
    """Is it there, and create it; ids come a hundred at a time."""
    drive.put("a/1", b"1")
    server.counts.clear()
    drive.put("a/2", b"1")
    assert server.counts == {"list": 1, "multipart": 1}


def test_connections_are_used_again(server, drive):
    """Each new one would cost the handshakes."""
    for number in range(10):
        drive.put(f"a/{number}", b"1")
        drive.get(f"a/{number}")
        with pytest.raises(AlreadyThereError):
            drive.put(f"a/{number}", b"1")
        drive.delete(f"a/{number}")
    assert server.connections == 1


def test_it_says_what_it_promises(drive):
    """No two machines are kept apart, listings are late, and the proof is a checksum."""
    promised = drive.properties
    assert (promised.proof, promised.atomic_create, promised.far) == ("checksum", False, True)
    assert (promised.puts_per_second, promised.most_at_once) == (2.0, 4)
    assert promised.listing_delay_seconds == 60.0
    assert promised.units == {"put": 150, "get": 200, "stat": 5, "list": 200, "delete": 150}


# --- tokens


def test_a_fixed_token_that_is_worn_out_is_told(server, drive):
    """Nothing but another one helps."""
    drive.put("a", b"1")
    server.expire_tokens()
    with pytest.raises(CredentialsError, match="GDRIVE_TOKEN"):
        drive.get("a")


def test_a_stored_credential_renews_itself(server, at):
    """A token that the server does not take any more is renewed once, and the call goes on."""
    drive = at(GDRIVE_CREDENTIALS=server.credential())
    drive.put("a", b"1")
    server.expire_tokens()
    assert bytes(drive.get("a")) == b"1"
    assert server.counts["token"] == 2


@pytest.mark.parametrize("kind", ["multipart", "session", "send"])
def test_a_token_may_end_in_mid_upload(server, at, kind):
    """The request is sent again with the new one, with all of its bytes."""
    drive = at(GDRIVE_CREDENTIALS=server.credential())
    data = os.urandom(10 if kind == "multipart" else LONG)
    server.fail(kind, "authError")
    drive.put("b", data)
    assert server.paths() == {"keepstate/b": data}
    assert server.counts["token"] == 1 + 1


def test_many_threads_renew_a_token_once(server, at):
    """The others take the one that came meanwhile."""
    drive = at(GDRIVE_CREDENTIALS=server.credential())
    drive.put("a", b"1")
    server.expire_tokens()
    together = threading.Barrier(8)

    def get(_number):
        together.wait(30)
        return bytes(drive.get("a"))

    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(get, range(8))] == [b"1"] * 8
    assert server.counts["token"] == 2


def test_a_token_is_renewed_before_its_end(server):
    """A request that is on its way for a while still carries a good one."""
    clock = ManualClock()
    tokens = StoredCredential(server.credential(), clock=clock)
    first = tokens.token()
    clock.advance(server.token_seconds - 61)
    assert tokens.token() == first
    clock.advance(2)
    assert tokens.token() != first
    tokens.close()


def test_a_sign_in_that_was_withdrawn_is_told(server, at):
    """The sentence says what to do."""
    drive = at(GDRIVE_CREDENTIALS=server.credential())
    drive.put("a", b"1")
    server.expire_tokens()
    server.refresh_tokens.clear()
    with pytest.raises(CredentialsError, match=r"invalid_grant.*start\(\)"):
        drive.get("a")


def test_a_token_that_is_refused_right_after_its_renewal_ends_the_call(server, at):
    """It is renewed once, and not for ever."""
    drive = at(GDRIVE_CREDENTIALS=server.credential())
    server.fail("list", "authError", times=1000)
    server.fail("get", "authError", times=1000)
    with pytest.raises(CredentialsError):
        drive.list()
    assert server.counts["token"] == 2


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}, {"status": 429}])
def test_a_server_of_tokens_that_fails_is_unavailable(server, at, fault):
    """The sign-in is still good."""
    drive = at(GDRIVE_CREDENTIALS=server.credential())
    server.fail("token", **fault)
    with pytest.raises(UnavailableError, match="tokens"):
        drive.list()
    assert found(drive) == {}


@pytest.mark.parametrize(
    "text", ["", "no json", "{}", "[1]", '{"client_id": "a", "client_secret": "b", "refresh_token": 5}']
)
def test_what_is_no_stored_credential_is_refused(text):
    """At once, and without a word of it."""
    with pytest.raises(CredentialsError, match="GDRIVE_CREDENTIALS has no"):
        StoredCredential(text)


@pytest.mark.parametrize("uri", ["http://example.com/token", "ftp://127.0.0.1/", "nothing", 5])
def test_a_secret_is_not_sent_in_the_clear(server, uri):
    """Whatever address stands beside it."""
    stored = {**json.loads(server.credential()), "token_uri": uri}
    with pytest.raises(CredentialsError, match="https"):
        StoredCredential(json.dumps(stored))


@pytest.mark.parametrize("endpoint", ["http://example.com", "ftp://127.0.0.1", "example.com", "http://"])
def test_a_token_is_not_sent_to_just_anybody(endpoint):
    """Plain http is for this machine alone."""
    address = read_address(f"gdrive://keepstate?endpoint={endpoint}")
    with pytest.raises(InvalidInputError, match="endpoint"):
        open_drive(address, Credentials({"GDRIVE_TOKEN": "secret-token"}))


@pytest.mark.parametrize("folder", ["..", ".", "a/../b", "a/."])
def test_an_address_leads_downwards(folder):
    """Names of folders that mean something else elsewhere are refused."""
    with pytest.raises(InvalidInputError):
        open_drive(read_address(f"gdrive://{folder}"), Credentials())


_SIGNED_IN = """
import contextlib, sys
from keepstate.backends import Credentials, Retrying, read_address
from keepstate.backends._drive import open_drive
with contextlib.closing(open_drive(read_address(sys.argv[1]), Credentials())) as drive:
    drive.put("a/b", b"12345")
    print(bytes(drive.get("a/b")).decode(), flush=True)
    input()
    print(drive.stat("a/b").nbytes)
"""


def test_a_sign_in_on_a_machine_of_googles_is_used(server, tmp_path):
    """Its metadata server gives tokens to any process, and new ones when they are worn out."""
    environment = {
        **os.environ,
        "GCE_METADATA_HOST": f"127.0.0.1:{server.port}",
        "GCE_METADATA_IP": f"127.0.0.1:{server.port}",
        "HOME": str(tmp_path),
        "CLOUDSDK_CONFIG": str(tmp_path),
    }
    environment.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _SIGNED_IN, server.address()],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            first = process.stdout.readline()
            server.expire_tokens()
            rest, errors = process.communicate("\n", timeout=60)
        finally:
            process.kill()
    assert (first, rest, errors) == ("12345\n", "5\n", "")
    assert server.paths() == {"keepstate/a/b": b"12345"}


def test_without_a_sign_in_it_says_what_to_do(server, tmp_path):
    """No call of a library gets through to the user."""
    environment = {
        **os.environ,
        "NO_GCE_CHECK": "true",
        "HOME": str(tmp_path),
        "CLOUDSDK_CONFIG": str(tmp_path),
    }
    environment.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _SIGNED_IN, server.address()],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "CredentialsError: nobody has signed in to Google here" in done.stderr
    assert "start()" in done.stderr
    assert "DefaultCredentialsError" not in done.stderr


# --- nothing is heard of it


def test_nothing_is_logged_or_printed(server, at, caplog, capfd, monkeypatch):
    """At the most talkative level of all libraries, and with what http.client prints."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    caplog.set_level(0)
    for name in ("urllib3", "urllib3.connectionpool", "google.auth"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    drive = at(GDRIVE_CREDENTIALS=server.credential())
    server.cuts_after = [STEP]
    drive.put("a/b", bytes(LONG))
    drive.get("a/b")
    [*drive.list()]
    assert [record for record in caplog.records if record.name.startswith(("urllib3", "google"))] == []
    assert capfd.readouterr() == ("", "")


def test_records_of_others_are_left_alone(server, drive, caplog):
    """A user's own requests are logged as before."""
    drive.put("a", b"1")
    with caplog.at_level(logging.DEBUG, "urllib3.connectionpool"):
        logging.getLogger("urllib3.connectionpool").debug("the user's own")
    assert [record.getMessage() for record in caplog.records] == ["the user's own"]


def test_no_error_shows_a_secret(server, at):
    """Neither tokens, nor what is stored, nor the address of an upload, in any error or what led to it."""
    drive = at(patience=HASTY, GDRIVE_CREDENTIALS=server.credential())
    drive.put("a", b"1")
    token = server.token
    said = [repr(drive), repr(drive._calls)]

    def fails(call):
        with pytest.raises(KeepstateError) as raised:
            call()
        said.append("".join(traceback.format_exception(raised.value)))

    server.fail("get", status=400, text=f"Bad token {token} of client-secret")
    fails(lambda: drive.stat("a"))
    server.fail("send", drop=True, times=1000)
    server.fail("probe", drop=True, times=1000)
    fails(lambda: drive.put("b", bytes(LONG)))
    server.expire_tokens()
    server.fail("token", "invalid_grant", status=400, text="no refresh-token-1 here")
    fails(lambda: drive.list())
    text = "\n".join(said)
    assert "Bad token <secret> of <secret>" in text
    assert "no <secret> here" in text
    assert len(server.uploads) == 1
    for secret in (token, "client-secret", "refresh-token-1", *server.uploads):
        assert secret not in text


def test_passwords_of_netrc_do_not_take_the_place_of_the_token(server, tmp_path, monkeypatch):
    """They belong to others."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with contextlib.closing(Sessions(on_this_machine=False)) as sessions, sessions.one() as session:
        headers = {"Authorization": f"Bearer {server.token}"}
        with session.get(f"{server.url}/drive/v3/files", headers=headers) as answer:
            assert answer.status_code == 200


def test_a_token_goes_to_no_other_server(drive):
    """The address of an upload may lead to one."""
    assert "Authorization" in drive._calls._address("/drive/v3/files", "token", None)[1]
    assert drive._calls._address("https://elsewhere/1", "token", {"A": "b"}) == (
        "https://elsewhere/1",
        {"A": "b"},
    )


def test_a_redirect_is_not_followed(server, drive, monkeypatch):
    """It could lead a token elsewhere."""
    monkeypatch.setattr(
        "drive_server._Handler.list", lambda handler: (302, {"Location": "http://127.0.0.1:1/"}, b"")
    )
    with pytest.raises(StoreError, match="redirects"):
        drive.list()


def test_a_session_elsewhere_is_not_given_the_token(server, drive, monkeypatch):
    """And none that is not encrypted is used."""
    monkeypatch.setattr(
        "drive_server._Handler.begin",
        lambda handler, file_id: (handler.read() and 200, {"Location": "http://127.0.0.1:1/steal"}, b""),
    )
    with pytest.raises(StoreError, match="not safe"):
        drive.put("b", bytes(LONG))


def test_everything_is_closed(server, at):
    """Connections of all threads end with the backend."""
    drive = at()
    with ThreadPoolExecutor(4) as pool:
        [*pool.map(lambda number: drive.put(f"a/{number}", b"1"), range(8))]
    drive.close()
    assert drive._calls._sessions._idle == []
    gc.collect()  # a socket that was left open would be a warning, and that an error


def test_times_are_those_of_drive(server, drive):
    """Aware, in UTC."""
    drive.put("a", b"1")
    item = drive.stat("a")
    assert item.modified == server.named("a")[0].modified
    assert item.modified.utcoffset() == timedelta(0)
    assert server.entries[ROOT].created <= item.modified
