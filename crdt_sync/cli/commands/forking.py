"""The command on forks that stay apart."""

from __future__ import annotations

from crdt_sync.cli import render
from crdt_sync.cli.actions.forking import FORKS
from crdt_sync.cli.actions.journal import NoParams
from crdt_sync.cli.commands.running import run
from crdt_sync.cli.options import AsJson, Models, StorePath


def forks(*, path: StorePath, models: Models = None, as_json: AsJson = False) -> None:
    """Show devices that wrote on from two pasts, what of it is held elsewhere, and which records that affects.

    It happens when a whole machine is taken back to an earlier moment, or cloned, and both pasts sync before they meet.
    Nothing is lost: each store keeps what it holds.
    """
    run(FORKS, NoParams(), path=path, models=models, as_json=as_json, render=render.show_forks)
