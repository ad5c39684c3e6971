"""The options that commands share, so that each is named and explained once."""

from __future__ import annotations

from typing import Annotated

import typer

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="STORE",
        help="Folder or address that holds the state; else KEEPSTATE_STORE, else ~/.keepstate.",
        show_default=False,
    ),
]
ProjectOption = Annotated[
    str | None, typer.Option("--project", metavar="NAME", help="Only this project.", show_default=False)
]
MemberOption = Annotated[
    str | None, typer.Option("--member", metavar="NAME", help="Only this member.", show_default=False)
]
NotebookOption = Annotated[
    str | None, typer.Option("--notebook", metavar="NAME", help="Only this notebook.", show_default=False)
]
