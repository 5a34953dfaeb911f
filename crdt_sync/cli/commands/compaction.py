"""Commands that keep a store small: compact, forget."""

from __future__ import annotations

from typing import Annotated

import typer

from crdt_sync.cli import render
from crdt_sync.cli.actions.compaction import COMPACT, FORGET, CompactParams, ForgetParams, watcher
from crdt_sync.cli.commands.running import progress, run
from crdt_sync.cli.options import AsJson, Models, StorePath


def compact(
    *,
    path: StorePath,
    retention: Annotated[
        float | None,
        typer.Option(
            "--retention",
            metavar="DAYS",
            min=0,
            help="Do not wait for devices that told nothing for so many days.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go, and which devices hold it up.")
    ] = False,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Fold what every device holds, and send deleted records and superseded values on their way out.

    They go in two rounds, with a sync of every device between them. A device that comes back later than that gets
    content in place of what was folded, and loses nothing of its own.
    """
    with progress("folding", watcher):
        params = CompactParams(retention_days=retention, dry_run=dry_run)
        run(COMPACT, params, path=path, models=models, as_json=as_json, render=render.show_compacted)


def forget(
    *,
    path: StorePath,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The device's id.", show_default=False)],
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Wait for a device no more when compacting: it is lost, or not used any more.

    It may come back all the same; it is waited for again then.
    """
    run(FORGET, ForgetParams(device_id=device), path=path, models=models, as_json=as_json, render=render.show_forgotten)
