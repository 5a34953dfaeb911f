"""Commands on the past: explain, undo, redo."""

from __future__ import annotations

from typing import Annotated

import typer

from crdt_sync.cli import render
from crdt_sync.cli.actions.journal import NoParams
from crdt_sync.cli.actions.past import EXPLAIN, REDO, UNDO, ExplainParams
from crdt_sync.cli.commands.running import run
from crdt_sync.cli.options import AsJson, ModelName, Models, RecordId, StorePath


def explain(
    *,
    path: StorePath,
    model: ModelName,
    record: RecordId,
    field: Annotated[
        str | None, typer.Argument(metavar="FIELD", help="The field; without it, the record.", show_default=False)
    ] = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Explain why a field shows what it shows, or why a record is live or deleted. The same text on every device."""
    params = ExplainParams(model=model, record_id=record, field=field)
    run(EXPLAIN, params, path=path, models=models, as_json=as_json, render=render.show_explanation)


def undo(*, path: StorePath, models: Models = None, as_json: AsJson = False) -> None:
    """Take back the latest transaction of this store, as far as it still stands; again for the one before."""
    run(UNDO, NoParams(), path=path, models=models, as_json=as_json, render=render.show_taken_back)


def redo(*, path: StorePath, models: Models = None, as_json: AsJson = False) -> None:
    """Take back the latest undo, where nothing was written since."""
    run(REDO, NoParams(), path=path, models=models, as_json=as_json, render=render.show_taken_back)
