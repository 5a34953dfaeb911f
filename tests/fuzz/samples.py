"""The corpus: the files, and what is made here, since it is large, or honest as of today's code."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import msgpack

from crdt_sync.core import codec
from crdt_sync.core.blocks import Block, Bytes, DeleteRange, Update
from crdt_sync.core.entry import decode_entry, split_entries
from crdt_sync.core.entry import decode_run as read_run
from crdt_sync.core.ids import Author
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.update import encode_update
from crdt_sync.protocol.limits import FRAME_BYTES_FLOOR
from crdt_sync.protocol.wire import CHECKSUM_BYTES, FrameDecoder, encode_frames, join_message
from tests.fuzz.kept import Samples, kept
from tests.fuzz.opening import honest
from tests.fuzz.putting_back import honest_backups, honest_schedules
from tests.fuzz.quarantined import honest_quarantines
from tests.fuzz.replicas import pair, scene
from tests.fuzz.stores import honest_damage, stored
from tests.fuzz.wire import LIMITS, joined
from tests.unit.core.devices import Device
from tests.unit.core.hostile import OWNER, held
from tests.unit.protocol.replicas import FakeReplica, Pair
from tests.unit.protocol.test_hostile import HOSTILE
from tests.unit.replica.devices import ACTS, Task, memory

_CROWD: Final = "100,000 authors of one key"


def samples(target: str) -> Samples:
    """All of a target's corpus, by name."""
    made = _MADE.get(target)
    return {**kept(target), **({} if made is None else made())}


def _packets() -> Samples:
    """The packets of an honest conversation, and each hostile message of the protocol's tests."""
    left, right = FakeReplica(1), FakeReplica(2)
    left.records = [b"record"]
    left.write("a=1", "b=2")
    right.write("c=1")
    ends = Pair(left, right)
    found: Samples = {}
    for turn in range(6):
        for side, end, other in (("left", ends.left, ends.right), ("right", ends.right, ends.left)):
            end.handle()
            for number, frame in enumerate(end.session.data_to_send()):
                found[f"{side} says, {turn}.{number}"] = FrameDecoder(LIMITS).feed(frame) or b""
                other.session.receive(frame)
    return found | {name: join_message(*message) for name, (message, _) in HOSTILE.items()}


def _frames() -> Samples:
    packets = _packets()
    found = {name: joined(b"\0" + packet) for name, packet in packets.items() if len(packet) < 2**16}
    long = {"compressed": b"a" * 500, "in pieces": random.Random(1).randbytes(5_000)}
    for name, payload in long.items():
        pieces = encode_frames(join_message(0x85, payload), frame_bytes_max=FRAME_BYTES_FLOOR)
        found[name] = joined(*(frame[:-CHECKSUM_BYTES] for frame in pieces))
    return found


def _values() -> Samples:
    stored_values = (None, True, 2**70, -1, 1.5, float("nan"), "é😀", b"x", [1, [2]], (1, "a"), {"b": 1, "a": [()]})
    return {f"{value!r}": codec.encode(value) for value in stored_values}


def _entries() -> Samples:
    with memory(1) as writer:
        writer.create(Task, title="a")
        with writer.transaction():
            writer.create(Task, title="b", notes="é")
            writer.create(Task, tags=["x"])
        runs = [run for run, *_ in writer.port.runs_after(0, {}, bytes_max=1_000_000).runs]
        records = {f"record {at}": record for at, record in enumerate(writer.port.space_records(0)[0])}
    bodies = [read_run(run).body for run in runs]
    found = {f"run {at}": run for at, run in enumerate(runs)} | {f"body {at}": body for at, body in enumerate(bodies)}
    apart = [entry for body in bodies for entry in split_entries(body)]
    return found | {f"entry {at}": entry for at, entry in enumerate(apart)} | records


def _updates() -> Samples:
    """What the devices of the engine's tests write: in a new document, and in the record that targets hold."""
    found: Samples = {"of the record": held().state}
    device = Device(OWNER)
    device.create()
    rng = random.Random(1)
    for _ in range(12):
        device.random_edit(rng)
    found |= {f"edit {at}": entry[3] for at, entry in enumerate(device.log)}
    other = Device(9)
    other.receive((Author(OWNER), 0, device.log[0][2], held().state))
    for _ in range(12):
        other.random_edit(rng)
    found |= {f"edit of another's record {at}": entry[3] for at, entry in enumerate(other.log[1:])}
    key = map_key(KeyClass.TOUCH, Author(OWNER))
    touch = Block(9, 0, 1, None, None, "m", map_key(KeyClass.TOUCH, Author(9)), Bytes(b""))
    nested = b"\x01\x01\x07\x00\x28\x01\x01m" + bytes((len(key),)) + key.encode() + b"\x01"
    return found | {
        "20,000 nested arrays": nested + b"\x75\x01" * 20_000 + b"\x7e\x00",
        _CROWD: _crowd(100_000),
        "a deletion of everything by somebody else": encode_update(Update((touch,), (DeleteRange(OWNER, 0, 21),))),
    }


def _crowd(authors: int) -> bytes:
    """One key, written by many at once."""
    key = map_key(KeyClass.TOUCH, Author(OWNER))
    blocks = tuple(Block(author, 0, 1, None, None, "m", key, Bytes(b"")) for author in range(1, authors + 1))
    return encode_update(Update(blocks, ()))


def _contents() -> Samples:
    """The same; as content the crowd is judged block by block, so it is a smaller one."""
    found = _updates() | kept("updates")
    del found[_CROWD]
    return found | {"10,000 authors of one key": _crowd(10_000)}


def _runs() -> Samples:
    """What the writer does next, as updates and as a whole entry."""
    pair.cache_clear()
    here = pair()
    found: Samples = {}
    for act in ACTS.values():
        with here.writer.transaction():
            act(here.writer, next(iter(here.writer.find(Task)), None) or here.writer.create(Task))
    last = [run for run, *_ in here.writer.port.runs_after(0, {}, bytes_max=1_000_000).runs][-1]
    for at, data in enumerate(split_entries(read_run(last).body)[1:]):
        entry = decode_entry(data)
        found[f"entry {at}"] = b"\4" + data
        for operation in entry.operations:
            found[f"{operation.type.value} {at}"] = b"\1" + operation.update
            found[f"{operation.type.value} {at} elsewhere"] = b"\3" + operation.update
    pair.cache_clear()
    return found | {name: b"\1" + data for name, data in kept("updates").items()}


def _bases() -> Samples:
    first, *_ = (data for _, data in sorted(scene().bases.items()))
    flat, state, until, since = (*msgpack.unpackb(first), 0)[:4]
    found = {"as it is": first, "of no document": msgpack.packb([flat, b"", until])}
    found["of a stranger"] = msgpack.packb([[*flat, flat[0] + 1, 1], state, until, since])
    return found | {"beyond the floor": msgpack.packb([[flat[0], 2**63], state, until])}


def _rows() -> Samples:
    """Each row empty, and the first of each table as it is."""
    return _firsts() | {f"row {at} empty": at.to_bytes(2, "big") for at in range(len(stored().rows))}


def _firsts() -> Samples:
    """The first row of each table, as it is and empty."""
    found: Samples = {}
    for at, (table, _, value) in enumerate(stored().rows):
        found.setdefault(f"{table} as it is", at.to_bytes(2, "big") + value)
        found.setdefault(f"{table} empty", at.to_bytes(2, "big"))
    return found


_MADE: Final[dict[str, Callable[[], Samples]]] = {
    "handshake": honest,
    "backups": honest_backups,
    "schedules": honest_schedules,
    "quarantined": honest_quarantines,
    "frames": _frames,
    "messages": _packets,
    "session": _packets,
    "values": _values,
    "entries": _entries,
    "updates": _updates,
    "contents": _contents,
    "runs": _runs,
    "bases": _bases,
    "rows": _rows,
    "damaged": lambda: _firsts() | honest_damage(),
}
