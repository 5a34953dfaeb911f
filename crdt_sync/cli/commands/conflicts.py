"""Commands on conflicts: list, show, resolve, resolve-all, settle."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from crdt_sync.cli import conflict_text, render
from crdt_sync.cli.actions.conflicts import (
    CONFLICT,
    CONFLICTS,
    RESOLVE,
    ConflictParams,
    ConflictsParams,
    ResolveParams,
)
from crdt_sync.cli.actions.many_conflicts import RESOLVE_ALL, ResolveAllParams, watcher
from crdt_sync.cli.commands.running import progress, run
from crdt_sync.cli.editing import editor_of_user
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
    run(CONFLICTS, params, path=path, models=models, as_json=as_json, render=conflict_text.show_conflicts)


def show(*, path: StorePath, conflict: ConflictName, models: Models = None, as_json: AsJson = False) -> None:
    """Show one conflict: the value before, the candidates with device and time, and what is shown meanwhile."""
    params = ConflictParams(conflict_id=conflict)
    run(CONFLICT, params, path=path, models=models, as_json=as_json, render=conflict_text.show_conflict)


def resolve(
    *,
    path: StorePath,
    conflict: ConflictName,
    take: Annotated[
        str | None,
        typer.Option(
            "--take",
            metavar="N|delete|keep|both",
            help="Take the candidate of this number; delete or keep what was deleted and edited at once; keep both "
            "that were created twice.",
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
    path_take: Annotated[
        list[str] | None,
        typer.Option(
            "--path",
            metavar="PATH=N",
            help="At this path of the conflict take the candidate of this number; once for each path. The rest is as "
            "in the proposal.",
            show_default=False,
        ),
    ] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Take the latest candidate.")] = False,
    proposal: Annotated[bool, typer.Option("--proposal", help="Write what is shown meanwhile.")] = False,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Settle a conflict, here and on every device that hears of it."""
    params = ResolveParams(
        conflict_id=conflict,
        take=take,
        value=value,
        json_value=json_value,
        paths=tuple(path_take or ()),
        latest=latest,
        proposal=proposal,
    )
    run(RESOLVE, params, path=path, models=models, as_json=as_json, render=render.show_resolved)


def resolve_all(
    *,
    path: StorePath,
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help="Whose conflicts.", show_default=False)],
    take: Annotated[
        str,
        typer.Option(
            "--take",
            metavar="RULE",
            help="latest or earliest: the merged proposal, with that change wherever changes overlap; proposal: what "
            "is shown meanwhile; N: the candidate of this number, the latest is 1; delete or keep: of records that "
            "were deleted and edited at once; both: of records that were created twice, keep all of them.",
            show_default=False,
        ),
    ],
    field: Annotated[
        str | None, typer.Option("--field", metavar="FIELD", help="Only of this field.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which would be settled, and change nothing.")] = False,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Settle all conflicts of a model, or of one of its fields, by a rule.

    What the rule has no answer for stays open. It is done in transactions of up to 1,000 conflicts.
    """
    params = ResolveAllParams(model=model, field=field, take=take, dry_run=dry_run)
    with progress("settling", watcher):
        run(RESOLVE_ALL, params, path=path, models=models, as_json=as_json, render=render.show_settled_by_rule)


def settle(
    *,
    path: StorePath,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Only of this model.", show_default=False)
    ] = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Go through the open conflicts at a terminal: each is shown, and you choose, merge, edit, skip or quit.

    ? explains the answers. A ! behind one does the same with all further conflicts of that field. Values are edited in
    $VISUAL or $EDITOR, where one is set.
    """
    with reporting(as_json=as_json):
        if not sys.stdin.isatty():
            raise InputError(
                "conflicts are settled by somebody at a terminal",
                hint="Use `crdt-sync conflicts resolve PATH ID --take N` in scripts.",
            )
        out = console(sys.stderr if as_json else None)
        with reach(Place(path=path, models=models), writes=True) as act:
            editor = None if as_json else editor_of_user()
            result = settle_all(
                act, lambda question: _asked(question, to_stderr=as_json), out, model=model, editor=editor
            )
        emit(result, as_json=as_json, render=render.show_settled)


def _asked(question: str, *, to_stderr: bool) -> str:
    print(question, end="", flush=True, file=sys.stderr if to_stderr else sys.stdout)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")
