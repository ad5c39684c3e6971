"""Keys of a far store are found where users keep them, and nothing that goes wrong stops a start."""

import random
import sys
import textwrap
import threading

import pytest

from keepstate._hosts import Host, profile_named
from keepstate._session.credentials import gather_credentials
from keepstate.backends import read_address

S3 = read_address("s3://bucket/team")
DRIVE = read_address("gdrive://keepstate")
PAIR = {"AWS_ACCESS_KEY_ID": "AKIA-planted", "AWS_SECRET_ACCESS_KEY": "planted/secret"}

# The two platforms' own modules as far as they are used: same names, same errors, same quirks. What they know
# stands in SECRETS, and asked is what they were asked for.
COLAB_USERDATA = """
    import random
    SECRETS, asked, SILENT = {}, [], False

    class NotebookAccessError(Exception): pass
    class SecretNotFoundError(Exception): pass
    class TimeoutException(Exception): pass

    def get(key):
        random.random()
        asked.append(key)
        if SILENT:
            raise TimeoutException(f"Requesting secret {key} timed out.")
        if key not in SECRETS:
            raise SecretNotFoundError(f"Secret {key} does not exist.")
        if SECRETS[key] is None:
            raise NotebookAccessError(f"Notebook does not have access to secret {key}")
        return SECRETS[key]
"""
COLAB_AUTH = """
    SIGNED_IN, ALLOWED = [], True

    class AuthorizationError(Exception): pass

    def authenticate_user(clear_output=True, project_id=None):
        if not ALLOWED:
            raise AuthorizationError("Failed to fetch user credentials")
        SIGNED_IN.append(True)
"""
KAGGLE_SECRETS = """
    from urllib.error import HTTPError, URLError
    SECRETS, asked, TROUBLE = {}, [], None

    class BackendError(Exception): pass
    class CredentialError(Exception): pass

    class UserSecretsClient:
        def __init__(self):
            if TROUBLE == "no token":
                raise CredentialError("A JWT Token is required to use the UserSecretsClient")

        def get_secret(self, label):
            asked.append(label)
            if TROUBLE == "offline":
                raise ConnectionError("Connection error trying to communicate.") from URLError("no such name")
            if TROUBLE == "refused":
                answer = HTTPError("https://www.kaggle.com", 401, "Unauthorized", {}, None)
                raise ConnectionError("Connection error trying to communicate.") from answer
            if label not in SECRETS:
                raise BackendError("Unexpected response from the service. Response: {'errors': ['No user "
                                   f"secrets exist for kernel id 1 and label {label}.']}}.")
            return SECRETS[label]
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder without any files of other tools."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def platform(tmp_path, monkeypatch):
    """Put modules of a platform where imports find them, and take them away afterwards."""
    made = []

    def install(**sources):
        for name, source in sources.items():
            path = tmp_path / "platform" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source))
            made.append(name.replace("__", "."))
        monkeypatch.syspath_prepend(tmp_path / "platform")
        return [__import__(name, fromlist=["*"]) for name in made]

    yield install
    for name in [*made, "google.colab"]:
        sys.modules.pop(name, None)


@pytest.fixture
def colab(platform):
    (userdata, auth) = platform(google__colab__userdata=COLAB_USERDATA, google__colab__auth=COLAB_AUTH)
    userdata.auth = auth
    return userdata


@pytest.fixture
def kaggle(platform):
    (secrets,) = platform(kaggle_secrets=KAGGLE_SECRETS)
    return secrets


def gather(home, address=S3, host="plain", environ=None, **options):
    variables = {"HOME": str(home), **(environ or {})}
    return gather_credentials(address, host=Host(profile_named(host), ()), environ=variables, **options)


def write_key_file(home):
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = AKIA-of-the-file\naws_secret_access_key = secret-of-the-file\n"
    )


def test_what_the_environment_has_is_enough(home, colab):
    """No other place is looked at then; what belongs to the key and the settings come along, nothing more."""
    write_key_file(home)
    environ = {**PAIR, "AWS_SESSION_TOKEN": "planted-token\n", "AWS_REGION": "eu-1", "PATH": "/bin"}
    found = gather(home, host="colab", environ=environ)
    assert found.credentials.reveal_all() == {
        **PAIR, "AWS_SESSION_TOKEN": "planted-token", "AWS_REGION": "eu-1",
    }  # fmt: skip
    assert found.remarks == ()
    assert colab.asked == []


def test_the_usual_file_spares_the_question(home, colab):
    """A whole key in it is taken, and a half one of the environment is not mixed in, but its settings are."""
    write_key_file(home)
    environ = {"AWS_ACCESS_KEY_ID": "AKIA-old", "AWS_SESSION_TOKEN": "old", "AWS_REGION": "eu-1"}
    found = gather(home, host="colab", environ=environ)
    assert found.credentials.reveal_all() == {
        "AWS_ACCESS_KEY_ID": "AKIA-of-the-file",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-file",
        "AWS_REGION": "eu-1",
    }
    assert colab.asked == []


def test_a_file_that_cannot_be_read_is_a_remark(home):
    """Another tool's file may hold anything."""
    (home / ".aws" / "credentials").mkdir(parents=True)
    found = gather(home)
    assert not found.credentials
    assert "no key was found for s3://bucket/team" in found.remarks[-1]


def test_colab_is_asked_for_what_is_missing(home, colab):
    """Each name once, what goes with a key only after it."""
    colab.SECRETS.update(PAIR, AWS_SESSION_TOKEN="planted-token")
    found = gather(home, host="colab", environ={"AWS_REGION": "eu-1"})
    assert found.credentials.reveal_all() == {
        **PAIR, "AWS_SESSION_TOKEN": "planted-token", "AWS_REGION": "eu-1",
    }  # fmt: skip
    assert found.remarks == ()
    expected = [*PAIR, "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"]
    assert colab.asked == expected


def test_a_key_that_is_not_there_ends_the_questions_about_it(home, colab):
    """Then the remark says what to put where."""
    found = gather(home, host="colab")
    assert colab.asked == ["AWS_ACCESS_KEY_ID"]
    (remark,) = found.remarks
    assert remark.startswith(
        "no key was found for s3://bucket/team: put AWS_ACCESS_KEY_ID and AWS_SECRET_ACC"
    )
    assert "Colab's secrets" in remark


def test_what_belongs_to_another_key_is_left_out(home, colab):
    """A token that an older key left in the environment would spoil the key from the secrets."""
    colab.SECRETS.update(PAIR)
    found = gather(home, host="colab", environ={"AWS_SESSION_TOKEN": "old"})
    assert found.credentials.reveal_all() == PAIR


def test_half_a_key_is_told(home):
    """By the name that is missing, without the value that is there."""
    (remark,) = gather(home, environ={"AWS_SECRET_ACCESS_KEY": "planted/secret"}).remarks
    assert "only AWS_SECRET_ACCESS_KEY was found" in remark
    assert "put AWS_ACCESS_KEY_ID into the environment" in remark
    assert "planted" not in remark


def test_no_browser_ends_the_questions(home, colab):
    """Each would take ten seconds; nor is anybody there to sign in."""
    colab.SILENT = True
    found = gather(home, DRIVE, host="colab")
    assert colab.asked == ["GDRIVE_CREDENTIALS"]
    assert colab.auth.SIGNED_IN == []
    assert found.remarks == ("Colab's secrets cannot be read, because no browser answers (TimeoutException)",)


def test_a_secret_that_the_notebook_may_not_read_is_told(home, colab):
    """With the switch to use."""
    colab.SECRETS["AWS_ACCESS_KEY_ID"] = None
    assert "switch its notebook access on" in gather(home, host="colab").remarks[0]


def test_drive_on_colab_asks_to_sign_in(home, colab):
    """Only where no key is kept anywhere; the session then uses what the sign-in left."""
    found = gather(home, DRIVE, host="colab")
    assert colab.asked == ["GDRIVE_CREDENTIALS", "GDRIVE_TOKEN"]
    assert colab.auth.SIGNED_IN == [True]
    assert not found.credentials
    assert found.remarks == ()


def test_a_token_for_drive_spares_the_sign_in(home, colab):
    """Also one from the secrets."""
    colab.SECRETS["GDRIVE_CREDENTIALS"] = '{"refresh_token": "planted"}\n'
    found = gather(home, DRIVE, host="colab")
    assert found.credentials.reveal("GDRIVE_CREDENTIALS") == '{"refresh_token": "planted"}'
    assert colab.auth.SIGNED_IN == []


def test_a_refused_sign_in_is_a_remark(home, colab):
    """The session still guards locally."""
    colab.auth.ALLOWED = False
    (remark,) = gather(home, DRIVE, host="colab").remarks
    assert "nobody signed in to Google (AuthorizationError)" in remark


def test_kaggle_is_asked_for_what_is_missing(home, kaggle):
    """Half of a key may be there and half in the environment."""
    kaggle.SECRETS["AWS_SECRET_ACCESS_KEY"] = PAIR["AWS_SECRET_ACCESS_KEY"]
    found = gather(home, host="kaggle", environ={"AWS_ACCESS_KEY_ID": PAIR["AWS_ACCESS_KEY_ID"]})
    assert found.credentials.reveal_all() == PAIR
    assert found.remarks == ()
    assert "AWS_ACCESS_KEY_ID" not in kaggle.asked


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("offline", "is the internet switched on"),
        ("refused", "their service answers 401"),
        ("no token", "cannot be read (CredentialError)"),
    ],
)
def test_one_failed_request_to_kaggle_is_enough(home, kaggle, trouble, told):
    """The next would take up to forty seconds."""
    kaggle.TROUBLE = trouble
    found = gather(home, host="kaggle")
    assert len(kaggle.asked) <= 1
    assert told in found.remarks[0]


def test_without_internet_kaggle_is_not_asked(home, kaggle):
    """If it is known, not even one request waits."""
    assert "the internet is switched off" in gather(home, host="kaggle", internet=False).remarks[0]
    assert kaggle.asked == []


def test_a_host_without_its_library_is_a_remark(home):
    """Such as a runtime of one's own that says it is Colab."""
    assert "google.colab is not there" in gather(home, host="colab").remarks[0]


def test_another_thread_asks_nobody(home, colab):
    """Colab answers the thread of the running cell alone."""
    found = []
    thread = threading.Thread(target=lambda: found.append(gather(home, host="colab")))
    thread.start()
    thread.join()
    assert "does not run on the main thread" in found[0].remarks[0]
    assert colab.asked == []


def test_a_folder_needs_no_key(home, colab):
    """Nobody is asked for anything."""
    found = gather(home, read_address("/somewhere"), host="colab", environ=PAIR)
    assert not found.credentials
    assert found.remarks == ()
    assert colab.asked == []


def test_the_users_random_numbers_stay(home, colab):
    """Whatever the host's modules draw."""
    random.seed(7)
    expected = random.random()
    random.seed(7)
    gather(home, host="colab")
    assert random.random() == expected


def test_no_value_is_ever_shown(home, colab, capsys):
    """Neither in what is returned nor on the screen."""
    colab.SECRETS.update(PAIR)
    found = gather(home, host="colab")
    assert "planted" not in repr(found) + "".join(capsys.readouterr())
