"""Google's own client takes our Drive on loopback for Drive."""

import io
import json
import os

import pytest
from drive_server import FOLDER, STEP, DriveServer
from google.auth.exceptions import RefreshError
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build_from_document
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload


@pytest.fixture
def server():
    with DriveServer() as server:
        yield server


@pytest.fixture
def drive(server):
    """Give Google's client, with an endpoint of ours in its own description of the API."""
    described = json.loads(get_static_doc("drive", "v3"))
    described["rootUrl"] = f"{server.url}/"
    described["baseUrl"] = f"{server.url}/drive/v3/"
    described.pop("mtlsRootUrl", None)
    with build_from_document(described, credentials=Credentials(server.token)) as drive:
        yield drive


def media(data, **options):
    return MediaIoBaseUpload(io.BytesIO(data), mimetype="application/octet-stream", **options)


def create(drive, data=b"some bytes", *, fields="id,name,size,sha256Checksum", **metadata):
    return drive.files().create(body=metadata, media_body=media(data), fields=fields)


def reason(raised):
    return raised.value.error_details[0]["reason"], raised.value.status_code


def test_a_file_is_created_in_one_request_and_read(server, drive):
    """Its description has its checksum, and its bytes come back."""
    made = create(drive, b"some bytes", name="a").execute()
    assert made["size"] == "10"
    assert len(made["sha256Checksum"]) == 64
    assert drive.files().get_media(fileId=made["id"]).execute() == b"some bytes"
    assert server.paths() == {"a": b"some bytes"}


def test_a_file_is_created_piece_by_piece(server, drive):
    """Pieces of 256 KiB are taken one after another, and the answer to the last describes the file."""
    data = os.urandom(3 * STEP + 5)
    request = drive.files().create(
        body={"name": "a"}, media_body=media(data, chunksize=STEP, resumable=True), fields="id,size"
    )
    progress, answer = [], None
    while answer is None:
        status, answer = request.next_chunk()
        progress.append(status.resumable_progress if status else None)
    assert progress == [STEP, 2 * STEP, 3 * STEP, None]
    assert answer["size"] == str(len(data))
    assert server.paths() == {"a": data}


def test_an_upload_is_resumed_where_it_stopped(server, drive):
    """After a failure the client asks how much is there, and sends the rest."""
    data = os.urandom(4 * STEP)
    request = drive.files().create(body={"name": "a"}, media_body=media(data, chunksize=STEP, resumable=True))
    request.next_chunk()
    server.fail("send", "backendError")
    with pytest.raises(HttpError) as raised:
        request.next_chunk()
    assert raised.value.status_code == 503
    answer = None
    while answer is None:
        _status, answer = request.next_chunk()
    assert server.counts["probe"] == 1
    assert server.paths() == {"a": data}


def test_a_part_of_a_piece_may_be_stored(server, drive):
    """The client goes on at the end of what the server says it has."""
    data = os.urandom(4 * STEP)
    server.stores_at_most = [2 * STEP + 100]
    request = drive.files().create(
        body={"name": "a"}, media_body=media(data, chunksize=4 * STEP, resumable=True)
    )
    status, answer = request.next_chunk()
    assert (status.resumable_progress, answer) == (2 * STEP, None)
    _status, answer = request.next_chunk()
    assert server.paths() == {"a": data}


def test_a_session_may_be_gone(server, drive):
    """The client takes the answer for the end of the session."""
    request = drive.files().create(
        body={"name": "a"}, media_body=media(os.urandom(4 * STEP), chunksize=STEP, resumable=True)
    )
    request.next_chunk()
    server.expire_sessions()
    with pytest.raises(HttpError) as raised:
        request.next_chunk()
    assert raised.value.status_code == 404


def test_an_id_given_out_before_makes_creation_safe_to_repeat(server, drive):
    """A file has that id, and a second file of it is refused."""
    ids = drive.files().generateIds(count=3).execute()["ids"]
    assert len({*ids}) == 3
    assert create(drive, id=ids[0], name="a").execute()["id"] == ids[0]
    with pytest.raises(HttpError) as raised:
        create(drive, id=ids[0], name="a").execute()
    assert reason(raised) == ("fileIdInUse", 409)
    with pytest.raises(HttpError) as raised:
        create(drive, id="made-up", name="a").execute()
    assert raised.value.status_code == 400


def test_folders_and_listings_with_pages(server, drive):
    """A listing of a folder goes on over pages, in the order that was asked for."""
    folder = drive.files().create(body={"name": "folder", "mimeType": FOLDER}, fields="id").execute()["id"]
    for number in range(7):
        create(
            drive, name=f"n{number}", parents=[folder], appProperties={"even": str(number % 2 == 0)}
        ).execute()
    create(drive, name="elsewhere").execute()
    files = drive.files()
    request = files.list(
        q=f"'{folder}' in parents and trashed=false",
        pageSize=3,
        orderBy="name desc",
        fields="nextPageToken,files(name,parents)",
    )
    pages = []
    while request is not None:
        page = request.execute()
        pages.append([file["name"] for file in page["files"]])
        assert all(file == {"name": file["name"], "parents": [folder]} for file in page["files"])
        request = files.list_next(request, page)
    assert pages == [["n6", "n5", "n4"], ["n3", "n2", "n1"], ["n0"]]
    q = "appProperties has { key='even' and value='True' } and not (name = 'n0' or name='N2')"
    assert {file["name"] for file in files.list(q=q).execute()["files"]} == {"n4", "n6"}
    assert files.list(q=f"mimeType='{FOLDER}'").execute()["files"][0]["id"] == folder
    assert {f["name"] for f in files.list(q="'root' in parents").execute()["files"]} == {
        "folder",
        "elsewhere",
    }


@pytest.mark.parametrize("query", ["name", "name = a", "name = 'a' and", "(trashed=false", "size > 5"])
def test_what_is_no_query_is_refused(server, drive, query):
    """Nothing is guessed."""
    with pytest.raises(HttpError) as raised:
        drive.files().list(q=query).execute()
    assert reason(raised) == ("invalid", 400)


def test_a_query_about_a_folder_that_is_not_there_is_refused(server, drive):
    """It is no empty listing."""
    with pytest.raises(HttpError) as raised:
        drive.files().list(q="'none' in parents").execute()
    assert reason(raised) == ("notFound", 404)


def test_names_with_quotes_are_found(server, drive):
    """They are escaped in a query."""
    create(drive, name="it's \\ here").execute()
    found = drive.files().list(q="name = 'it\\'s \\\\ here'").execute()
    assert len(found["files"]) == 1


def test_bytes_are_downloaded_by_ranges(server, drive):
    """The client's pieces make up the whole, and an empty file has no range at all."""
    data = os.urandom(5 * STEP + 7)
    file_id = create(drive, data, name="a").execute()["id"]
    target = io.BytesIO()
    download = MediaIoBaseDownload(target, drive.files().get_media(fileId=file_id), chunksize=2 * STEP)
    done, count = False, 0
    while not done:
        _status, done = download.next_chunk()
        count += 1
    assert (target.getvalue() == data, count) == (True, 3)
    empty = create(drive, b"", name="b").execute()["id"]
    download = MediaIoBaseDownload(io.BytesIO(), drive.files().get_media(fileId=empty))
    assert download.next_chunk()[1] is True  # the client takes 416 for the end
    assert server.counts["download"] == 4


def test_bytes_are_replaced(server, drive):
    """A file keeps its id and its name, in one request or piece by piece."""
    file_id = create(drive, b"old", name="a").execute()["id"]
    drive.files().update(fileId=file_id, media_body=media(b"new")).execute()
    assert server.paths() == {"a": b"new"}
    data = os.urandom(2 * STEP + 1)
    request = drive.files().update(fileId=file_id, media_body=media(data, chunksize=STEP, resumable=True))
    while request.next_chunk()[1] is None:
        pass
    assert server.paths() == {"a": data}
    assert drive.files().get(fileId=file_id, fields="version").execute() == {"version": "3"}


def test_what_is_in_the_bin_counts_until_it_is_emptied(server, drive):
    """A file is thrown away by an update, with all that is in a folder, and deleted for good otherwise."""
    server.limit_bytes = 100
    folder = drive.files().create(body={"name": "f", "mimeType": FOLDER}).execute()["id"]
    for name in "ab":
        create(drive, b"x" * 30, name=name, parents=[folder]).execute()
    create(drive, b"x" * 30, name="c").execute()
    drive.files().update(fileId=folder, body={"trashed": True}).execute()
    assert [f["name"] for f in drive.files().list(q="trashed=false").execute()["files"]] == ["c"]
    quota = drive.about().get(fields="storageQuota").execute()["storageQuota"]
    assert quota == {"usage": "90", "usageInDrive": "90", "usageInDriveTrash": "60", "limit": "100"}
    with pytest.raises(HttpError) as raised:
        create(drive, b"x" * 30, name="d").execute()
    assert reason(raised) == ("storageQuotaExceeded", 403)
    drive.files().emptyTrash().execute()
    create(drive, b"x" * 30, name="d").execute()
    assert server.paths() == {"c": b"x" * 30, "d": b"x" * 30}


def test_a_deleted_file_is_gone(server, drive):
    """Reading or deleting it again says that it is not found."""
    file_id = create(drive, name="a").execute()["id"]
    drive.files().delete(fileId=file_id).execute()
    for request in (drive.files().get(fileId=file_id), drive.files().delete(fileId=file_id)):
        with pytest.raises(HttpError) as raised:
            request.execute()
        assert reason(raised) == ("notFound", 404)
    assert server.used() == 0


def test_names_are_not_unique(server, drive):
    """Two files of one name are two files."""
    for _ in range(2):
        create(drive, name="a").execute()
    assert len(drive.files().list(q="name='a'").execute()["files"]) == 2


@pytest.mark.parametrize(
    ("why", "status"),
    [("userRateLimitExceeded", 403), ("storageQuotaExceeded", 403), ("dailyLimitExceeded", 403)],
)
def test_refusals_have_a_reason(server, drive, why, status):
    """The client finds it where Google puts it."""
    server.fail("list", why)
    with pytest.raises(HttpError) as raised:
        drive.files().list().execute()
    assert reason(raised) == (why, status)


def test_the_client_retries_what_it_takes_for_passing(server, drive):
    """It knows the reasons, and waits by itself."""
    drive.files().list().execute()
    server.fail("list", "rateLimitExceeded", times=1)
    request = drive.files().list()
    request._sleep = lambda seconds: None
    assert request.execute(num_retries=2)["files"] == []
    assert server.counts["list"] == 3


def test_a_worn_token_is_renewed_by_the_client(server):
    """The server of tokens speaks as Google's does, and a withdrawn sign-in is told."""
    stored = json.loads(server.credential())
    stored.pop("type")
    credentials = Credentials(None, **stored)
    described = json.loads(get_static_doc("drive", "v3"))
    described["rootUrl"] = f"{server.url}/"
    with build_from_document(described, credentials=credentials) as drive:
        drive.files().list().execute()
        server.expire_tokens()
        drive.files().list().execute()
        assert server.counts["token"] == 2
        server.expire_tokens()
        server.refresh_tokens.clear()
        with pytest.raises(RefreshError, match="invalid_grant"):
            drive.files().list().execute()


def test_too_many_creations_a_second_are_punished(server, drive):
    """Those that come too fast are refused, and so is the next one for a while."""
    server.creates_per_second = 2.0
    for number in range(4):
        create(drive, name=str(number)).execute()
    with pytest.raises(HttpError) as raised:
        create(drive, name="4").execute()
    assert reason(raised) == ("userRateLimitExceeded", 403)
    with pytest.raises(HttpError):
        create(drive, name="5").execute()
    assert server.punished == 2
    assert len(server.paths()) == 4


def test_listings_may_come_late(server, drive):
    """What was created is seen by its id at once, and in listings some time later."""
    server.lag_lists = 2
    file_id = create(drive, name="a").execute()["id"]
    assert drive.files().get(fileId=file_id).execute()["name"] == "a"
    seen = [len(drive.files().list().execute()["files"]) for _ in range(3)]
    assert seen == [0, 0, 1]
