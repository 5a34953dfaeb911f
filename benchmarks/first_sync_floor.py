"""The floor of `first-sync`: bytes from SQLite over a bare websocket into SQLite, in bulk and unseen."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from time import process_time
from uuid import uuid4

import apsw
import lz4.block
import msgpack
from pycrdt import Doc, Map
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.harness import Stopwatch
from benchmarks.machine import peak_memory_bytes
from benchmarks.processes import arguments, hear, hear_later, say
from benchmarks.records import Generator, Values, digest

BATCH_BYTES = 256 * 1024
_BATCHES = "CREATE TABLE batch (number INTEGER PRIMARY KEY, data BLOB)"
_DOCUMENT = "CREATE TABLE document (id BLOB PRIMARY KEY, data BLOB) WITHOUT ROWID"
_TASK = f"CREATE TABLE task (id BLOB PRIMARY KEY, {', '.join(Values._fields)}) WITHOUT ROWID"
_PUT_TASK = f"INSERT INTO task VALUES ({', '.join('?' * (len(Values._fields) + 1))})"  # noqa: S608  names of ours
_GET_TASKS = f"SELECT {', '.join(Values._fields)} FROM task"  # noqa: S608  names of ours


def prepare(folder: Path, *, records: int, seed: int) -> None:
    """Keep each record as the update that a pycrdt document makes of it, with its values, in compressed batches."""
    database = open_database(folder, _BATCHES)
    rows: list[bytes] = []
    size = 0
    for values in Generator(seed).records(records):
        row = msgpack.packb((uuid4().bytes, update_of(values)))
        rows.append(row)
        size += len(row)
        if size >= BATCH_BYTES:
            put_batch(database, rows)
            rows, size = [], 0
    if rows:
        put_batch(database, rows)
    database.close()
    say(done=True)


def update_of(values: Values) -> bytes:
    """The update of a document that holds the record in one map entry, as ours does."""
    document: Doc[Map[object]] = Doc(client_id=1)
    document.get("m", type=Map)["!"] = msgpack.packb([text_of(value) for value in values])
    return document.get_update()


def text_of(value: object) -> object:
    """Dates as their text."""
    return value.isoformat() if isinstance(value, date) else value


def values_of(update: bytes) -> list[object]:
    """The values in such an update, read where they must be: behind the length of the last byte string."""
    start = update.index(b"\x01\x74") + 2
    start += 2 if update[start] > 127 else 1
    values: list[object] = msgpack.unpackb(update[start:-1])
    return values


def put_batch(database: apsw.Connection, rows: list[bytes]) -> None:
    """Keep one batch as it will be sent."""
    data = lz4.block.compress(b"".join(rows), mode="high_compression", compression=9)
    database.execute("INSERT INTO batch (data) VALUES (?)", (data,))


def open_database(folder: Path, *tables: str) -> apsw.Connection:
    """A database with synced commits."""
    database = apsw.Connection(str(folder / "floor.db"))
    database.pragma("journal_mode", "wal")
    database.pragma("synchronous", "full")
    for table in tables:
        database.execute(table)
    return database


async def serve_one(folder: Path) -> None:
    """Send all batches to whoever connects."""
    database = open_database(folder)

    async def send_all(connection: ServerConnection) -> None:
        for (data,) in database.execute("SELECT data FROM batch ORDER BY number"):
            await connection.send(data)

    async with serve(send_all, "127.0.0.1", 0, compression=None) as server:
        say(url=f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
        before = process_time()
        await hear_later()
        cpu_s, peak_bytes = process_time() - before, peak_memory_bytes()
    found: list[list[object]] = []
    for (data,) in database.execute("SELECT data FROM batch"):
        found += [values_of(update) for _, update in unpacked(data)]
    database.close()
    say(cpu_s=cpu_s, peak_bytes=peak_bytes, content=digest(map(tuple, found)), fingerprint="", spent={})


def unpacked(data: bytes) -> list[tuple[bytes, bytes]]:
    """The rows of a batch."""
    unpacker = msgpack.Unpacker(use_list=False)
    unpacker.feed(lz4.block.decompress(data))
    return list(unpacker)


async def receive(folder: Path) -> None:
    """Put everything that comes into SQLite."""
    database = open_database(folder, _DOCUMENT, _TASK)
    say(ready=True)
    told = hear()
    frame_bytes = 0
    with Stopwatch() as watch:
        async with connect(told["url"], compression=None, max_size=None, proxy=None) as connection:
            async for data in connection:
                assert isinstance(data, bytes)
                frame_bytes += len(data)
                put_rows(database, unpacked(data))
        found = database.execute("SELECT count(*) FROM task").get
        database.execute(f"{_GET_TASKS} ORDER BY title LIMIT 100").fetchall()
    assert found == told["records"], f"{found} of {told['records']} records can be read"
    peak_bytes = peak_memory_bytes()
    stored = [(title, body, bool(done), *rest) for title, body, done, *rest in database.execute(_GET_TASKS)]
    database.close()
    say(
        wall_s=watch.wall_s,
        cpu_s=watch.cpu_s,
        peak_bytes=peak_bytes,
        frame_bytes=frame_bytes,
        handshake_bytes=0,
        content=digest(stored),
        fingerprint="",
        spent={},
    )


def put_rows(database: apsw.Connection, rows: list[tuple[bytes, bytes]]) -> None:
    """One commit for each batch: the documents, and the table to query."""
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT INTO document VALUES (?, ?)", rows)
    database.executemany(_PUT_TASK, ((key, *values_of(update)) for key, update in rows))
    database.execute("COMMIT")


def main() -> None:
    """Take the part that the command line names."""
    told = arguments()
    folder = Path(told["folder"])
    match told["part"]:
        case "prepare":
            prepare(folder, records=told["records"], seed=told["seed"])
        case "server":
            asyncio.run(serve_one(folder))
        case _:
            asyncio.run(receive(folder))


if __name__ == "__main__":
    main()
