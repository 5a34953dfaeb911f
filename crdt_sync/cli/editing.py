"""A value edited by somebody at a terminal, in the editor of their choice."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from crdt_sync.errors import InputError

Editor = Callable[[str], str]
"""Takes a text, and gives what became of it."""


def editor_of_user() -> Editor | None:
    """The editor that ``$VISUAL`` or ``$EDITOR`` names; None where neither does, or no terminal is there for it."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not command or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    return lambda text: _edited(command, text)


def _edited(command: str, text: str) -> str:
    """Have a text edited in a file that only this user reads.

    A line end that editors put behind the last line is taken away again, unless the text had one.

    Raises:
        InputError: the editor cannot be run, or it failed, or what it left is no text.
    """
    hint = "Set $VISUAL or $EDITOR to an editor, or leave both out to type the value."
    with tempfile.TemporaryDirectory(prefix="crdt-sync-") as folder:  # mode 0700
        file = Path(folder) / "value.txt"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            done = subprocess.run([*shlex.split(command), str(file)], check=False)  # noqa: S603  the user's own choice
            if done.returncode:
                raise InputError(f"the editor {command!r} ended with code {done.returncode}", hint=hint)
            edited = file.read_bytes().decode()
        except (OSError, ValueError) as error:
            raise InputError(f"the editor {command!r} gave no text: {error}", hint=hint) from None
    return edited if text.endswith("\n") else edited.removesuffix("\n")
