"""Commands on conflicts: list, show, resolve, settle."""

from __future__ import annotations

import sys
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
from crdt_sync.cli.opening import Place, reach
from crdt_sync.cli.options import AsJson, ConflictName, Models, StorePath
from crdt_sync.cli.output import console, emit, reporting
from crdt_sync.cli.settling import settle_all
from crdt_sync.errors import InputError


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


def settle(
    *,
    path: StorePath,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Only of this model.", show_default=False)
    ] = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Go through the open conflicts at a terminal: each is shown, and you choose, edit, skip or quit.

    A ! behind an answer does the same with all further conflicts of that field.
    """
    with reporting(as_json=as_json):
        if not sys.stdin.isatty():
            raise InputError(
                "conflicts are settled by somebody at a terminal",
                hint="Use `crdt-sync conflicts resolve PATH ID --take N` in scripts.",
            )
        out = console(sys.stderr if as_json else None)
        with reach(Place(path=path, models=models), writes=True) as act:
            result = settle_all(act, lambda question: _asked(question, to_stderr=as_json), out, model=model)
        emit(result, as_json=as_json, render=render.show_settled)


def _asked(question: str, *, to_stderr: bool) -> str:
    print(question, end="", flush=True, file=sys.stderr if to_stderr else sys.stdout)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")
