"""What goes to the terminal or to a script: results on standard output, errors on standard error, and exit codes."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import typer
from rich.console import Console
from rich.text import Text

from crdt_sync.cli.actions import Json
from crdt_sync.cli.control import error_json
from crdt_sync.errors import (
    CRDTSyncError,
    InputError,
    NotACandidateError,
    RecordDeletedError,
    RecordNotFoundError,
    StoreFullError,
    StoreInUseError,
    StoreReadOnlyError,
    UnknownFieldError,
)

PIPE_WIDTH = 250
"""Columns where the output is no terminal: scripts that read text should not find it folded."""
INTERRUPTED_EXIT_CODE = 130

_HINTS: dict[type[CRDTSyncError], str] = {
    RecordNotFoundError: "`crdt-sync list PATH MODEL` shows ids; `crdt-sync restore` brings a deleted record back.",
    StoreInUseError: "End the other process first; commands other than this one work beside `crdt-sync serve`.",
    RecordDeletedError: "Restore the record first: crdt-sync restore PATH MODEL ID.",
    StoreReadOnlyError: "Change the permissions of the file and of its folder.",
    NotACandidateError: "`crdt-sync conflicts show PATH ID` numbers the candidates.",
    UnknownFieldError: "`crdt-sync status PATH` lists models and fields.",
}
"""Where a class's own hint speaks of Python."""


class _Console(Console):
    """Leaves a broken pipe to `reporting`; rich would end the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(file: TextIO | None = None) -> Console:
    """Where text goes: standard output, or ``file``."""
    target = sys.stdout if file is None else file
    return _Console(file=target, width=None if target.isatty() else PIPE_WIDTH, highlight=False, markup=False)


def visible(value: str) -> str:
    """Text of a record as it may go to a terminal: what another device wrote must not steer this one's."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in value)


def emit(result: Json, *, as_json: bool, render: Callable[[Console, Json], None]) -> None:
    """Print a result: one JSON document, or as people read it."""
    with standard_output():
        if as_json:
            print(json.dumps(result, indent=2, ensure_ascii=not _takes_unicode(sys.stdout)))
        else:
            render(console(), result)


def emit_line(result: Json) -> None:
    """Print one line of JSON at once, for whoever waits for it."""
    with standard_output():
        print(json.dumps(result))


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """Standard output for a block, at whose end everything was written.

    Raises:
        StoreFullError, InputError: it cannot be written.
        BrokenPipeError: nobody reads it any more.
    """
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _let_go_of_output()
        kind = StoreFullError if error.errno == errno.ENOSPC else InputError
        hint = "Write to another place; what the command did to the store was kept."
        raise kind(f"standard output cannot be written: {error.strerror}", hint=hint) from None


def emit_error(error: CRDTSyncError, *, as_json: bool) -> None:
    """Print an error to standard error: what went wrong, and what can be done."""
    default = error.hint == type(error).default_hint
    error.hint = _HINTS.get(type(error), error.hint) if default else error.hint
    if as_json:
        print(json.dumps(error_json(error)), file=sys.stderr, flush=True)
        return
    out = console(sys.stderr)
    out.print(Text("error: ", style="bold red").append(visible(error.message), style="not bold default"))
    if error.hint:
        out.print(Text("hint: ", style="bold").append(visible(error.hint), style="not bold default"))


@contextmanager
def reporting(*, as_json: bool) -> Iterator[None]:
    """Turn errors into messages and exit codes.

    Raises:
        typer.Exit: with the error's exit code.
    """
    try:
        yield
    except CRDTSyncError as error:
        emit_error(error, as_json=as_json)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
    except BrokenPipeError:
        _let_go_of_output()  # whoever read it has had enough, as `head` does
        raise typer.Exit(0) from None


def _let_go_of_output() -> None:
    """Have what is still to be written go nowhere: Python would complain once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def short(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, str):
        return visible(value).replace("\n", "⏎")
    return visible(json.dumps(value, ensure_ascii=False))


def _takes_unicode(file: TextIO) -> bool:
    return (file.encoding or "").lower().replace("-", "") == "utf8"
