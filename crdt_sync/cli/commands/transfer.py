"""Commands that move records in and out as JSON Lines or CSV: import, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crdt_sync.cli import render
from crdt_sync.cli.lines import export_records, format_of, import_file
from crdt_sync.cli.opening import Place, reach
from crdt_sync.cli.options import AsJson, Models, StorePath
from crdt_sync.cli.output import emit, reporting
from crdt_sync.errors import InputError

STANDARD = "-"
Format = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="FORMAT", help="csv or jsonl; without it by the end of the file's name.", show_default=False
    ),
]


def import_records(
    *,
    path: StorePath,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON Lines or CSV; - reads standard input.", show_default=False)
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Every line is an object, or row, of this model's fields; without it: as export writes.",
            show_default=False,
        ),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write the fields of records that exist, instead of passing over them.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Begin at the first line, also where an import of this file got further.")
    ] = False,
    chunk: Annotated[
        int, typer.Option("--chunk", metavar="LINES", help="Lines that are applied as one transaction.")
    ] = 500,
    file_format: Format = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Import records from JSON Lines or CSV, in transactions of bounded size.

    A bad line is named, and nothing of its chunk is applied. Importing the file again goes on where it stopped; records
    that exist already are passed over, so nothing is ever imported twice.

    The first line of a CSV file names the fields, and id where records have one. Cells are read by the field's type;
    lists, dicts, sets and maps as JSON. An empty cell is null where the field takes it, else an empty text or nothing.

    With --update, a field in conflict stays as it is where the line has the value that is shown; another value settles
    the conflict, and is counted.
    """
    with reporting(as_json=as_json):
        with reach(Place(path=path, models=models), writes=True) as act:
            result = import_file(
                act,
                file,
                model=model,
                update=update,
                again=again,
                chunk_lines=chunk,
                file_format=format_of(file, file_format),
            )
        emit(result, as_json=as_json, render=render.show_imported)


def export(
    *,
    path: StorePath,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="MODEL", help="Only records of this model; may be repeated.", show_default=False
        ),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - is standard output.")
    ] = STANDARD,
    force: Annotated[bool, typer.Option("--force", help="Replace the file where it exists.")] = False,
    file_format: Format = None,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Export live records as JSON Lines, one {model, id, fields} a line, or CSV; `import` reads both without loss."""
    with reporting(as_json=as_json):
        target = None if output == STANDARD else Path(output)
        chosen = format_of(output, file_format)
        if target is None and as_json:
            raise InputError(
                "with --json the result goes to standard output, so the records need another place",
                hint="Add --output FILE.",
            )
        with reach(Place(path=path, models=models), writes=False) as act:
            count = export_records(act, tuple(model or ()), target=target, force=force, file_format=chosen)
        if target is not None:
            emit({"records": count, "output": str(target)}, as_json=as_json, render=render.show_exported)
