"""The processes of `first-sync` for crdt_sync: who prepares the store, the server, and the device."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path
from time import process_time

from benchmarks.harness import Stopwatch
from benchmarks.machine import peak_memory_bytes
from benchmarks.processes import arguments, hear, hear_later, say
from benchmarks.records import Generator, Task, contents, digest
from benchmarks.sampling import Sampler
from crdt_sync import Replica, connect, serve
from crdt_sync.storage.base import Durability

CAUGHT_UP_TIMEOUT_S = 120.0
FIRST_PAGE = 100


def prepare(folder: Path, *, records: int, seed: int, batch: int) -> None:
    """Write the records on the server's own device, and close its store."""
    values = Generator(seed).records(records)
    with open_replica(folder, durability="normal") as replica:
        for start in range(0, records, batch):
            with replica.transaction():
                for given in values[start : start + batch]:
                    replica.create(Task, **given.given())
    say(done=True)


async def serve_one(folder: Path, *, profiled: bool) -> None:
    """Open the store, serve until told to stop, and say what it cost."""
    sampler = Sampler() if profiled else None
    with open_replica(folder) as replica:
        async with serve(replica) as server:
            say(url=server.url)
            before = process_time()
            with sampler or nullcontext():
                await hear_later()
            cpu_s, peak_bytes = process_time() - before, peak_memory_bytes()
        say(cpu_s=cpu_s, peak_bytes=peak_bytes, spent=sampler.spent() if sampler else {}, **state(replica))


async def receive(folder: Path, *, profiled: bool) -> None:
    """Open an empty store, sync when told to, and say what it cost."""
    sampler = Sampler() if profiled else None
    with open_replica(folder) as replica:
        say(ready=True)
        told = hear()
        with sampler or nullcontext(), Stopwatch() as watch:
            async with connect(replica, told["url"]) as peer:
                await peer.caught_up(timeout_s=CAUGHT_UP_TIMEOUT_S)
                found = replica.count(Task)
                page = [task.model_dump() for task in replica.find(Task, order_by="title", limit=FIRST_PAGE)]
                watch.stop()
                traffic = peer.traffic
        assert found == told["records"], f"{found} of {told['records']} records can be read"
        assert len(page) == min(FIRST_PAGE, found)
        say(
            wall_s=watch.wall_s,
            cpu_s=watch.cpu_s,
            peak_bytes=peak_memory_bytes(),
            frame_bytes=traffic.bytes_in + traffic.bytes_out - traffic.handshake_bytes,
            handshake_bytes=traffic.handshake_bytes,
            spent=sampler.spent() if sampler else {},
            **state(replica),
        )


def open_replica(folder: Path, *, durability: Durability = "full") -> Replica:
    """A store in the folder."""
    return Replica.open(folder / "store.db", [Task], durability=durability, state_dir=folder / "state")


def state(replica: Replica) -> dict[str, str]:
    """What both sides must have alike."""
    content = digest(contents(task.model_dump() for task in replica.find(Task)))
    return {"content": content, "fingerprint": replica.port.fingerprint("").hex()}


def main() -> None:
    """Take the part that the command line names."""
    told = arguments()
    folder = Path(told["folder"])
    match told["part"]:
        case "prepare":
            prepare(folder, records=told["records"], seed=told["seed"], batch=told["batch"])
        case "server":
            asyncio.run(serve_one(folder, profiled=told["profiled"]))
        case _:
            asyncio.run(receive(folder, profiled=told["profiled"]))


if __name__ == "__main__":
    main()
