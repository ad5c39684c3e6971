"""Secrets are taken out of the code of a cell before it is recorded, because teammates read that record.

A literal goes if it has the form of a secret, or if it is given to a name, a key or an argument that is
called like one. What cannot be parsed, comments, and lines for a shell are searched for assignments of that
kind. A guess by design, which errs towards taking out: the cell itself is not changed, only what is recorded.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import TYPE_CHECKING

from keepstate._tracking.secrets import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "<secret>"
"""Stands for what was taken out."""
LONGEST = 1 << 16
"""Characters of a cell that is parsed; more takes 50 ms, and holds data rather than code."""
LONGEST_LINE = 4096
"""Characters of a line in which assignments are looked for; what is longer holds data."""
SHORTEST = 4
"""Characters of an argument that could be a secret."""
_WORDS = (
    r"api_?key|secret|passwd|password|passphrase|pwd|token|credentials?|private_?key|access_?key|account_?key"
    r"|auth|authorization|bearer|cookie|webhook|connection_?string|client_?id|session_?id|dsn"
)
_SECRET = re.compile(rf"(^|_)({_WORDS})(s|_id|_value|_str|_string|_url|_hash|_b64)?($|_?\d+$)")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_IN_URL = re.compile(r"(?<=://)([^\s/:@'\"]*):([^\s/@'\"]+)@")
_IN_TEXT = re.compile(
    r"(?i)\b((?:[\w-]{0,40}[_-])?(?:api[_-]?key|secret|passwd|password|passphrase|pwd|token|access[_-]?key"
    r"|account[_-]?key|sharedaccesskey|sig)\s*=\s*)([^\s;&,'\"<>(){}\[\]]+)"
)
"""As in ``password=…;`` of connection strings and ``?token=…`` of addresses."""
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_NAME_IN_LINE = (
    r"(?i)((?:[\w-]{0,40}[_-])?(?:api[_-]?key|secret|passwd|password|passphrase|pwd|token|credentials?"
    r"|(?:access|private|account)[_-]?key|auth(?:orization)?)s?(?:[_-](?:id|key|value))?"
)
_IN_LINE = re.compile(
    _NAME_IN_LINE + r"[\"']?\s*\]?\s*(?::\s*\w+\s*)?[=:]\s*)(\w{0,2}\"[^\"]*\"|\w{0,2}'[^']*'|[^\s'\"]+)"
)
_OPTION = re.compile(_NAME_IN_LINE.replace("((?:", "(--?(?:", 1) + r"[= ]\s*)(\"[^\"]*\"|'[^']*'|[^\s'\"]+)")
_USER = re.compile(r"((?:^|\s)(?:-u|--user)[= ]\s*[\"']?[^\s:\"']+:)([^\s\"']+)")
_MAGIC = re.compile(r"^(\s*)(?:[\w.,\s\[\]'\"]+=\s*)?[!%?]|\?\s*$")
_LOOKS_UP = re.compile(
    r"(?i)^_*(get|read|load|open|input|prompt|ask|fetch|find|pop|path|environ|len|print|isinstance|join|find)"
    r"|env|getpass|input|_secret$|vault|keyring"
)
"""Functions whose arguments say where a secret is, and are none."""


def redact_source(source: str) -> str:
    """Give the code of a cell without secrets; never raises.

    >>> print(redact_source("password = 'hunter2'\\nconnect('ana', token='abc')  # secret: 'x'"))
    password = '<secret>'
    connect('ana', token='<secret>')  # secret: <secret>
    >>> redact_source("password = os.environ['PASSWORD']")
    "password = os.environ['PASSWORD']"
    """
    try:
        return _redacted(source) if len(source) <= LONGEST else _in_lines(source)
    except Exception:  # noqa: BLE001 - what cannot be understood is searched as a text
        return _in_lines(source)


def runs_alike(source: str, other: str) -> bool:
    """Say whether two cells differ in comments alone."""
    try:
        return ast.dump(ast.parse(source)) == ast.dump(ast.parse(other))
    except (SyntaxError, ValueError, RecursionError):
        return source == other


def is_secret_name(name: str) -> bool:
    """Say whether a name, a key or an option is called like a secret.

    >>> [is_secret_name(name) for name in ("apiKey", "X-API-Key", "DB_PASSWORD", "tokenizer", "passed")]
    [True, True, True, False, False]
    """
    plain = _CAMEL.sub("_", name).replace("-", "_").replace(" ", "_").lower()
    return _SECRET.search(plain) is not None


def _redacted(source: str) -> str:
    if source.lstrip().startswith("%%"):
        first, newline, rest = source.lstrip().partition("\n")
        runs_python = first.split()[0] in ("%%time", "%%timeit", "%%capture", "%%prun", "%%keep")
        return _in_line(first) + newline + (_redacted(rest) if runs_python else _in_lines(rest))
    lines = source.split("\n")
    try:
        tree = ast.parse(source)
        shell: set[int] = set()
    except SyntaxError:
        shell = {at for at, line in enumerate(lines) if _MAGIC.search(line)}
        quiet = [
            f"{line[: len(line) - len(line.lstrip())]}pass" if at in shell else line
            for at, line in enumerate(lines)
        ]
        tree = ast.parse("\n".join(quiet))
        source = "\n".join(quiet)
    found = list(_Finder(tree).found())
    found += _comments(source) if "#" in source else []
    raw = [line.encode() for line in source.split("\n")]
    for start, end, text in sorted(found, reverse=True):
        _replace(raw, start, end, text)
    plain = [line.decode() for line in raw]
    if len(plain) == len(lines):
        plain = [_in_line(lines[at]) if at in shell else line for at, line in enumerate(plain)]
    elif shell:
        return _in_lines("\n".join(lines))  # a literal of several lines was taken out
    return redact("\n".join(plain))


_Place = tuple[int, int]
"""Line, from 0, and byte in it."""
_Found = tuple[_Place, _Place, str]


def _replace(raw: list[bytes], start: _Place, end: _Place, text: str) -> None:
    head, tail = raw[start[0]][: start[1]], raw[end[0]][end[1] :]
    raw[start[0] : end[0] + 1] = [head + text.encode() + tail]


class _Finder:
    """Finds the literals of a cell that are taken out."""

    def __init__(self, tree: ast.AST) -> None:
        self._tree = tree
        self._nodes: dict[int, ast.Constant | ast.JoinedStr] = {}
        self._secret: set[int] = set()
        self._names: set[str] = set()

    def found(self) -> Iterator[_Found]:
        nodes = list(ast.walk(self._tree))
        for node in nodes:
            self._look_at(node)
        for node in nodes:  # names that were given to something secret, wherever they are bound
            self._look_for_names(node)
        inside = {id(each) for node in nodes if isinstance(node, ast.JoinedStr) for each in ast.walk(node)}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                if id(node) in self._secret or self._text_of(node) is not None:
                    yield _place(node, repr(MARK))
                inside -= {id(node)}
            elif isinstance(node, ast.Constant) and id(node) not in inside and node.value:
                if id(node) in self._secret and isinstance(node.value, str | bytes):
                    yield _place(node, repr(MARK if isinstance(node.value, str) else MARK.encode()))
                elif isinstance(node.value, str | bytes):
                    text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                    if (without := redact_text(text)) != text:
                        yield _place(
                            node, repr(without if isinstance(node.value, str) else without.encode("latin-1"))
                        )

    @staticmethod
    def _text_of(node: ast.JoinedStr) -> str | None:
        """Give the text of an f-string if it holds a secret itself."""
        text = "".join(
            each.value if isinstance(each, ast.Constant) and isinstance(each.value, str) else "{}"
            for each in node.values
        )
        return text if redact_text(text.replace("{}", "")) != text.replace("{}", "") else None

    def _look_at(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._given(target, node.value)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr | ast.AugAssign) and node.value is not None:
            self._given(node.target, node.value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if _is_secret_text(key):
                    self._take(value)
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(_is_secret_target(each) for each in sides):
                for each in sides:
                    self._take_plain(each)
        elif isinstance(node, ast.Call):
            self._called(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            self._defaults(node.args)

    def _look_for_names(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id in self._names:
                    self._take(node.value)
        elif (
            isinstance(node, ast.AnnAssign | ast.NamedExpr)
            and isinstance(node.target, ast.Name)
            and node.target.id in self._names
            and node.value is not None
        ):
            self._take(node.value)

    def _given(self, target: ast.AST, value: ast.AST) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
                for one, other in zip(target.elts, value.elts, strict=True):
                    self._given(one, other)
            elif any(map(_is_secret_target, target.elts)):
                self._take(value)
        elif _is_secret_target(target):
            self._take(value)

    def _called(self, node: ast.Call) -> None:
        for keyword in node.keywords:
            if keyword.arg is not None and is_secret_name(keyword.arg):
                self._take(keyword.value)
        name = _called_name(node)
        if not _LOOKS_UP.search(name):  # as in os.environ.setdefault("API_KEY", "…")
            for one, other in zip(node.args, node.args[1:], strict=False):
                if _is_secret_text(one):
                    self._take_plain(other)
        if is_secret_name(name) and not _LOOKS_UP.search(name):  # as in set_api_key("…")
            for each in node.args:
                self._take_plain(each)

    def _defaults(self, arguments: ast.arguments) -> None:
        positional = [*arguments.posonlyargs, *arguments.args]
        pairs = [
            *zip(reversed(positional), reversed(arguments.defaults), strict=False),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        for argument, default in pairs:
            if default is not None and is_secret_name(argument.arg):
                self._take(default)

    def _take(self, node: ast.AST) -> None:
        """Take out what is given to something secret; not what says where a secret is."""
        if isinstance(node, ast.Name):
            self._names.add(node.id)
        elif isinstance(node, ast.Constant | ast.JoinedStr):
            self._secret.add(id(node))
        elif isinstance(node, ast.Subscript):
            self._take(node.value)
        elif isinstance(node, ast.Call):
            looks_up = bool(_LOOKS_UP.search(_called_name(node)))
            if isinstance(node.func, ast.Attribute):
                self._take_plain(node.func.value)
            # Of a look-up only what is taken if nothing is found; not the blank by which a text is split.
            for each in node.args[1:] if looks_up else node.args:
                if not (isinstance(each, ast.Constant) and len(str(each.value)) < SHORTEST):
                    self._take_plain(each)
        elif isinstance(node, ast.Lambda | ast.Compare):
            pass
        else:
            for child in ast.iter_child_nodes(node):
                self._take(child)

    def _take_plain(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp | ast.Tuple | ast.List):
            self._take(node)


def _place(node: ast.expr, text: str) -> _Found:
    end_line, end = node.end_lineno or node.lineno, node.end_col_offset or 0
    return (node.lineno - 1, node.col_offset), (end_line - 1, end), text


def _called_name(node: ast.Call) -> str:
    func = node.func
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def _is_secret_target(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return is_secret_name(node.id)
    if isinstance(node, ast.Attribute):
        return is_secret_name(node.attr)
    return isinstance(node, ast.Subscript) and _is_secret_text(node.slice)


def _is_secret_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and is_secret_name(node.value)


def _comments(source: str) -> list[_Found]:
    """Find what a comment gives away, such as a line of code that is switched off."""
    found: list[_Found] = []
    lines = source.split("\n")
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT and (text := _in_line(token.string)) != token.string:
                row, column = token.start[0] - 1, token.start[1]
                start = len(lines[row][:column].encode())
                found.append(((row, start), (row, start + len(token.string.encode())), text))
    except (tokenize.TokenError, SyntaxError, IndentationError):
        pass  # it has been parsed, so only the end can be odd
    return found


def redact_text(text: str) -> str:
    """Take out of a text what has the form of a secret.

    >>> redact_text("postgresql://ana:hunter2@host/db")
    'postgresql://ana:<secret>@host/db'
    """
    text = _IN_URL.sub(rf"\1:{MARK}@", text)
    text = _IN_TEXT.sub(rf"\1{MARK}", text)
    return redact(_BEARER.sub(rf"\1 {MARK}", text))


def _in_line(line: str) -> str:
    line = redact(_IN_URL.sub(rf"\1:{MARK}@", line))
    return _given_in(line[:LONGEST_LINE]) + line[LONGEST_LINE:]


def _given_in(line: str) -> str:
    line = _BEARER.sub(rf"\1 {MARK}", line)
    line = _IN_LINE.sub(lambda found: found[1] + MARK, line)
    line = _OPTION.sub(rf"\1{MARK}", line)
    return _USER.sub(rf"\1{MARK}", line)


def _in_lines(text: str) -> str:
    return "\n".join(map(_in_line, text.split("\n")))
