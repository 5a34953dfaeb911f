"""Commands about how sync is going: metrics, retry, revert."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from crdt_sync.cli import render
from crdt_sync.cli.actions.base import Json
from crdt_sync.cli.actions.journal import NoParams
from crdt_sync.cli.actions.outcomes import METRICS, RETRY, REVERT, RetryParams, RevertParams
from crdt_sync.cli.commands.running import run
from crdt_sync.cli.opening import Place, reach
from crdt_sync.cli.options import AsJson, Models, StorePath
from crdt_sync.cli.output import emit, reporting, standard_output
from crdt_sync.errors import InputError
from crdt_sync.replica.prometheus import exposition


def metrics(
    *,
    path: StorePath,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="As Prometheus reads them; needs the extra `metrics`.")
    ] = False,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Show how sync is going, in numbers: what waits and for how long, success, conflicts, traffic, clocks."""
    with reporting(as_json=as_json):
        if prometheus and as_json:
            raise InputError("either --json or --prometheus", hint="Leave one of them out.")
        with reach(Place(path=path, models=models), writes=False) as act:
            result = act(METRICS, NoParams())
        if prometheus:
            with standard_output() as out:
                out.write(exposition(result))
            return
        emit(result, as_json=as_json, render=_show)


def retry(
    *,
    path: StorePath,
    operation: Annotated[
        str | None,
        typer.Argument(
            metavar="[OPERATION]", help="The id of one change, as `log --failed` shows it.", show_default=False
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that failed.")] = False,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Have changes that failed wait again, to be sent in the next session with each peer.

    Those that failed before it go with it. What is tried again after a pause only is tried at once.
    """
    with reporting(as_json=as_json):
        if (operation is None) != every:
            raise InputError("either an operation or --all", hint="`crdt-sync log PATH --failed` lists what failed.")
    run(RETRY, RetryParams(operation=operation), path=path, models=models, as_json=as_json, render=_show_retried)


def revert(
    *,
    path: StorePath,
    operation: Annotated[
        str, typer.Argument(metavar="OPERATION", help="The id of a change that failed, as `log --failed` shows it.")
    ],
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Take back a change that failed, as if it had never been made; the journal keeps what it wrote.

    With it goes its whole transaction, and later ones that touch one of the same records. Everything else that was
    written since is sent under a new author.
    """
    run(REVERT, RevertParams(operation=operation), path=path, models=models, as_json=as_json, render=_show_reverted)


def _show_reverted(out: Console, result: Json) -> None:
    render.show_log(out, result)
    out.print(f"{result['total']} taken back; {result['pending']} pending")


def _show_retried(out: Console, result: Json) -> None:
    out.print(f"{result['retried']} wait again; {result['pending']} pending, {result['failed']} failed")


def _show(out: Console, result: Json) -> None:
    for name, text in _lines(result):
        out.print(f"{name:<12}{text}")


def _lines(result: Json) -> list[tuple[str, str]]:
    """Each line's name and text."""
    oldest, rate, times = result["oldest_pending_s"], result["success_rate"], result["processing"]
    moved, conflicts, offset = result["traffic"], result["conflict_rate"], result["clock_offset_s"]
    waited = "" if oldest is None else f", the oldest for {oldest:,.1f} s"
    counts = f"{result['pending']:,} pending{waited}; {result['completed']:,} completed, {result['failed']:,} failed"
    took = "nothing was completed yet"
    if times is not None:
        parts = (f"mean {times['mean_ms']:,.0f} ms", *(f"p{at} {times[f'p{at}_ms']:,} ms" for at in (50, 95, 99)))
        took = f"{', '.join(parts)}, of the latest {times['number']:,}"
    entries = ", ".join(f"{result[f'entries_{name}']:,} {name}" for name in ("drifted", "refused", "parked"))
    per_thousand = "" if conflicts is None else f", {conflicts:,.1f} for 1,000 foreign entries"
    return [
        ("operations", counts),
        ("success", "nothing has a result yet" if rate is None else f"{rate:.1%}"),
        ("processing", took),
        ("conflicts", f"{result['conflicts_open']:,} open, {result['conflicts_opened']:,} opened{per_thousand}"),
        ("entries", f"{result['foreign_entries']:,} of others; {entries}"),
        ("sessions", f"{result['sessions']:,}, {result['reconnects']:,} reconnects"),
        ("received", f"{moved['bytes_in']:,} bytes in {moved['messages_in']:,} messages"),
        ("sent", f"{moved['bytes_out']:,} bytes in {moved['messages_out']:,} messages"),
        ("clock", "no peer was met" if offset is None else f"the latest peer's is {offset:+,.1f} s from this one"),
    ]
