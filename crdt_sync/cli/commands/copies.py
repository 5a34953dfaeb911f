"""Commands about copies of a store: backup, safe-to-wipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crdt_sync.cli import render
from crdt_sync.cli.actions.copies import SAFE_TO_WIPE, WipeParams
from crdt_sync.cli.opening import Place, reach
from crdt_sync.cli.options import AsJson, Models, StorePath
from crdt_sync.cli.output import console, emit, reporting
from crdt_sync.replica import Replica
from crdt_sync.replica.backup import back_up
from crdt_sync.storage.sqlite import open_sqlite


def backup(
    *,
    path: StorePath,
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="The new file; nothing may be there.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Copy a store into a new file, also while it is in use, and check the copy.

    `put-back` puts it in the store's place; or open it anywhere: it goes on under a new epoch and author, so that
    nothing written since can clash.
    """
    with reporting(as_json=as_json):
        columns = (TextColumn("checking the copy"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with (
            open_sqlite(path, read_only=True) as store,
            Progress(*columns, console=console(sys.stderr), transient=True) as shown,
        ):
            task = shown.add_task("", total=None)
            report = back_up(
                store, target, progress=lambda done, total: shown.update(task, completed=done, total=total)
            )
        result = {"path": str(report.path), "file_bytes": report.file_bytes, "log_rows": report.log_rows}
        emit(result, as_json=as_json, render=render.show_backup)


def restore_backup(
    *,
    path: StorePath,
    file: Annotated[Path, typer.Argument(metavar="BACKUP", help="What `backup` made.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Put a copy of a backup in the place of a store, which may be gone or damaged; what was there stays beside it.

    A backup of another store is refused. What was sent since the backup was made comes back with the next sync.
    """
    with reporting(as_json=as_json):
        report = Replica.put_back(path, file)
        replaced = None if report.replaced is None else str(report.replaced)
        emit({"path": str(report.path), "replaced": replaced}, as_json=as_json, render=render.show_put_back)


def safe_to_wipe(*, path: StorePath, models: Models = None, as_json: AsJson = False) -> None:
    """Tell whether another device is known to hold everything that this store holds; exit code 1 if none is.

    A device counts as holding what it signed for when it last proved that it was equal, here or through others.
    """
    with reporting(as_json=as_json):
        with reach(Place(path=path, models=models), writes=False) as act:
            result = act(SAFE_TO_WIPE, WipeParams())
        emit(result, as_json=as_json, render=render.show_safety)
    if not result["safe"]:
        raise typer.Exit(1)
