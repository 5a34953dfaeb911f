"""A hub whose disk gets full when it is told to: ``python -m tests.e2e.cramped STORE STATE HOW``, lines of JSON.

``HOW`` is ``tmpfs``, where the store lies on a small file system of this process alone, or ``limit``, where the system
lets none of its files grow.
"""

from __future__ import annotations

import asyncio
import errno
import json
import resource
import sys
from pathlib import Path
from typing import Any

from crdt_sync import Replica, serve
from crdt_sync.errors import CRDTSyncError
from tests.e2e.programs import say
from tests.unit.aio.network import Task, titles

FILLER_BYTES = 16 * 1024
LEFT_BYTES = 64 * 1024
"""Room that is left when the disk is said to be full: the first writes pass."""
WRITES_MAX = 500


class Place:
    """The disk."""

    def __init__(self, store: Path, *, how: str) -> None:
        self._store = store
        self._how = how
        self._filler = store.with_name("filler")

    def fill(self) -> None:
        if self._how == "limit":
            sizes = [path.stat().st_size for path in self._store.parent.glob(f"{self._store.name}*")]
            resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes) + LEFT_BYTES, resource.RLIM_INFINITY))
            return
        with self._filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(FILLER_BYTES))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            file.truncate(max(0, file.tell() - LEFT_BYTES))

    def make_room(self) -> None:
        if self._how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            return
        self._filler.unlink()


def write(replica: Replica, count: int, *, name: str) -> dict[str, Any]:
    """Write until it fails or was done so often: what was saved, and the error."""
    saved: list[str] = []
    try:
        for number in range(count):
            replica.create(Task, title=f"{name} {number}", notes=f"{number}." * 500)
            saved.append(f"{name} {number}")
    except CRDTSyncError as error:
        return {"saved": saved, "error": type(error).__name__, "hint": error.hint}
    return {"saved": saved, "error": None, "hint": ""}


async def main() -> None:
    store, state, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    place = Place(store, how=how)
    with Replica.open(store, [Task], state_dir=state) as replica:
        async with serve(replica) as server:
            say(port=server.port)
            while line := await asyncio.to_thread(sys.stdin.readline):
                match json.loads(line):
                    case ["fill"]:
                        place.fill()
                        say()
                    case ["room"]:
                        place.make_room()
                        say()
                    case ["write", int(count), str(name)]:
                        say(**write(replica, count, name=name))
                    case _:
                        say(titles=sorted(titles(replica)), check=replica.check().total)


if __name__ == "__main__":
    asyncio.run(main())
