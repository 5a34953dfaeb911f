"""Writes the tables of docs/reference/cli.md from the application itself: `python -m tests.unit.cli.reference`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from crdt_sync import errors
from crdt_sync.cli.main import app

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "cli.md"
START, END = "<!-- made from the application: begin {} -->", "<!-- made from the application: end {} -->"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, in the order of the help."""
    root: Any = get_command(app)
    pending = [("crdt-sync", root)]
    while pending:
        name, found = pending.pop(0)
        inner = getattr(found, "commands", None)
        if inner is None:
            yield name, found
        else:
            pending = [(f"{name} {part}", item) for part, item in inner.items()] + pending


def parameters(found: Any) -> list[tuple[str, str]]:
    """What a command takes, as (name, help)."""
    rows = []
    for item in found.params:
        if item.param_type_name == "argument":
            rows.append((item.metavar or item.name.upper(), item.help or ""))
        else:
            metavar = f" {item.metavar}" if item.metavar else ""
            default = "" if item.is_flag or item.default in (None, ()) else f" Default: {item.default}."
            repeat = " Repeatable." if item.multiple and "repeat" not in (item.help or "") else ""
            rows.append((", ".join(item.opts) + metavar, f"{item.help or ''}{repeat}{default}"))
    return rows


def commands_text() -> str:
    """A section for each command."""
    parts = []
    for name, found in commands():
        usage = " ".join(label for label, _ in parameters(found) if not label.startswith("-"))
        parts.append(f"### `{name}`\n\n```\n{name} {usage} [OPTIONS]\n```\n".replace("  ", " "))
        parts.append(inspect.cleandoc(found.help or "") + "\n")
        rows = [f"| `{label.replace('|', chr(92) + '|')}` | {text} |" for label, text in parameters(found)]
        parts.append("\n".join(["| takes | meaning |", "| --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def exit_codes_text() -> str:
    """Every exit code with the errors that have it."""
    by_code: dict[int, list[str]] = {}
    for name, found in inspect.getmembers(errors, inspect.isclass):
        if issubclass(found, errors.CRDTSyncError) and found.__module__ == errors.__name__:
            by_code.setdefault(found.exit_code, []).append(f"`{name}`")
    rows = [f"| {code} | {', '.join(sorted(names))} |" for code, names in sorted(by_code.items())]
    return "\n".join(["| code | errors |", "| --- | --- |", "| 0 | none |", *rows, "| 130 | interrupted by Ctrl-C |"])


PARTS = {"commands": commands_text, "exit codes": exit_codes_text}


def updated(page: str) -> str:
    """The page with its tables made anew."""
    for name, text in PARTS.items():
        start, end = START.format(name), END.format(name)
        head, _, rest = page.partition(start)
        _, _, tail = rest.partition(end)
        page = f"{head}{start}\n\n{text().strip()}\n\n{end}{tail}"
    return page


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
