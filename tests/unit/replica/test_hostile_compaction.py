"""What peers send about compaction is judged before anything is changed: snapshots and signed vectors of any bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdt_sync import Replica
from crdt_sync.core.entry import ChainHash
from crdt_sync.core.ids import Author, DocumentKey, RecordId, document_key
from crdt_sync.protocol.codes import ErrorCode, PeerError
from crdt_sync.protocol.durable import DurableVector, Holdings, decode_durable
from crdt_sync.protocol.events import SnapshotReceived
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.snapshots import EMPTY_ROOT, Snapshot, content_root, snapshot_statement
from crdt_sync.protocol.source import StatusKind, Voucher
from crdt_sync.protocol.vectors import Position
from crdt_sync.replica.checking import check_store
from crdt_sync.security.identity import DeviceKey
from crdt_sync.storage.base import Table
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import Picture, Task, memory, picture, state_of, store_of

LIMITS = WireLimits()
Documents = dict[DocumentKey, bytes]
Floor = dict[Author, Position]


class Scene:
    """A replica that holds a task, and a peer of it that has folded the task and a later one."""

    def __init__(self) -> None:
        self.hub, self.here = memory(1), memory(2)
        self.task = self.hub.create(Task, title="both have it", notes="né", tags=["a"])
        self.sync()
        self.here.create(Task, title="unsent")
        with memory(3) as other:
            self.hub.create(Task, title="later")
            exchange(other, self.hub)
            self.hub.compact(retention_s=0)
        self.bases: Documents = {DocumentKey(key): data for key, data in store_of(self.hub).scan(Table.BASE)}
        self.floor: Floor = dict(self.hub.port.floors()[""])

    @property
    def key(self) -> DeviceKey:
        return self.hub.port.key

    def sync(self) -> None:
        for _ in range(2):
            assert exchange(self.here, self.hub).proven_equal

    def received(self, documents: Documents, floor: Floor, key: DeviceKey, partition: str = "") -> SnapshotReceived:
        ordered = sorted(documents.items())
        root = content_root(ordered, seed=EMPTY_ROOT)
        statement = snapshot_statement(state_of(self.here).space, partition=partition, floor=floor, root=root)
        voucher = Voucher(floor, key.sign(statement))
        return SnapshotReceived(batch=1, partition="", first=True, documents=tuple(ordered), voucher=voucher)

    def close(self) -> None:
        self.hub.close()
        self.here.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


@cache
def shared() -> Scene:
    """One scene for properties that leave it as it is."""
    return Scene()


def refusals(here: Replica, event: SnapshotReceived, public_key: bytes) -> tuple[str, ...]:
    """Hand a snapshot in; the codes of what was refused."""
    batch = here.port.accept_snapshot(event, public_key)
    assert all(status.kind is StatusKind.REFUSED for status in batch.outcome.statuses)
    assert batch.restated == (not batch.outcome.statuses)
    return tuple(status.code for status in batch.outcome.statuses)


def later_than(before: Picture, here: Replica) -> list[str]:
    """Which tables changed."""
    after = picture(here)
    return [name for name in before if before[name] != after[name]]


def test_the_scene_s_snapshot_is_taken_over_as_it_is(scene: Scene) -> None:
    event = scene.received(scene.bases, scene.floor, scene.key)
    assert refusals(scene.here, event, scene.key.public_key) == ()
    assert {task.title for task in scene.here.find(Task)} == {"both have it", "later", "unsent"}
    assert check_store(store_of(scene.here)).listed == []
    scene.sync()


def _signed_by_nobody(scene: Scene) -> SnapshotReceived:
    event = scene.received(scene.bases, scene.floor, scene.key)
    return replace(event, voucher=Voucher(scene.floor, bytes(64)))


def _signed_by_another(scene: Scene) -> SnapshotReceived:
    return scene.received(scene.bases, scene.floor, scene.here.port.key)


def _signed_for_another_partition(scene: Scene) -> SnapshotReceived:
    return scene.received(scene.bases, scene.floor, scene.key, partition="p")


def _with_a_document_too_few(scene: Scene) -> SnapshotReceived:
    event = scene.received(scene.bases, scene.floor, scene.key)
    return replace(event, documents=event.documents[:-1])


def _with_another_floor(scene: Scene) -> SnapshotReceived:
    event = scene.received(scene.bases, scene.floor, scene.key)
    floor = {author: replace(held, sequence=held.sequence + 1) for author, held in scene.floor.items()}
    return replace(event, voucher=Voucher(floor, event.voucher.signature if event.voucher else b""))


def _of_an_author_that_nobody_bound(scene: Scene) -> SnapshotReceived:
    floor = {**scene.floor, Author(77): Position(sequence=1, hash=ChainHash(bytes(32)))}
    return scene.received(scene.bases, floor, scene.key)


def _of_another_branch(scene: Scene) -> SnapshotReceived:
    (author,) = scene.floor
    floor = {author: Position(sequence=1, hash=ChainHash(bytes(32)))}
    return scene.received(scene.bases, floor, scene.key)


def _of_another_partition(scene: Scene) -> SnapshotReceived:
    stranger = document_key("p", "Task", scene.task.id)
    return scene.received({stranger: next(iter(scene.bases.values()))}, scene.floor, scene.key)


def _at_no_address(scene: Scene) -> SnapshotReceived:
    return scene.received({DocumentKey(b"x" * 20): next(iter(scene.bases.values()))}, scene.floor, scene.key)


def _changed(
    scene: Scene, change: Callable[[list[int], bytes], list[object]], *, until: object = None, since: object = None
) -> SnapshotReceived:
    """The snapshot with its first base unpacked, changed and packed again, under a signature that holds."""
    first, *others = sorted(scene.bases)
    flat, state, latest, earliest = msgpack.unpackb(scene.bases[first])
    times = [latest if until is None else until, earliest if since is None else since]
    changed = msgpack.packb([*change(flat, state), *times])
    return scene.received({first: changed, **{key: scene.bases[key] for key in others}}, scene.floor, scene.key)


HOSTILE: dict[str, tuple[str, Callable[[Scene], SnapshotReceived]]] = {
    "signed by nobody": ("signature", _signed_by_nobody),
    "signed by another device": ("signature", _signed_by_another),
    "signed for another partition": ("signature", _signed_for_another_partition),
    "a document too few": ("signature", _with_a_document_too_few),
    "another floor": ("signature", _with_another_floor),
    "an author that nobody bound": ("signature", _of_an_author_that_nobody_bound),
    "another branch": ("forked", _of_another_branch),
    "another partition": ("malformed", _of_another_partition),
    "no address": ("malformed", _at_no_address),
    "no base": ("malformed", lambda scene: _changed(scene, lambda flat, state: [flat, state, 0])),
    "a base before all time": ("malformed", lambda scene: _changed(scene, lambda flat, state: [flat, state], until=-1)),
    "a base since all time": ("malformed", lambda scene: _changed(scene, lambda flat, state: [flat, state], since=-1)),
    "a base since nothing": ("malformed", lambda scene: _changed(scene, lambda flat, state: [flat, state], since=0)),
    "a base of no document": ("malformed", lambda scene: _changed(scene, lambda flat, _: [flat, b""])),
    "a base of half a pair": ("malformed", lambda scene: _changed(scene, lambda flat, state: [flat[:1], state])),
    "a base of words": ("malformed", lambda scene: _changed(scene, lambda _, state: [["a", "b"], state])),
    "a base beyond the floor": (
        "malformed",
        lambda scene: _changed(scene, lambda flat, state: [[flat[0], 2**63], state]),
    ),
    "a base below nothing": (
        "malformed",
        lambda scene: _changed(scene, lambda flat, state: [[flat[0], -1], state]),
    ),
    "a base of a stranger": (
        "malformed",
        lambda scene: _changed(scene, lambda flat, state: [[*flat, flat[0] + 1, 1], state]),
    ),
    "a base of other bytes": (
        "malformed",
        lambda scene: _changed(scene, lambda flat, state: [[*flat, *flat], state]),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_snapshot_is_refused_and_changes_nothing(scene: Scene, name: str) -> None:
    code, make = HOSTILE[name]
    event, before = make(scene), picture(scene.here)
    (found,) = refusals(scene.here, event, scene.key.public_key)
    assert later_than(before, scene.here) == []
    assert found == code
    scene.sync()  # the genuine one is taken all the same
    assert {task.title for task in scene.here.find(Task)} == {"both have it", "later", "unsent"}


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.integers(0, 2) | st.binary(min_size=19, max_size=40),
        st.binary(max_size=80)
        | st.tuples(st.lists(st.integers(-(2**63), 2**64 - 1), max_size=4), st.binary(max_size=60)),
        min_size=1,
        max_size=3,
    )
)
def test_any_bytes_as_bases_change_nothing(bases: dict[int | bytes, bytes | tuple[list[int], bytes]]) -> None:
    scene = shared()
    addresses = [*sorted(scene.bases), document_key("", "Task", RecordId("0190a6b0-0000-7000-8000-000000000000"))]
    documents = {
        DocumentKey(addresses[name] if isinstance(name, int) else name): data
        if isinstance(data, bytes)
        else msgpack.packb(data)
        for name, data in bases.items()
    }
    before = picture(scene.here)
    assert len(refusals(scene.here, scene.received(documents, scene.floor, scene.key), scene.key.public_key)) == 1
    assert later_than(before, scene.here) == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bases_with_changed_bytes_are_refused_whole_or_leave_a_sound_store(data: st.DataObject) -> None:
    """A device that is bound may vouch for content that nobody wrote, but not for any that no document can hold."""
    scene = Scene()
    key = data.draw(st.sampled_from(sorted(scene.bases)))
    changed = bytearray(scene.bases[key])
    for at in data.draw(st.lists(st.integers(0, len(changed) - 1), min_size=1, max_size=3)):
        changed[at] = data.draw(st.integers(0, 255))
    before = picture(scene.here)
    event = scene.received({**scene.bases, key: bytes(changed)}, scene.floor, scene.key)
    if refusals(scene.here, event, scene.key.public_key):
        assert later_than(before, scene.here) == []
    assert check_store(store_of(scene.here)).listed == []
    scene.close()


def test_pages_that_no_voucher_follows_are_not_seen(scene: Scene) -> None:
    before = picture(scene.here)
    event = replace(scene.received(scene.bases, scene.floor, scene.key), voucher=None)
    assert scene.here.port.accept_snapshot(event, scene.key.public_key).outcome.statuses == ()
    assert later_than(before, scene.here) == ["STAGED"]
    scene.sync()
    assert store_of(scene.here).count(Table.STAGED) == 0


# ── signed vectors ───────────────────────────────────────────────────────────────────────────────────────────────────


def signed(scene: Scene, key: DeviceKey, *, stamp: int) -> DurableVector:
    made = DurableVector(public_key=key.public_key, stamp=stamp, vector={"": scene.floor})
    return replace(made, signature=key.sign(made.statement(state_of(scene.here).space)))


def vectors_of(replica: Replica) -> dict[bytes, int]:
    return {vector.public_key: vector.stamp for vector in replica.port.holdings({})}


def test_vectors_that_nobody_signed_or_that_are_old_change_nothing(scene: Scene) -> None:
    key, stamp = scene.key, 2**47
    scene.here.port.accept_holdings([signed(scene, key, stamp=stamp)], sender=b"")
    before = picture(scene.here)
    stranger = DeviceKey(bytes(32))
    hostile = [
        replace(signed(scene, key, stamp=stamp + 1), signature=bytes(64)),
        replace(signed(scene, key, stamp=stamp + 1), stamp=stamp + 2),
        replace(signed(scene, key, stamp=stamp + 1), vector={}),
        replace(signed(scene, key, stamp=stamp + 1), horizons=(bytes(16),)),
        replace(signed(scene, key, stamp=stamp + 1), public_key=scene.here.port.key.public_key),
        signed(scene, stranger, stamp=stamp),
        signed(scene, key, stamp=stamp),
        signed(scene, key, stamp=stamp - 1),
    ]
    assert scene.here.port.accept_holdings(hostile, sender=b"") == 0
    assert later_than(before, scene.here) == []


def test_of_two_vectors_of_one_device_in_one_message_the_later_one_stays(scene: Scene) -> None:
    key, stamp = scene.key, 2**47
    two = [signed(scene, key, stamp=stamp + 1), signed(scene, key, stamp=stamp)]
    assert scene.here.port.accept_holdings(two, sender=b"") == 1
    assert vectors_of(scene.here)[key.public_key] == stamp + 1


def test_what_a_peer_claims_to_know_of_strangers_is_not_kept(scene: Scene) -> None:
    port, key = scene.here.port, scene.key.public_key
    port.told_holdings(key, {bytes([number]) * 32: number for number in range(200)} | {key: 5})
    assert port.holdings_known(key) == {key: 5}


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["holdings", "snapshot"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    st.integers(0, 10**6),
)
def test_changed_messages_are_malformed_or_read(kind: str, changes: Iterable[tuple[int, int]], cut: int) -> None:
    scene = shared()
    event = scene.received(scene.bases, scene.floor, scene.key)
    snapshot = Snapshot(partition="", first=True, documents=event.documents, voucher=event.voucher)
    vector = signed(scene, scene.key, stamp=1).encode()
    payload = bytearray(Holdings(vectors=(vector,)).payload() if kind == "holdings" else snapshot.payload())
    for at, value in changes:
        payload[at % len(payload)] = value
    del payload[1 + cut % (2 * len(payload)) :]
    assert fault_of(kind, bytes(payload)) in (None, ErrorCode.MALFORMED, ErrorCode.TOO_LARGE)


def fault_of(kind: str, payload: bytes) -> ErrorCode | None:
    try:
        if kind == "holdings":
            for item in Holdings.read(payload, LIMITS).vectors:
                decode_durable(item, LIMITS)
        else:
            Snapshot.read(payload, LIMITS)
    except PeerError as error:
        return error.error_code
    return None
