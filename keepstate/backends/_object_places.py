"""How obstore is told of a bucket: where it is, who we are, and how long to wait.

Everything is said in words, because obstore would take from the environment whatever is not: a key that was
meant for another store, or an endpoint that nobody asked for. Keys go in through a function, since they would
stand in the settings of the store object otherwise.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keepstate.backends._credentials import Credentials
from keepstate.errors import CredentialsError, InvalidInputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from obstore.store import ObjectStore, S3Credential

    from keepstate.backends._address import Address

WANTED: Mapping[str, tuple[str, ...]] = {
    "s3": (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_REGION", "AWS_ENDPOINT_URL"),
    ),
    "hf": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"),
}
"""Scheme → names of what opens a store of it; the tools of each place look for the same names."""

_NO_SECRETS = frozenset({"AWS_REGION", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ACCOUNT_NAME"})
"""Of those, what may be shown."""

HUGGING_FACE = "https://s3.hf.co"
"""Source: huggingface.co/docs/hub/storage-buckets-s3; the name of the owner follows as a part of the path."""

_REGION = "us-east-1"
"""What Amazon takes where nothing else is said; places of others mostly do not care."""

_CONNECT_SECONDS = 10
"""A server that is there answers within a second or two from anywhere."""

_READ_SECONDS = 30
"""Longest silence in the middle of an answer."""

_LONGEST_READ_SECONDS = 3600
"""For a whole answer, whatever its size; silence is what is watched."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of a store before the first request."""

    address: Address
    open: Callable[[float, bool], ObjectStore]
    """Make a client, given how many seconds a request may take, and whether silence is watched instead."""
    creates: bool | None
    """Whether of two that make one new name at once one is refused; ``None``: it has to be tried."""
    checks: bool
    """Whether it compares a checksum that we send with what arrives, by its own documents."""
    secrets: Credentials
    """What must not be shown."""
    keys: str
    """What the user can do when the keys are refused."""


def read_place(address: Address, credentials: Credentials) -> Place:
    """Find out what can be known without a request.

    Raises:
        InvalidInputError: It is no address of a bucket.
        CredentialsError: No key was found.
    """
    if address.scheme not in _MAKERS:
        raise InvalidInputError(f"{address} is no bucket")
    for endpoint in (address.option("endpoint"), credentials.reveal("AWS_ENDPOINT_URL")):
        if endpoint and not endpoint.lower().startswith(("http://", "https://")):
            raise InvalidInputError(f"{address}: the endpoint {endpoint!r} does not begin with https://")
    secrets = Credentials({k: v for k, v in credentials.reveal_all().items() if k not in _NO_SECRETS})
    return _MAKERS[address.scheme](address, credentials, secrets)


def usual_files(scheme: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Read the keys of *scheme* from the files where its tools keep them; nothing if there are none.

    Hugging Face's keys are those of a profile ``hf``, as its documents have it: the default ones are for
    Amazon.

    Args:
        scheme: Of an address.
        environ: Says where home is, and which profile.
    """
    home = Path(environ.get("HOME") or Path.home())
    if scheme == "gs":
        folder = Path(environ.get("CLOUDSDK_CONFIG") or home / ".config" / "gcloud")
        file = folder / "application_default_credentials.json"
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(file)} if file.is_file() else {}
    if scheme not in ("s3", "hf"):
        return {}
    profile = "hf" if scheme == "hf" else environ.get("AWS_PROFILE") or "default"
    keys = environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials"
    settings = environ.get("AWS_CONFIG_FILE") or home / ".aws" / "config"
    said = {
        **_section(Path(settings), profile if profile == "default" else f"profile {profile}"),
        **_section(Path(keys), profile),
    }
    names = {
        "AWS_ACCESS_KEY_ID": "aws_access_key_id",
        "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
        "AWS_SESSION_TOKEN": "aws_session_token",
        "AWS_REGION": "region",
        "AWS_ENDPOINT_URL": "endpoint_url",
    }
    return {name: said[key] for name, key in names.items() if name in WANTED[scheme] and said.get(key)}


def _section(file: Path, name: str) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)  # secrets may have a % in them
    try:
        parser.read(file.expanduser(), encoding="utf-8")
    except (OSError, ValueError, configparser.Error):
        return {}  # then there is no key, and that is said where one is missed
    return dict(parser[name]) if parser.has_section(name) else {}


def _s3(address: Address, credentials: Credentials, secrets: Credentials) -> Place:
    endpoint = address.option("endpoint") or credentials.reveal("AWS_ENDPOINT_URL")
    region = address.option("region") or credentials.reveal("AWS_REGION") or _REGION
    virtual = address.option("style") == "virtual"
    if address.option("style") not in (None, "virtual", "path"):
        raise InvalidInputError(f"{address}: style is virtual or path")
    is_amazon = endpoint is None
    if endpoint is None:
        # A name with a dot does not fit the certificate of the host that would be named after it.
        virtual = "." not in address.container and address.option("style") != "path"
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        host = f"s3.{region}.{domain}"
        endpoint = f"https://{address.container}.{host}" if virtual else f"https://{host}"
    elif virtual:
        scheme, _, host = endpoint.partition("://")
        endpoint = f"{scheme}://{address.container}.{host}"
    return Place(
        address=address,
        open=_opener_s3(address.container, endpoint, region, virtual, is_amazon, address, credentials),
        creates=True if is_amazon else None,
        checks=is_amazon,
        secrets=secrets,
        keys=(
            "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do; with AWS_SESSION_TOKEN, "
            "get new ones when they have expired"
        ),
    )


def _hf(address: Address, credentials: Credentials, secrets: Credentials) -> Place:
    owner, _, bucket = address.container.partition("/")
    endpoint = f"{(address.option('endpoint') or HUGGING_FACE).rstrip('/')}/{owner}"
    return Place(
        address=address,
        open=_opener_s3(bucket, endpoint, _REGION, False, False, address, credentials),
        creates=True,  # its documents: If-None-Match is honoured on PutObject
        checks=False,
        secrets=secrets,
        keys=(
            "make new S3 keys from a token that may write (huggingface.co/settings/tokens) and give them as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ),
    )


def _opener_s3(
    bucket: str,
    endpoint: str,
    region: str,
    virtual: bool,
    is_amazon: bool,
    address: Address,
    credentials: Credentials,
) -> Callable[[float, bool], ObjectStore]:
    key, secret = credentials.reveal("AWS_ACCESS_KEY_ID"), credentials.reveal("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        raise CredentialsError(
            f"no key for {address}: put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the environment or "
            "the host's secrets"
        )
    token = credentials.reveal("AWS_SESSION_TOKEN")
    config: dict[str, Any] = {
        "endpoint": endpoint,
        "aws_endpoint_url_s3": endpoint,
        "region": region,
        "virtual_hosted_style_request": virtual,
        "skip_signature": False,
        # The tag of the answer is compared, so a signature over the bytes would only hash them once more
        # (25 to 40 ms for 32 MiB on 2 cores).
        "unsigned_payload": not is_amazon and address.scheme == "s3",
        "s3_express": False,
        "request_payer": False,
        "conditional_put": "etag",
        "disable_tagging": True,
        "disable_bulk_delete": True,  # not every place has it, and we delete one by one anyway
    }
    if is_amazon:
        # Not elsewhere: some places refuse the header, and there the tag of the answer is compared.
        config["checksum_algorithm"] = "SHA256"

    def keys() -> S3Credential:
        return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}

    def make(seconds: float, watch_silence: bool) -> ObjectStore:
        from obstore.store import S3Store

        return S3Store(
            bucket,
            prefix=address.folder or None,
            config=config,  # type: ignore[arg-type] # a dictionary that is made in steps
            client_options=_client(endpoint, seconds, watch_silence),  # type: ignore[arg-type]
            retry_config=_ONE_TRY,  # type: ignore[arg-type]
            credential_provider=keys,
        )

    return make


def _gs(address: Address, credentials: Credentials, secrets: Credentials) -> Place:
    key = credentials.reveal("GOOGLE_APPLICATION_CREDENTIALS")
    if not key:
        raise CredentialsError(
            f"no key for {address}: put the path of a key file, or its text, into "
            "GOOGLE_APPLICATION_CREDENTIALS in the environment or the host's secrets"
        )
    endpoint = address.option("endpoint")
    config: dict[str, Any] = {"skip_signature": False}
    config["service_account_key" if key.lstrip().startswith("{") else "application_credentials"] = key
    if endpoint:
        config["base_url"] = endpoint

    def make(seconds: float, watch_silence: bool) -> ObjectStore:
        from obstore.store import GCSStore

        return GCSStore(
            address.container,
            prefix=address.folder or None,
            config=config,  # type: ignore[arg-type]
            client_options=_client(endpoint, seconds, watch_silence),  # type: ignore[arg-type]
            retry_config=_ONE_TRY,  # type: ignore[arg-type]
        )

    return Place(
        address=address,
        open=make,
        creates=True,
        checks=False,
        secrets=secrets,
        keys="give the key of an account that may read and write there as GOOGLE_APPLICATION_CREDENTIALS",
    )


def _az(address: Address, credentials: Credentials, secrets: Credentials) -> Place:
    account = address.option("account") or credentials.reveal("AZURE_STORAGE_ACCOUNT_NAME")
    key, signature = (
        credentials.reveal("AZURE_STORAGE_ACCOUNT_KEY"),
        credentials.reveal("AZURE_STORAGE_SAS_TOKEN"),
    )
    if not account:
        raise InvalidInputError(f"{address}: add ?account=… with the name of the storage account")
    if not key and not signature:
        raise CredentialsError(
            f"no key for {address}: put AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN into the "
            "environment or the host's secrets"
        )
    endpoint = address.option("endpoint") or f"https://{account}.blob.core.windows.net"
    config: dict[str, Any] = {
        "account_name": account,
        "endpoint": endpoint,
        "use_emulator": False,
        "use_fabric_endpoint": False,
        "use_azure_cli": False,
        "skip_signature": False,
        "disable_tagging": True,
    }
    config |= {"account_key": key} if key else {"sas_key": signature}

    def make(seconds: float, watch_silence: bool) -> ObjectStore:
        from obstore.store import AzureStore

        return AzureStore(
            address.container,
            prefix=address.folder or None,
            config=config,  # type: ignore[arg-type]
            client_options=_client(endpoint, seconds, watch_silence),  # type: ignore[arg-type]
            retry_config=_ONE_TRY,  # type: ignore[arg-type]
        )

    return Place(
        address=address,
        open=make,
        creates=True,
        checks=False,
        secrets=secrets,
        keys="check AZURE_STORAGE_ACCOUNT_KEY, or get a new AZURE_STORAGE_SAS_TOKEN that may read and write",
    )


_MAKERS: Mapping[str, Callable[[Address, Credentials, Credentials], Place]] = {
    "s3": _s3,
    "hf": _hf,
    "gs": _gs,
    "az": _az,
}
_ONE_TRY: dict[str, Any] = {"max_retries": 0}
"""Patience is somebody else's: a wrapper of the Protocol knows when to stop and what to say meanwhile."""


def _client(endpoint: str | None, seconds: float, watch_silence: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "allow_http": bool(endpoint) and str(endpoint).lower().startswith("http://"),
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        "timeout": timedelta(seconds=_LONGEST_READ_SECONDS if watch_silence else seconds),
    }
    if watch_silence:
        options["read_timeout"] = timedelta(seconds=_READ_SECONDS)
    return options


def open_client(place: Place, seconds: float, *, watch_silence: bool) -> ObjectStore:
    """Make a client of *place*.

    Raises:
        CredentialsError: The keys are none.
        StoreError: Something else that was given for it makes no sense to obstore.
    """
    try:
        return place.open(seconds, watch_silence)
    except Exception as error:  # noqa: BLE001 - obstore has one kind for each library below
        said = place.secrets.redact(error).partition("\n")[0]
    if place.address.scheme in ("gs", "az"):  # there, a key is decoded before it is used
        raise CredentialsError(f"{place.address} cannot be used, {said}: {place.keys}")
    raise StoreError(f"{place.address} cannot be used: {said}")
