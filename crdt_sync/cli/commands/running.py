"""How a command is run: reach the store, do one action, show the result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crdt_sync.cli.actions import Action, Json
from crdt_sync.cli.actions.base import P
from crdt_sync.cli.opening import Place, reach
from crdt_sync.cli.output import console, emit, reporting


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


@contextmanager
def progress(what: str, watcher: ContextVar[Callable[[int, int], None] | None]) -> Iterator[None]:
    """Show on standard error how far an action is, where somebody watches.

    Args:
        what: names the work.
        watcher: through which the action tells (done, total).
    """
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as shown:
        task = shown.add_task("", total=None, visible=False)
        token = watcher.set(lambda done, total: shown.update(task, completed=done, total=total, visible=True))
        try:
            yield
        finally:
            watcher.reset(token)
