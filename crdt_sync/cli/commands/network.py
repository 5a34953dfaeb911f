"""Commands that talk to peers: serve, sync."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

import typer

from crdt_sync.cli import render
from crdt_sync.cli.actions.base import Json
from crdt_sync.cli.actions.network import SYNC, SyncParams
from crdt_sync.cli.conflict_text import device
from crdt_sync.cli.control import error_json
from crdt_sync.cli.opening import Place, reach
from crdt_sync.cli.options import AsJson, Models, PeerTimeout, StorePath
from crdt_sync.cli.output import console, emit, emit_error, emit_line, reporting
from crdt_sync.cli.serving import serve_store
from crdt_sync.errors import CRDTSyncError, StoreError

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def serve(
    *,
    path: StorePath,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="The port; 0 picks a free one.")
    ] = 0,
    open_space: Annotated[
        bool,
        typer.Option(
            "--open", help="Admit devices from other machines. Anyone who reaches the port can read and write all."
        ),
    ] = False,
    peer: Annotated[
        list[str] | None,
        typer.Option("--peer", metavar="URL", help="Stay connected with this peer; repeatable.", show_default=False),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log each connection to standard error.")] = False,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Serve a store to peers until Ctrl-C or SIGTERM. Other commands on it work meanwhile.

    With --json, one line of JSON with the url is printed once peers can connect.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )

    def ready(where: Json) -> None:
        if as_json:
            emit_line(where)
        else:
            out = console()
            out.print(f"serving {where['path']} at {where['url']} as {device(where)}; Ctrl-C ends it")
            out.file.flush()

    with reporting(as_json=as_json):
        place = Place(path=path, models=models)
        serving = serve_store(place, host=host, port=port, open_space=open_space, peers=tuple(peer or ()), ready=ready)
        asyncio.run(serving)


def sync(
    *,
    path: StorePath,
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="ws://host:port of each peer.")],
    timeout_s: PeerTimeout = 60.0,
    models: Models = None,
    as_json: AsJson = False,
) -> None:
    """Exchange everything with peers once, and prove that both sides hold the same.

    What was exchanged before an error is kept; syncing again goes on from there. Where one of several peers fails the
    others are synced all the same; the exit code is that of the first failure.
    """
    with reporting(as_json=as_json):
        reports: list[Json] = []
        failures: list[CRDTSyncError] = []
        with reach(Place(path=path, models=models), writes=True) as act:
            for url in urls:
                try:
                    report = act(SYNC, SyncParams(url=url, timeout_s=timeout_s))
                except CRDTSyncError as error:
                    failures.append(error)
                    emit_error(error, as_json=as_json)
                    reports.append({"url": url, "proven_equal": False, **error_json(error)})
                    if isinstance(error, StoreError):
                        break  # it would fail with every other peer, too
                else:
                    reports.append(report)
                    if not as_json:
                        render.show_report(console(), report)
        if as_json and (len(urls) > 1 or not failures):
            emit({"peers": reports}, as_json=True, render=render.show_report)
        if failures:
            raise typer.Exit(failures[0].exit_code)
