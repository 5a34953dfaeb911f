"""From a path on the command line to somebody who does actions on that store: here, or in the serving process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from crdt_sync.cli.actions import Action, Actor, Json
from crdt_sync.cli.actions.base import P
from crdt_sync.cli.actions.transfer import sources
from crdt_sync.cli.control import ControlClient
from crdt_sync.cli.model_files import load_models
from crdt_sync.errors import InputError, StoreInUseError, StoreNotFoundError, StoreReadOnlyError
from crdt_sync.replica import Replica
from crdt_sync.replica.restoring import end_interrupted
from crdt_sync.storage.base import Table
from crdt_sync.storage.sqlite import open_sqlite


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A store as named on the command line.

    Args:
        path: its file.
        models: the Python file or module that declares its models; None takes them from the store.
    """

    path: Path
    models: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Glimpse:
    """What can be seen of a store from outside: its replica's id, and whether documents wait to be derived."""

    replica_id: str
    is_behind: bool


def open_replica(
    place: Place, *, create: bool = False, read_only: bool = False, device_name: str | None = None
) -> Replica:
    """Open a store in this process.

    Args:
        place: the store.
        create: make it where there is none.
        read_only: for reading beside another process.
        device_name: what the device calls itself from now on; None leaves it.

    Raises:
        CRDTSyncError: what `Replica.open` and `load_models` raise.
    """
    if create and not place.path.parent.is_dir():  # taking the lock would make the folder
        raise StoreNotFoundError(f"there is no folder {place.path.parent}", hint="Make the folder first.")
    models = None if place.models is None else load_models(place.models)
    return Replica.open(
        place.path, models, create=create, read_only=read_only, device_name=device_name, sources=sources()
    )


@contextmanager
def reach(place: Place, *, writes: bool) -> Iterator[Actor]:
    """Somebody who does actions on a store, for a block.

    A store that is served is asked through its process. One that an app has open can be read, not written. Reading
    changes nothing, except that a store that was not closed cleanly is brought up to date first, and a restore or a
    repair that was interrupted is ended.

    Args:
        place: the store.
        writes: whether the actions change it.

    Raises:
        CRDTSyncError: the store cannot be opened, or is in use by a process that takes no commands.
    """
    end_interrupted(place.path)
    glimpse = _look(place.path)
    client = _served_by(glimpse.replica_id, place.path)
    if client is not None:
        with closing(client):
            if place.models is not None:
                raise InputError(
                    "this store is being served, with the models that it was started with",
                    hint="Leave --models out, or stop the serving process first.",
                )
            yield client
        return
    with _open(place, writes=writes, is_behind=glimpse.is_behind) as replica:
        yield _local(replica)


def _open(place: Place, *, writes: bool, is_behind: bool) -> Replica:
    if not writes and not is_behind and place.models is None:
        return open_replica(place, read_only=True)
    try:
        return open_replica(place)
    except StoreInUseError as error:
        if not writes:
            return open_replica(place, read_only=True)
        who = "another process" if error.pid is None else f"process {error.pid}"
        hint = f"End {who}, or let it be `crdt-sync serve`, which answers commands while it runs."
        if error.pid == os.getpid():
            hint = error.hint
        raise StoreInUseError(error.message, pid=error.pid, hint=hint) from None
    except StoreReadOnlyError:
        if writes:
            raise
        return open_replica(place, read_only=True)


def _local(replica: Replica) -> Actor:
    def act(action: Action[P], params: P, /) -> Json:
        return action.work(replica, params)

    return act


def _served_by(replica_id: str, path: Path) -> ControlClient | None:
    if not hasattr(socket, "AF_UNIX"):
        return None
    try:
        return ControlClient(replica_id, store=path)
    except ConnectionError:
        return None  # the usual case: nobody serves it


def _look(path: Path) -> _Glimpse:
    with open_sqlite(path, create=False, read_only=True) as store:
        return _Glimpse(
            replica_id=(store.get(Table.META, b"replica_id") or b"").hex(),
            is_behind=store.count(Table.DIRTY) > 0,
        )
