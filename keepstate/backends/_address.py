"""Where a store is, as the user writes it: a folder, or an address of a place on a network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from keepstate.backends._names import check_name
from keepstate.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMS: Mapping[str, str] = {
    "s3": "s3://bucket/folder",
    "gs": "gs://bucket/folder",
    "az": "az://container/folder?account=name",
    "hf": "hf://buckets/owner/name/folder",
    "gdrive": "gdrive://folder",
}
"""Scheme → how an address of it looks."""

_OPTIONS: Mapping[str, frozenset[str]] = {
    "s3": frozenset({"endpoint", "region", "style"}),
    "gs": frozenset({"endpoint"}),
    "az": frozenset({"account", "endpoint"}),
    "hf": frozenset({"endpoint"}),
    "gdrive": frozenset({"endpoint"}),
}
"""What may stand behind the ``?``."""


@dataclass(frozen=True, slots=True)
class Address:
    """One store. Two addresses mean the same place if they are equal."""

    scheme: str
    """``file``, or one of :data:`FORMS`."""
    container: str = ""
    """Bucket, container, or the top folder on Drive; empty for a folder of this machine."""
    folder: str = ""
    """Folder inside of it, without ``/`` at either end; for ``file`` an absolute path."""
    options: tuple[tuple[str, str], ...] = ()
    """Sorted pairs of what stood behind the ``?``; never a secret."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder that this machine sees as its own or mounted."""
        return self.scheme == "file"

    @property
    def path(self) -> Path:
        """The folder, for ``file``."""
        return Path(self.folder)

    def option(self, name: str) -> str | None:
        """Give one of the options."""
        return dict(self.options).get(name)

    def __str__(self) -> str:
        if self.is_folder:
            return self.folder
        if self.scheme == "hf":
            container = f"buckets/{quote(self.container, safe='/')}"
        else:
            container = quote(self.container, safe="")
        place = "/".join(filter(None, (container, quote(self.folder, safe="/+@"))))
        return f"{self.scheme}://{place}" + (f"?{urlencode(self.options, safe=':/')}" if self.options else "")


def read_address(text: str | os.PathLike[str]) -> Address:
    """Read what a user gives as ``store``: a path, ``file://`` and a path, or an address of :data:`FORMS`.

    Raises:
        InvalidInputError: It is neither; or it holds a password, which would end up in logs.

    >>> read_address("s3://bucket/team/?region=eu-1").folder
    'team'
    >>> str(read_address("s3://bucket/team/?region=eu-1"))
    's3://bucket/team?region=eu-1'
    >>> str(read_address("hf://buckets/ana/state/team"))
    'hf://buckets/ana/state/team'
    """
    said = os.fspath(text)
    scheme, there, rest = said.partition("://")
    if not there or scheme == "file":
        path = Path(unquote(rest) if there else said).expanduser().absolute()
        return Address("file", folder=str(path))
    if scheme not in FORMS:
        raise InvalidInputError(
            f"store={_shown(said)!r}: give the path of a folder, or one of {', '.join(FORMS.values())}"
        )
    parts = urlsplit(said)
    if "@" in parts.netloc:
        raise InvalidInputError(
            f"store={_shown(said)!r}: an address with a password in it would show it in every log; "
            "put the key into an environment variable or the host's secrets"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    server = urlsplit(options.get("endpoint", ""))
    if "@" in server.netloc or server.query or server.fragment:
        raise InvalidInputError(
            f"store: the endpoint of {scheme}://{parts.netloc} is the address of a server and nothing more; "
            "keys go into environment variables or the host's secrets"
        )
    if unknown := sorted(options.keys() - _OPTIONS[scheme]):
        raise InvalidInputError(
            f"store: {scheme} addresses have no {', '.join(unknown)}; "
            f"known are {', '.join(sorted(_OPTIONS[scheme]))}"
        )
    container, folder = unquote(parts.netloc), unquote(parts.path).strip("/")
    if scheme == "hf":
        container, folder = _hugging_face(container, folder)
    if not container:
        raise InvalidInputError(f"store={_shown(said)!r}: an address looks like {FORMS[scheme]}")
    if scheme != "gdrive" and folder:
        check_folder(folder)
    return Address(scheme, container, folder, tuple(sorted(options.items())))


def check_folder(folder: str) -> None:
    """Refuse a folder whose name not every bucket stores as it is.

    Raises:
        InvalidInputError: It has other characters than names of objects have, capitals aside.
    """
    try:
        check_name(folder.lower())
    except InvalidInputError as error:
        raise InvalidInputError(
            f"store: the folder {folder!r} has characters that not every place can store: "
            "use letters, digits and _ - . @ + ~"
        ) from error


def _hugging_face(kind: str, rest: str) -> tuple[str, str]:
    owner, _, behind = rest.partition("/")
    name, _, folder = behind.partition("/")
    if kind != "buckets" or not owner or not name:
        raise InvalidInputError(f"store: an address at Hugging Face looks like {FORMS['hf']}")
    return f"{owner}/{name}", folder


def _shown(said: str) -> str:
    """Leave out what stands before an ``@``: it may be a password."""
    scheme, _, rest = said.partition("://")
    place, slash, behind = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{behind.partition('?')[0]}"
