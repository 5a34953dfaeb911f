"""What every device of the space is known to hold: the latest signed durable vector of each, kept and passed on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import msgpack

from crdt_sync.core.entry import RECORD_HASH_BYTES
from crdt_sync.core.ids import Author, DeviceId, device_id
from crdt_sync.core.logs import told
from crdt_sync.protocol.codes import PeerError
from crdt_sync.protocol.durable import DURABLE_BYTES_MAX, STAMP_MAX, DurableVector, decode_durable
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.vectors import WIRE_HASH_BYTES, Position, Vector
from crdt_sync.replica.packing import unpack_shaped
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.state import State
from crdt_sync.replica.stated import as_stated, forget_stated, note_more, note_stated, stated_by
from crdt_sync.security.identity import DeviceKey, verify
from crdt_sync.storage.base import Table

log = logging.getLogger("crdt_sync.replica")

_LATEST, _KNOWN, _FIRST = b"\0v", b"\0k", b"\0f"
"""How keys begin: a device's latest vector, what a peer knows of vectors, the first vector that named a horizon."""
OTHERS = b"\x01"
"""Keys from here on are not of this module."""
_LIMITS = WireLimits()
READ_BEFORE_MAX = 256
"""Signed vectors that are kept as objects; a space with more devices reads them anew."""


class HoldingsBook:
    """The signed vectors that this replica knows.

    Invariants:
        1. Kept are only vectors whose signature holds, of devices with a binding, and of each device the one with the
           highest stamp.
        2. Our own is signed anew whenever it is asked for after our vector, or our horizons, have changed.
        3. A position counts where its hash is in the chain that is here. One past the end of ours may be on another
           branch, so it counts for nothing until our chain has grown to it.
        4. The first vectors that named a horizon are kept until another horizon is further.

    Args:
        state: the replica.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._read_before: dict[bytes, tuple[bytes, DurableVector]] = {}
        """Row → its bytes, and what they say: each session asks for all of them over and over."""

    def latest(self) -> dict[bytes, DurableVector]:
        """The latest vector of each device, our own as it was last told, by public key."""
        return {vector.public_key: vector for vector in self._scan(_LATEST)}

    def held(self) -> dict[bytes, DurableVector]:
        """As `latest`, but for what devices said since, in a session, that they hold no more; by public key."""
        return {key: self._corrected(vector) for key, vector in self.latest().items()}

    def correct(self, device: DeviceId, positions: Vector, *, is_all: bool) -> None:
        """Note what a device says of itself in a session, where it signed for more before.

        Args:
            device: which one.
            positions: what it holds durably, but for chains of which it holds another branch.
            is_all: whether it holds nothing else.
        """
        store = self._state.store
        if not is_all and stated_by(store, device) is None:
            return
        signed = next((vector for key, vector in self.latest().items() if device_id(key) == device), None)
        note = note_stated if is_all else note_more
        note(store, device, positions, signed={} if signed is None else signed.vector)

    def first_naming(self, horizon: bytes) -> dict[bytes, DurableVector]:
        """Of each device the first vector known here that named a horizon, by public key."""
        return {vector.public_key: vector for vector in self._scan(_FIRST + horizon)}

    def unknown_to(self, known: Mapping[bytes, int], own: Vector) -> tuple[DurableVector, ...]:
        """Vectors that somebody lacks who knows of each device the one with this stamp.

        Args:
            known: public key → stamp.
            own: what this replica holds durably.
        """
        fresh = self._sign(own)
        held = {**self.latest(), **({} if fresh is None else {fresh.public_key: fresh})}
        return tuple(vector for key, vector in sorted(held.items()) if vector.stamp > known.get(key, -1))

    def accept(self, vectors: Iterable[DurableVector], *, sender: bytes = b"") -> int:
        """Keep those that are newer and rightly signed, in one store transaction; returns how many.

        Args:
            vectors: what came.
            sender: public key of the device that they came from; of itself it says how it is now.
        """
        state, held = self._state, self.latest()
        devices, identity = state.records.public_keys(), state.identity
        kept: list[DurableVector] = []
        for vector in vectors:
            before = held.get(vector.public_key)
            if vector.public_key not in devices or (before is not None and before.stamp >= vector.stamp):
                continue
            if identity is not None and vector.public_key == identity.key.public_key:
                told(log, logging.INFO, "a later vector of ours is known elsewhere: this store was restored")
            if not verify(vector.public_key, statement=vector.statement(state.space), signature=vector.signature):
                told(log, logging.WARNING, "a signature does not hold", device=device_id(vector.public_key))
                continue
            held[vector.public_key] = vector
            kept.append(vector)
        if kept:
            with state.store.transaction():
                for vector in kept:
                    self._keep(vector)
                    if vector.public_key == sender:
                        forget_stated(state.store, device_id(sender))
        return len(kept)

    def known_to(self, public_key: bytes) -> dict[bytes, int]:
        """What a device knew at the end of its last proven session: public key → stamp."""
        data = self._state.store.get(Table.HOLDING, _KNOWN + public_key)
        if data is None:
            return {}
        return read_known(data)

    def note_known(self, public_key: bytes, known: Mapping[bytes, int]) -> None:
        """Keep what a device knows now of devices with a binding, in a store transaction of its own."""
        devices = self._state.records.public_keys()
        known = {key: stamp for key, stamp in known.items() if key in devices}
        if known != self.known_to(public_key):
            with self._state.store.transaction():
                self._state.store.put(Table.HOLDING, _KNOWN + public_key, msgpack.packb(dict(known)))

    def acknowledged(self, own: Vector, devices: Iterable[bytes]) -> dict[str, dict[Author, int]]:
        """What every one of some devices, and this replica, holds: partition → author → sequence.

        A position on another branch than ours counts as nothing, and so does one past the end of ours.

        Args:
            own: what this replica holds durably.
            devices: public keys; a device without a vector holds nothing.
        """
        least = {
            partition: {author: position.sequence for author, position in ends.items()}
            for partition, ends in own.items()
        }
        held, identity = self.latest(), self._state.identity
        for device in devices:
            if identity is not None and device == identity.key.public_key:
                continue
            vector = held.get(device)
            for partition, ends in least.items():
                for author, sequence in ends.items():
                    reach = 0 if vector is None else self.reach(vector, partition, author, own=own)
                    ends[author] = min(sequence, reach)
        return least

    def reach(self, vector: DurableVector, partition: str, author: Author, *, own: Vector) -> int:
        """How far a device surely has an author's entries that are here: 0 where it is, or may be, on another branch.

        Args:
            vector: what the device signed.
            partition: of the entries.
            author: whose entries.
            own: what this replica holds durably; it has this author.
        """
        theirs = vector.vector.get(partition, {}).get(author)
        if theirs is None or theirs.sequence > own[partition][author].sequence:
            return 0
        held = self._state.ledger.hash_at(partition, author, theirs.sequence)
        if held is None:
            below = theirs.sequence < self._state.ledger.floor_of(partition, author).sequence
            return theirs.sequence if below else 0
        return theirs.sequence if held[:WIRE_HASH_BYTES] == theirs.hash[:WIRE_HASH_BYTES] else 0

    def forget(self, public_key: bytes) -> None:
        """Let go of the vectors of a device that was forgotten, in the caller's store transaction."""
        store = self._state.store
        store.delete(Table.HOLDING, _LATEST + public_key)
        store.delete(Table.HOLDING, _KNOWN + public_key)

    def _corrected(self, vector: DurableVector) -> DurableVector:
        stated = stated_by(self._state.store, device_id(vector.public_key))
        return vector if stated is None else replace(vector, vector=as_stated(vector.vector, stated))

    def let_go(self) -> None:
        """Let go of what named horizons that are over: it was kept for their successors, in the caller's transaction.

        Where one counts again, since the store lost something, the next vectors of all devices name it again. They hold
        more than the first ones did, so what is made of them waits for no less.
        """
        store = self._state.store
        end = len(_FIRST) + RECORD_HASH_BYTES
        names = {key[len(_FIRST) : end] for key, _ in store.scan(Table.HOLDING, start=_FIRST, end=after_prefix(_FIRST))}
        over = list(filter(self._is_over, names))
        for name in over:
            store.delete_range(Table.HOLDING, start=_FIRST + name, end=after_prefix(_FIRST + name))
        if over:
            self._read_before.clear()  # theirs would stay in memory; what is left is read again

    def say_anew(self) -> None:
        """Sign again what this replica holds: its past is in doubt, and what it said last may be more than it has now.

        In the caller's store transaction.
        """
        identity = self._state.identity
        if identity is not None and self._read(_LATEST + identity.key.public_key) is not None:
            signed = self._signed(identity.key, self._state.ledger.vector())
            if signed is not None:
                self._keep(signed)

    def _sign(self, own: Vector) -> DurableVector | None:
        identity = self._state.identity
        if identity is None:
            return None
        before = self._read(_LATEST + identity.key.public_key)
        if before is not None and before.horizons == self._state.horizons() and _same(before.vector, own):
            return before
        signed = self._signed(identity.key, own)
        if signed is not None:
            with self._state.store.transaction():
                self._keep(signed)
        return signed

    def _signed(self, key: DeviceKey, own: Vector) -> DurableVector | None:
        """A vector that supersedes what was said before; None where it is too large to be told."""
        state, before = self._state, self._read(_LATEST + key.public_key)
        vector = {partition: dict(ends) for partition, ends in own.items() if ends}
        horizons = state.horizons()
        stamp = min(STAMP_MAX, max(state.now_ms(), 0 if before is None else before.stamp + 1))
        made = DurableVector(public_key=key.public_key, stamp=stamp, vector=vector, horizons=horizons)
        signed = DurableVector(
            public_key=key.public_key,
            stamp=stamp,
            vector=vector,
            horizons=horizons,
            signature=key.sign(made.statement(state.space)),
        )
        if len(signed.encode()) > DURABLE_BYTES_MAX:
            told(log, logging.WARNING, "this replica holds too many authors to tell what it holds")
            return None
        return signed

    def _keep(self, vector: DurableVector) -> None:
        data = vector.encode()
        self._state.store.put(Table.HOLDING, _LATEST + vector.public_key, data)
        for name in vector.horizons:
            first = _FIRST + name + vector.public_key
            if self._state.store.get(Table.HOLDING, first) is None and not self._is_over(name):
                self._state.store.put(Table.HOLDING, first, data)

    def _is_over(self, horizon: bytes) -> bool:
        """Whether a horizon is known and held here, and another one is further."""
        state = self._state
        record = state.records.horizons().get(horizon)
        if record is None or not state.ledger.covers(record):
            return False
        return horizon not in state.horizon_tips(record.partition)

    def _read(self, key: bytes) -> DurableVector | None:
        data = self._state.store.get(Table.HOLDING, key)
        return None if data is None else self._decode(key, data)

    def _decode(self, key: bytes, data: bytes) -> DurableVector:
        held = self._read_before.get(key)
        if held is not None and held[0] == data:
            return held[1]
        vector = decode_durable(data, _LIMITS)
        if len(self._read_before) >= READ_BEFORE_MAX:
            self._read_before.clear()
        self._read_before[key] = (data, vector)
        return vector

    def _scan(self, prefix: bytes) -> Iterator[DurableVector]:
        end = prefix[:-1] + bytes((prefix[-1] + 1,)) if prefix[-1] < 255 else prefix + b"\xff" * 64
        for key, data in self._state.store.scan(Table.HOLDING, start=prefix, end=end):
            try:
                yield self._decode(key, data)
            except PeerError as error:
                told(log, logging.WARNING, "a signed vector cannot be read", key=key.hex(), reason=error.message)


def read_known(data: bytes) -> dict[bytes, int]:
    """What a device knew of signed vectors: public key → stamp.

    Raises:
        CorruptStoreError: the stored row is no such thing.
    """
    known: dict[bytes, int] = unpack_shaped(data, {bytes: int}, table=Table.HOLDING)
    return known


def _same(one: Vector, other: Vector) -> bool:
    left, right = ({name: _short(ends) for name, ends in vector.items() if ends} for vector in (one, other))
    return left == right


def _short(ends: Mapping[Author, Position]) -> dict[Author, tuple[int, bytes]]:
    return {author: (position.sequence, position.hash[:WIRE_HASH_BYTES]) for author, position in ends.items()}
