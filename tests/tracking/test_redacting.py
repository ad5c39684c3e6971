"""What is taken out of the recorded code of a cell."""

import ast

import pytest

from keepstate._tracking import is_secret_name, redact_source, runs_alike

KEY = "hunter2hunter2"

TAKEN_OUT = [
    f'password = "{KEY}"',
    f'user, password = "ana", "{KEY}"',
    f'os.environ["API_KEY"] = "{KEY}"',
    f'os.environ.setdefault("DB_PASSWORD", "{KEY}")',
    f'token = os.environ.get("T", "{KEY}")',
    f'headers = {{"Authorization": f"Bearer {{x}}", "X-API-Key": "{KEY}"}}',
    f'e = create_engine("postgresql://ana:{KEY}@host/db")',
    f'c = connect("dbname=x password={KEY} host=y")',
    f'get(f"https://ana:{KEY}@host/{{page}}")',
    f'get("https://host/?token={KEY}&page=1")',
    f'requests.get(url, auth=("ana", "{KEY}"))',
    f'client = Client("ana", api_key=b"{KEY}")',
    f'apiKey: str = "{KEY}"',
    f'openai.api_key = "{KEY}"',
    f'def connect(user, token="{KEY}"): pass',
    f'if password == "{KEY}":\n    pass',
    f'x = "{KEY}"\nconnect(password=x)',
    f'password = "a" + "{KEY}"',
    f'db.connect(**{{"password": "{KEY}"}})',
    f'secret = """a\n{KEY}\nb"""\nz = 1',
    f'# api_key = "{KEY}"\nx = 1',
    f'if (token := "{KEY}"):\n    pass',
    "key = 'AKIAABCDEFGHIJKLMNOP'",
    # what is no Python
    f'%env API_KEY={KEY}\nx = 1',
    f'x = !ls\npassword = "{KEY}"',
    f'!curl -u ana:{KEY} -H "Authorization: Bearer {KEY}" http://x',
    f"!run --password {KEY}",
    f"%%bash\nexport TOKEN={KEY}\n./run",
    f'%%time\npassword = "{KEY}"',
    f'def broken(:\n   token = "{KEY}"',
]  # fmt: skip


@pytest.mark.parametrize("source", TAKEN_OUT)
def test_a_secret_is_taken_out(source):
    """Wherever the form, the name, the key or the argument gives it away."""
    redacted = redact_source(source)
    assert KEY not in redacted
    assert "AKIA" not in redacted
    assert "<secret>" in redacted


@pytest.mark.parametrize(
    "source",
    [
        'password = os.environ["PASSWORD"]',
        'token = userdata.get("HF_TOKEN")',
        'password = getpass.getpass("Your password? ")',
        'words = text.split(" "); tokens = text.split(" ")',
        'tokenizer = AutoTokenizer.from_pretrained("bert-base")',
        "max_length = 5; author = 'Ana'; passed = 'yes'",
        "df['x'] = df.y + 1  # the usual",
        "",
        "!ls -la && echo done",
    ],
)
def test_what_is_no_secret_stays(source):
    """A cell that says where a secret is, or has similar words, is recorded as it is."""
    assert redact_source(source) == source


@pytest.mark.parametrize("source", [each for each in TAKEN_OUT if "%" not in each and "!" not in each][:-1])
def test_what_was_python_stays_python(source):
    """The record of a cell can be parsed again."""
    ast.parse(redact_source(source))


def test_the_rest_of_the_cell_is_not_touched():
    """Text of other scripts before a secret moves nothing."""
    source = 'naïve = "ünï"; password = "hunter2"; z = "ß"\nnext_line = 1'
    assert redact_source(source) == ('naïve = "ünï"; password = \'<secret>\'; z = "ß"\nnext_line = 1')


def test_a_comment_alone_does_not_keep_a_cell_from_running_again():
    """Two cells run alike if they differ in comments."""
    source = 'x = 1  # password: "hunter2"'
    assert redact_source(source) != source
    assert runs_alike(redact_source(source), source)
    assert not runs_alike("x = '<secret>'", "x = 'y'")


@pytest.mark.parametrize(
    "source", ["\x00", "(" * 500, "x = '" + "a_b-" * 50_000 + "'", "\ud800 = 1", "a\rb = 'x"]
)
def test_odd_code_is_never_an_error(source):
    """Nor does it take long."""
    assert isinstance(redact_source(source), str)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("HF_TOKEN", True), ("clientSecret", True), ("x-api-key", True), ("pwd", True), ("tokenize", False)],
)
def test_names(name, expected):
    """A name is told in every way of writing it."""
    assert is_secret_name(name) is expected
