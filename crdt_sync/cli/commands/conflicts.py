"""Commands on conflicts: list, show, resolve."""

from __future__ import annotations

from typing import Annotated

import typer

from crdt_sync.cli import render
from crdt_sync.cli.actions.conflicts import (
    CONFLICT,
    CONFLICTS,
    RESOLVE,
    ConflictParams,
    ConflictsParams,
    ResolveParams,
)
from crdt_sync.cli.commands.running import run
from crdt_sync.cli.options import AsJson, ConflictName, Models, StorePath


def list_conflicts(
    *,
    path: StorePath,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Only of this model.", show_default=False)
    ] = None,
    record: Annotated[
        str | None, typer.Option("--record", metavar="ID", help="Only of this record.", show_default=False)
    ] = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """List the open conflicts: values that were written at once and need a person's choice."""
    params = ConflictsParams(model=model, record_id=record)
    run(CONFLICTS, params, path=path, models=models, as_json=as_json, render=render.show_conflicts)


def show(*, path: StorePath, conflict: ConflictName, models: Models = None, as_json: AsJson = False) -> None:
    """Show one conflict: the value before, the candidates with device and time, and what is shown meanwhile."""
    params = ConflictParams(conflict_id=conflict)
    run(CONFLICT, params, path=path, models=models, as_json=as_json, render=render.show_conflict)


def resolve(
    *,
    path: StorePath,
    conflict: ConflictName,
    take: Annotated[
        str | None,
        typer.Option(
            "--take",
            metavar="N|delete|keep",
            help="Take the candidate of this number; delete or keep what was deleted and edited at once.",
            show_default=False,
        ),
    ] = None,
    value: Annotated[
        str | None,
        typer.Option("--value", metavar="VALUE", help="Write this value, read as for `set`.", show_default=False),
    ] = None,
    json_value: Annotated[
        str | None,
        typer.Option("--json-value", metavar="JSON", help="Write this value, given as JSON.", show_default=False),
    ] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Take the latest candidate.")] = False,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Settle a conflict, here and on every device that hears of it."""
    params = ResolveParams(conflict_id=conflict, take=take, value=value, json_value=json_value, latest=latest)
    run(RESOLVE, params, path=path, models=models, as_json=as_json, render=render.show_resolved)
