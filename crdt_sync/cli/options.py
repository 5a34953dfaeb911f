"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crdt_sync.errors import InputError
from crdt_sync.replica.arguments import checked_path


def _store_path(text: str) -> Path:
    """A store's path as typed; an empty one would become that of the current folder."""
    try:
        return checked_path(text, what="the path of a store")
    except InputError as error:
        raise typer.BadParameter(error.message) from None


StorePath = Annotated[
    Path, typer.Argument(metavar="PATH", help="The store's file.", show_default=False, parser=_store_path)
]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.", show_default=False)]
RecordId = Annotated[str, typer.Argument(metavar="ID", help="The record's id (a UUID).", show_default=False)]
ConflictName = Annotated[
    str, typer.Argument(metavar="CONFLICT", help="The conflict's id, or the beginning of it.", show_default=False)
]
Assignments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FIELD=VALUE...",
        help="field=value, field:=json, counter+=2, counter-=1, set+=x, set-=x, text+=more.",
        show_default=False,
    ),
]
PeerTimeout = Annotated[
    float, typer.Option("--timeout-s", metavar="SECONDS", min=0.1, help="Seconds that each peer may take.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document; errors too, on standard error.")]
Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        metavar="FILE.py|FILE.toml|MODULE",
        help="Take the models from this Python file or module (its code is run) or TOML file, not from the store.",
        show_default=False,
    ),
]
