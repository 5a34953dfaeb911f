"""Commands on a store as a whole: init, log, status, check."""

from __future__ import annotations

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from crdt_sync.cli import render
from crdt_sync.cli.actions.base import Json, device_json
from crdt_sync.cli.actions.journal import (
    HISTORY,
    LOG,
    RESULTS,
    STATUS,
    HistoryParams,
    LogParams,
    NoParams,
    ResultsParams,
)
from crdt_sync.cli.actions.naming import fitting_name
from crdt_sync.cli.commands.running import run
from crdt_sync.cli.opening import Place, open_replica, reach
from crdt_sync.cli.options import AsJson, Models, StorePath
from crdt_sync.cli.output import emit, reporting
from crdt_sync.cli.times import time_since
from crdt_sync.core.model import spec_of
from crdt_sync.errors import CorruptStoreError, InputError
from crdt_sync.replica import OperationStatus
from crdt_sync.replica.checking import check_store
from crdt_sync.storage.sqlite import open_sqlite

FAILED = OperationStatus.FAILED.value


def init(
    *,
    path: StorePath,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What people call this device, on all devices. A new store takes the name of the machine.",
            show_default=False,
        ),
    ] = None,
    no_name: Annotated[bool, typer.Option("--no-name", help="Give the device no name.")] = False,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Make a store and declare its models; on a store that exists, declare its models anew.

    A store remembers its models, so that the other commands need no --models. Without any it still syncs.
    """
    with reporting(as_json=as_json):
        if no_name and name is not None:
            raise InputError("either --name or --no-name", hint="Leave one of them out.")
        existed = path.exists() and path.stat().st_size > 0
        if name is None and not no_name and not existed:
            name = fitting_name(platform.node())
        with open_replica(Place(path=path, models=models), create=True, device_name=name) as replica:
            result: Json = {
                "path": str(path),
                "created": not existed,
                "replica_id": replica.replica_id,
                **device_json(replica.device_names, replica.device_id or ""),
                "models": [spec_of(model).name for model in replica.models],
            }
        emit(result, as_json=as_json, render=render.show_initialised)


def log(
    *,
    path: StorePath,
    status: Annotated[
        str | None,
        typer.Option("--status", metavar="STATUS", help="Only pending, completed or failed.", show_default=False),
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(
            "--record", metavar="ID", help="The history of this record, by all devices, instead.", show_default=False
        ),
    ] = None,
    sync: Annotated[
        bool, typer.Option("--sync", help="What peers said of the changes, and when, instead.", show_default=False)
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only what failed; with --sync, only refusals and losses.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only what changed since then: 2d, 12h, 30m, or a date and time.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="The latest so many.")] = 50,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """List the changes made here and how far they came, oldest first; or the history of one record."""
    with reporting(as_json=as_json):
        if (status is not None) + (record is not None) + sync > 1:
            raise InputError("--status, --record and --sync ask for different lists", hint="Give one of them.")
        if record is not None and (failed or since is not None):
            raise InputError("--record lists what all devices did", hint="Leave out --failed and --since.")
        if failed and status not in (None, FAILED):
            raise InputError("--failed and --status ask for different lists", hint="Give one of them.")
        began = None if since is None else time_since(since, now=datetime.now(UTC)).isoformat()
    if sync:
        results = ResultsParams(limit=limit, result="failure" if failed else None, since=began)
        run(RESULTS, results, path=path, models=models, as_json=as_json, render=render.show_results)
        return
    if record is not None:
        history = HistoryParams(record_id=record, limit=limit)
        run(HISTORY, history, path=path, models=models, as_json=as_json, render=render.show_history)
        return
    params = LogParams(status=FAILED if failed else status, limit=limit, since=began)
    run(LOG, params, path=path, models=models, as_json=as_json, render=render.show_log)


def status(*, path: StorePath, models: Models = None, as_json: AsJson = False) -> None:
    """Show how a store stands: device, models, what waits to be sent, who is home, conflicts, who serves it."""
    with reporting(as_json=as_json):
        with reach(Place(path=path, models=models), writes=False) as act:
            served_by = getattr(act, "pid", None)
            result = {"path": str(path), "served_by": served_by, **act(STATUS, NoParams())}
        emit(result, as_json=as_json, render=render.show_status)


def check(*, path: StorePath, as_json: AsJson = False) -> None:
    """Check a store: row checksums, chains and signatures, the journal, and documents against the log.

    Changes nothing, and works while the store is in use. Exit code 10 means damage. What is not brought up to date yet
    (large texts amid their writing, rows of models that were not open last time) is counted, and is no damage.
    """
    with reporting(as_json=as_json):
        result = _checked(path)
        emit(result, as_json=as_json, render=render.show_check)
        if not result["ok"]:
            raise CorruptStoreError(
                f"{path}: {result['total']} findings",
                hint="Close the store and run `crdt-sync repair`; a peer brings the rest.",
            )


def _checked(path: Path) -> Json:
    with open_sqlite(path, create=False, read_only=True) as store:
        found = check_store(store)
    return {
        "path": str(path),
        "ok": found.total == 0,
        "total": found.total,
        "damage": [asdict(item) for item in found.listed],
        "checked": found.checked,
        "not_current": found.not_current,
    }
