"""The command `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crdt_sync.cli.options import AsJson
from crdt_sync.cli.output import reporting


def demo(
    *,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Keep the stores in this new or empty folder.", show_default=False),
    ] = None,
    records: Annotated[
        int | None, typer.Option("--records", metavar="N", help="Use at most so many records.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See a hub and two devices edit offline, meet and converge, on real data."""
    from crdt_sync.cli.demo import run_demo  # noqa: PLC0415  its data takes long to load, and is an extra

    with reporting(as_json=as_json):
        code = run_demo(keep=keep, records=records, as_json=as_json)
        if code:
            raise typer.Exit(code)
