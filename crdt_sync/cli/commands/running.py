"""How a command is run: reach the store, do one action, show the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from crdt_sync.cli.actions import Action, Json
from crdt_sync.cli.actions.base import P
from crdt_sync.cli.opening import Place, reach
from crdt_sync.cli.output import emit, reporting


def run(
    action: Action[P],
    params: P,
    *,
    path: Path,
    models: str | None,
    as_json: bool,
    render: Callable[[Console, Json], None],
) -> None:
    """Do one action on a store and show its result.

    Raises:
        typer.Exit: it failed; the message was printed.
    """
    with reporting(as_json=as_json):
        with reach(Place(path=path, models=models), writes=action.writes) as act:
            result = act(action, params)
        emit(result, as_json=as_json, render=render)
