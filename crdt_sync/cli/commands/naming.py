"""The command on what a device is called."""

from __future__ import annotations

from typing import Annotated

import typer

from crdt_sync.cli import render
from crdt_sync.cli.actions.journal import NoParams
from crdt_sync.cli.actions.naming import NAMES, RENAME, RenameParams
from crdt_sync.cli.commands.running import run
from crdt_sync.cli.options import AsJson, StorePath


def name(
    *,
    path: StorePath,
    new: Annotated[
        str | None,
        typer.Argument(metavar="NEW", help="What to call this device from now on.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what this device and the others are called, or call this one by another name.

    The name replicates. Several devices may choose the same one, so a part of the device id stands beside it.
    """
    if new is None:
        run(NAMES, NoParams(), path=path, models=None, as_json=as_json, render=render.show_names)
        return
    run(RENAME, RenameParams(name=new), path=path, models=None, as_json=as_json, render=render.show_names)
