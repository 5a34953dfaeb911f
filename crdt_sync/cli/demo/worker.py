"""One process of the demo: a replica that does what the demo tells it, one JSON line each way.

Run as ``python -m crdt_sync.cli.demo.worker STORE STATE_DIR``. A line in is ``{"do": name, …}``; lines out are
``{"progress": [done, total]}`` and then ``{"result": …}`` or ``{"error": …, "hint": …}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from blake3 import blake3

from crdt_sync.aio import Peer, connect, serve
from crdt_sync.cli.demo.data import City, load_cities
from crdt_sync.core.conflict import Conflict
from crdt_sync.errors import CRDTSyncError, InputError
from crdt_sync.replica import Replica

TRANSACTION_RECORDS = 1_000
CATCH_UP_TIMEOUT_S = 60.0
PROGRESS_INTERVAL_S = 0.2

Command = dict[str, Any]


class Worker:
    """A replica and, while it is online, its connection."""

    def __init__(self, replica: Replica, stack: AsyncExitStack) -> None:
        self._replica = replica
        self._stack = stack
        self._online: AsyncExitStack | None = None
        self._peer: Peer | None = None

    async def do(self, command: Command) -> Any:
        """Carry out one command."""
        actions: dict[str, Callable[[Command], Awaitable[Any]]] = {
            "serve": self._serve,
            "import": self._import,
            "connect": self._connect,
            "catch_up": self._catch_up,
            "disconnect": self._disconnect,
            "pick": self._pick,
            "edit": self._edit,
            "show": self._show,
            "conflicts": self._conflicts,
            "resolve": self._resolve,
            "proof": self._proof,
        }
        return await actions[command["do"]](command)

    async def _serve(self, command: Command) -> Any:
        del command
        server = await self._stack.enter_async_context(serve(self._replica))
        return {"url": server.url, "device": self._replica.device_id}

    async def _import(self, command: Command) -> Any:
        cities = load_cities(command["records"])
        began = time.monotonic()
        for start in range(0, len(cities), TRANSACTION_RECORDS):
            with self._replica.transaction():
                for city in cities[start : start + TRANSACTION_RECORDS]:
                    self._replica.create(City, **city)
            say({"progress": [min(start + TRANSACTION_RECORDS, len(cities)), len(cities)]})
        return {"records": len(cities), "seconds": time.monotonic() - began, "device": self._replica.device_id}

    async def _connect(self, command: Command) -> Any:
        online = AsyncExitStack()
        self._peer = await online.enter_async_context(connect(self._replica, command["url"]))
        self._online = online
        return await self._catch_up(command)

    async def _catch_up(self, command: Command) -> Any:
        del command
        peer = self._connected()
        began = time.monotonic()
        reporting = asyncio.create_task(self._report(peer))
        try:
            await peer.caught_up(timeout_s=CATCH_UP_TIMEOUT_S)
        finally:
            reporting.cancel()
        traffic = peer.traffic
        return {
            "seconds": time.monotonic() - began,
            "bytes_in": traffic.bytes_in,
            "bytes_out": traffic.bytes_out,
            "messages": traffic.messages_in + traffic.messages_out,
            "device": self._replica.device_id,
        }

    async def _report(self, peer: Peer) -> None:
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            say({"moved": peer.traffic.bytes_in + peer.traffic.bytes_out})

    async def _disconnect(self, command: Command) -> Any:
        del command
        if self._online is not None:
            await self._online.aclose()
        self._online = self._peer = None
        return {}

    async def _pick(self, command: Command) -> Any:
        """The largest cities, for the demo to play with: id and name."""
        found = self._replica.find(City, order_by=["-population", "name"], limit=command["count"])
        return [{"id": city.id, "name": city.name} for city in found]

    async def _edit(self, command: Command) -> Any:
        for edit in command["edits"]:
            self._edit_one(edit)
        return {"pending": self._replica.pending_count()}

    def _edit_one(self, edit: Command) -> None:
        if edit["op"] == "create":
            self._replica.create(City, **edit["values"])
            return
        city = self._replica.get(City, edit["id"])
        match edit["op"]:
            case "set":
                self._replica.update(city, **edit["values"])
            case "append":
                city.notes.append(edit["text"])
            case "prepend":
                city.notes.insert(0, edit["text"])
            case "visit":
                city.visits.increment(edit["n"])
            case "tag":
                city.tags.add(edit["tag"])
            case "delete":
                self._replica.delete(city)
            case other:
                raise InputError(f"the demo knows no edit {other!r}")

    async def _show(self, command: Command) -> Any:
        city = self._replica.get(City, command["id"])
        candidates = self._replica.candidates(city, "population")
        return {
            "name": city.name,
            "population": city.population,
            "population_candidates": len(candidates),
            "notes": str(city.notes),
            "visits": int(city.visits),
            "tags": sorted(city.tags),
            "twin_city": city.twin_city,
        }

    async def _conflicts(self, command: Command) -> Any:
        del command
        return [_conflict(conflict) for conflict in self._replica.conflicts(model=City)]

    async def _resolve(self, command: Command) -> Any:
        for conflict in self._replica.conflicts(model=City):
            if conflict.id == command["id"]:
                self._replica.resolve(conflict, take=conflict.candidates[command["take"]])
        return {}

    async def _proof(self, command: Command) -> Any:
        """What this replica holds, twice over: the engine's fingerprint, and a hash of what a user can read."""
        del command
        content = blake3()
        cities = self._replica.find(City, order_by="id")
        for city in cities:
            values = city.model_dump()
            values["tags"] = sorted(values["tags"])
            content.update(json.dumps([city.id, values], sort_keys=True).encode())
        return {
            "records": len(cities),
            "fingerprint": self._replica.port.fingerprint("").hex(),
            "content": content.hexdigest(16),
            "pending": self._replica.pending_count(),
            "conflicts": len(self._replica.conflicts()),
            "device": self._replica.device_id,
        }

    def _connected(self) -> Peer:
        if self._peer is None:
            raise InputError("this device is offline")
        return self._peer


def _conflict(conflict: Conflict) -> dict[str, Any]:
    return {
        "id": conflict.id,
        "record": conflict.record_id,
        "field": conflict.field,
        "base": conflict.base if conflict.base is None or isinstance(conflict.base, str) else repr(conflict.base),
        "candidates": [
            {"value": item.value, "device": item.device_id, "time_ms": item.timestamp >> 16}
            for item in conflict.candidates
        ],
        "shown": conflict.value,
    }


def say(message: dict[str, Any]) -> None:
    """Write one line for the demo to read."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def work(store: Path, state_dir: Path) -> None:
    """Carry out commands until standard input ends."""
    with Replica.open(store, [City], state_dir=state_dir) as replica:
        async with AsyncExitStack() as stack:
            worker = Worker(replica, stack)
            while line := await asyncio.to_thread(sys.stdin.readline):
                try:
                    say({"result": await worker.do(json.loads(line))})
                except CRDTSyncError as error:
                    say({"error": error.message, "hint": error.hint})
            await worker.do({"do": "disconnect"})


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), Path(sys.argv[2])))
