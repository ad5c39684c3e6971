"""Registers the commands, prints what they answer, and exits. The only place that prints."""

from __future__ import annotations

import functools
import gc
import inspect
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from keepstate import __version__
from keepstate._cli.answer import refusal
from keepstate._cli.columns import plain
from keepstate._cli.diff_cmd import diff
from keepstate._cli.doctor_cmd import doctor
from keepstate._cli.export_cmd import export
from keepstate._cli.log_cmd import log
from keepstate._cli.prune_cmd import prune
from keepstate._cli.show_cmd import show
from keepstate._cli.usage_cmd import usage
from keepstate._cli.verify_cmd import verify
from keepstate.errors import KeepstateError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TextIO

    from rich.table import Table

    from keepstate._cli.answer import Answer

_JSON_OPTION = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.", show_default=False)
]

app = typer.Typer(
    name="keepstate",
    help="Look at what keepstate has kept: list it, prove it, take it out.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SELDOM = 100_000
"""Objects made until garbage is looked for: a command keeps most of what it reads, and ends soon. With the
usual 700 that takes a quarter of the time for a list of 10,000 snapshots (1.4 of 5.4 s, measured)."""


def _answering(command: Callable[..., Answer]) -> Callable[..., None]:
    """Turn a command that answers into one that prints and exits, and give it the option ``--json``."""

    @functools.wraps(command)
    def run(*, as_json: bool, **arguments: object) -> None:
        try:
            answer = command(**arguments)
        except KeepstateError as error:
            answer = refusal(error)
        except OSError as error:  # what the layers below have not put in their own words
            answer = refusal(StoreError(str(error)))
        _print(answer, as_json=as_json)
        raise typer.Exit(answer.exit_code)

    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter(
        "as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_JSON_OPTION
    )
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), option], return_annotation=None
    )
    return run


def _print(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        # ASCII alone, so that it is the same document in every locale.
        sys.stdout.write(json.dumps(answer.document, indent=2) + "\n")
    else:
        sys.stdout.write(_rendered(answer.text, sys.stdout))
    sys.stdout.flush()  # a reader that has gone is noticed here, where typer ends the command quietly
    if not (as_json and answer.is_refusal):
        sys.stderr.write("".join(f"{plain(remark)}\n" for remark in answer.remarks))


def _rendered(blocks: Iterable[str | Table], stream: TextIO) -> str:
    console = Console(file=stream, markup=False, highlight=False, emoji=False, force_terminal=stream.isatty())
    with console.capture() as captured:
        for block in blocks:
            console.print(plain(block) if isinstance(block, str) else block, soft_wrap=isinstance(block, str))
    # Tables are padded to their full width, which is in the way of everything that reads a pipe.
    return "".join(f"{line.rstrip()}\n" for line in captured.get().split("\n")[:-1])


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"keepstate {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version  # its callback has answered


for _command in (log, show, diff, export, verify, prune, usage, doctor):
    app.command()(_answering(_command))


def main() -> None:
    """Run the command that the arguments of this process name, and exit.

    Exit codes: 0 fine; 1 what was asked about is not sound, or it failed; 2 wrong usage.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name may hold what the terminal's encoding lacks; that must not end the command.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    gc.set_threshold(_SELDOM)
    app()
