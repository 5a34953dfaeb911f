"""Commands on records: create, show, list, set, delete, restore."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from crdt_sync.cli import render
from crdt_sync.cli.actions.past import SHOW_AT, AtParams
from crdt_sync.cli.actions.records import (
    CREATE,
    DELETE,
    LIST,
    RESTORE,
    SET,
    SHOW,
    CreateParams,
    ListParams,
    RecordParams,
    SetParams,
)
from crdt_sync.cli.commands.running import run
from crdt_sync.cli.options import AsJson, Assignments, ModelName, Models, RecordId, StorePath
from crdt_sync.cli.output import reporting
from crdt_sync.cli.times import time_until


def create(
    *,
    path: StorePath,
    model: ModelName,
    assignments: Assignments = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Create a record.

    Values are read by the field's type: due=2026-01-31, done=true; lists, dicts and sets as JSON: tags='["a"]'.
    With := the value is JSON for every type: due:=null.
    """
    params = CreateParams(model=model, assignments=tuple(assignments or ()))
    run(CREATE, params, path=path, models=models, as_json=as_json, render=render.show_record)


def show(
    *,
    path: StorePath,
    model: ModelName,
    record: RecordId,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TIME", help="As it was: a time as log prints it, how long ago (2d), or a timestamp."
        ),
    ] = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Show a record, with values that were written at once elsewhere, and its conflicts."""
    if at is not None:
        with reporting(as_json=as_json):
            then = AtParams(model=model, record_id=record, time=time_until(at, now=datetime.now(UTC)))
        run(SHOW_AT, then, path=path, models=models, as_json=as_json, render=render.show_record)
        return
    params = RecordParams(model=model, record_id=record)
    run(SHOW, params, path=path, models=models, as_json=as_json, render=render.show_record)


def list_records(
    *,
    path: StorePath,
    model: ModelName,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="field=value, or field__lt, __le, __gt, __ge, __ne, __in, __contains; may be repeated, all must hold.",
            show_default=False,
        ),
    ] = None,
    order_by: Annotated[
        list[str] | None,
        typer.Option("--order-by", metavar="FIELD", help="Sort by this field; -FIELD: descending.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Show at most so many.")] = 100,
    offset: Annotated[int, typer.Option("--offset", metavar="N", help="Pass over so many first.")] = 0,
    invalid: Annotated[
        bool, typer.Option("--invalid", help="Only records with values that no longer fit their fields.")
    ] = False,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """List the records of a model."""
    params = ListParams(
        model=model,
        where=tuple(where or ()),
        order_by=tuple(order_by or ()),
        limit=limit,
        offset=offset,
        invalid=invalid,
    )
    run(LIST, params, path=path, models=models, as_json=as_json, render=render.show_records)


def set_fields(
    *,
    path: StorePath,
    model: ModelName,
    record: RecordId,
    assignments: Assignments = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Change fields of a record, as one transaction."""
    params = SetParams(model=model, record_id=record, assignments=tuple(assignments or ()))
    run(SET, params, path=path, models=models, as_json=as_json, render=render.show_record)


def delete(
    *, path: StorePath, model: ModelName, record: RecordId, models: Models = None, as_json: AsJson = False
) -> None:
    """Delete a record. What becomes of an edit made at the same time on another device is up to the model."""
    params = RecordParams(model=model, record_id=record)
    run(DELETE, params, path=path, models=models, as_json=as_json, render=render.show_deleted)


def restore(
    *, path: StorePath, model: ModelName, record: RecordId, models: Models = None, as_json: AsJson = False
) -> None:
    """Bring a deleted record back, with everything that was in it."""
    params = RecordParams(model=model, record_id=record)
    run(RESTORE, params, path=path, models=models, as_json=as_json, render=render.show_record)
