"""What home peers say that they hold of the operations made here, and what follows for the operations' statuses.

Of each peer, home or not (`home_peers`), there are two records: how far it ever acknowledged an author of ours, which
says what must not be written again under another name; and how far it holds that author by its latest word, which
statuses go by where it is home. They part where a peer lost what it had: its store was replaced, or restored from a
backup.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from crdt_sync.core.ids import Author, DeviceId
from crdt_sync.core.logs import told
from crdt_sync.protocol.source import EntryStatus
from crdt_sync.replica.holdings import OTHERS
from crdt_sync.replica.home_peers import (
    come_home,
    home_devices,
    is_home,
    is_named,
    leave_home,
    met_at,
    name_home,
    note_met_at,
)
from crdt_sync.replica.journal import Journal
from crdt_sync.replica.rows import pack_vector, unpack_vector
from crdt_sync.replica.set_aside import DOUBTED
from crdt_sync.replica.state import State
from crdt_sync.replica.stated import note_nothing
from crdt_sync.replica.synclog import LOST
from crdt_sync.storage.base import Store, Table

log = logging.getLogger("crdt_sync.replica")

_EVER: Final = ""
_NOW: Final = "now"
"""Parts of a device's row; the second is there only where the two differ."""

_REFUSED: Final = b"\0r"
"""How keys begin that say what a device refused."""

_MOVED: Final = "home changed: no home peer is known to hold it"
"""The error of an operation that was completed, and waits again since other peers are home."""

Held = Mapping[Author, int]
"""Author of ours → the last sequence that somebody holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a peer said that it holds of our authors.

    Args:
        device: the peer.
        held: what of our branch it holds.
        unsure: authors of which it holds more than is here, or another branch: what it said of them before stands
            until that is settled.
        whole: whether it holds nothing else of ours.
    """

    device: DeviceId
    held: Held
    unsure: frozenset[Author] = frozenset()
    whole: bool = False


def ever_acknowledged(store: Store, author: Author) -> int:
    """The last entry of an author of ours that any device ever acknowledged."""
    return max((ever.get(author, 0) for _, ever, _ in _rows(store)), default=0)


def note_word(state: State, journal: Journal, word: Word, *, refused: Sequence[EntryStatus]) -> int:
    """Note what a peer holds durably, and what it refused, in a store transaction of its own.

    What a peer that is not home says changes no status.

    Args:
        state: the replica.
        journal: whose operations become completed, pending again, or failed.
        word: what it said.
        refused: entries of ours that it does not take.

    Returns:
        How many operations became completed.
    """
    ever, now = _row(state.store, word.device)
    told = _told(word, now)
    if not word.held and not refused and told == now:
        return 0
    now_ms = state.now_ms()
    with state.store.transaction():
        counts = is_home(state.store, word.device)
        before = _held_at_home(state.store) if counts and _lacks(told, now) else {}
        _keep(state.store, word.device, ever=_raised(ever, word.held), now=told)
        if before:
            _reopen(state, journal, before, device=word.device)
        completed = journal.complete(word.held, peer=word.device, now_ms=now_ms) if counts else 0
        hold_back(state.store, word.device, [(item.author, item.sequence) for item in refused])
        for item in refused if counts else ():
            error = f"{item.code}: {item.reason}"
            journal.fail(item.author, sequence=item.sequence, error=error, peer=word.device, now_ms=now_ms)
    return completed


def held_back(store: Store, device: DeviceId) -> Held:
    """What a device refused and is not sent until somebody wants it tried again: author → the first such entry."""
    data = store.get(Table.HOLDING, _REFUSED + device.encode())
    return {} if data is None else unpack_vector(data)[_EVER]


def let_go(store: Store, authors: Collection[Author] | None) -> bool:
    """Send again what any device refused of some authors, or of all; returns whether there was any.

    In the caller's store transaction.
    """
    found = False
    for key, data in list(store.scan(Table.HOLDING, start=_REFUSED, end=_REFUSED + b"\xff")):
        refused = unpack_vector(data)[_EVER]
        kept = {author: at for author, at in refused.items() if authors is not None and author not in authors}
        found |= kept != refused
        _keep_refused(store, key, kept)
    return found


def let_go_of_held(store: Store, device: DeviceId, held: Mapping[Author, int] | None) -> None:
    """What a device refused and holds by now: another one brought it, or a damaged store is mended.

    In a store transaction of its own, where there is any.

    Args:
        store: which one.
        device: the device.
        held: author → the last entry that it holds; None where it holds everything.
    """
    refused = held_back(store, device)
    kept = {author: at for author, at in refused.items() if held is not None and held.get(author, 0) < at}
    if kept != refused:
        with store.transaction():
            _keep_refused(store, _REFUSED + device.encode(), kept)


def note_gone(state: State, journal: Journal, device: DeviceId) -> None:
    """A device is given up: it is home no more, and counts as holding nothing until it says otherwise.

    Its address stays home, with nobody there until somebody is met: were it taken out, everybody might be home. In the
    caller's store transaction.
    """
    before = _held_at_home(state.store)
    leave_home(state.store, device)
    _lose(state.store, device)
    state.store.delete_many(Table.HOLDING, [DOUBTED + device.encode(), _REFUSED + device.encode()])
    state.resting.reset()  # nothing waits for a device that is not waited for
    _follow(state, journal, before, device=device)


def note_back(state: State, journal: Journal, device: DeviceId) -> None:
    """A device that was given up is waited for again: home if it was. In the caller's store transaction."""
    before = _held_at_home(state.store)
    if come_home(state.store, device):
        _follow(state, journal, before, device=device)


def note_met(state: State, journal: Journal, address: str, device: DeviceId) -> int:
    """A device answered at an address: the one that did so before is not there any more, and counts as holding nothing.

    It may have been wiped and set up anew, under another key. Should it be met again, its word counts again.

    Returns:
        How many operations became completed, as this device is home.
    """
    last = met_at(state.store, address)
    if last == device:
        return 0
    with state.store.transaction():
        before = _held_at_home(state.store)
        note_met_at(state.store, address, device)
        if last is not None:
            told(log, logging.WARNING, "another device answers at an address", device=device, before=last)
            _lose(state.store, last)
        return _follow(state, journal, before, device=last or device)


def set_home(state: State, journal: Journal, addresses: Collection[str]) -> int:
    """Have the peers at these addresses be home, or every peer where there are none; operations follow at once.

    In a store transaction of its own.

    Returns:
        How many operations became completed.
    """
    if is_named(state.store, addresses):
        return 0
    with state.store.transaction():
        before = _held_at_home(state.store)
        name_home(state.store, addresses)
        return _follow(state, journal, before, device=None)


def hold_back(store: Store, device: DeviceId, refused: Sequence[tuple[Author, int]]) -> None:
    """Do not send a device entries, and what is behind them, until somebody wants that tried again.

    In the caller's store transaction.
    """
    if refused:
        first = dict(held_back(store, device))
        for author, sequence in refused:
            first[author] = min(sequence, first.get(author, sequence))
        store.put(Table.HOLDING, _REFUSED + device.encode(), pack_vector({_EVER: first}))


def _keep_refused(store: Store, key: bytes, refused: Held) -> None:
    if refused:
        store.put(Table.HOLDING, key, pack_vector({_EVER: dict(refused)}))
    else:
        store.delete(Table.HOLDING, key)


def _lose(store: Store, device: DeviceId) -> None:
    ever, now = _row(store, device)
    note_nothing(store, device)
    if now:
        _keep(store, device, ever=ever, now={})


def _follow(state: State, journal: Journal, before: Held, *, device: DeviceId | None) -> int:
    """Have operations wait again that no home peer is known to hold any more, and complete those that one does."""
    _reopen(state, journal, before, device=device)
    count, reached = 0, dict(before)
    for name, held in _at_home(state.store):
        more = {author: sequence for author, sequence in held.items() if sequence > reached.get(author, 0)}
        if more:
            reached.update(more)
            count += journal.complete(more, peer=name, now_ms=state.now_ms())
    return count


def _reopen(state: State, journal: Journal, before: Held, *, device: DeviceId | None) -> None:
    after = _held_at_home(state.store)
    less = {author: after.get(author, 0) for author, held in before.items() if after.get(author, 0) < held}
    error = LOST if device is not None else _MOVED
    count = journal.reopen(less, error=error, peer=device or "", now_ms=state.now_ms()) if less else 0
    if count:
        level = logging.INFO if device is None else logging.WARNING
        told(log, level, "operations wait again", operations=count, reason=error, device=device or "")


def _told(word: Word, now: Held) -> dict[Author, int]:
    if word.whole:
        return {**{author: now[author] for author in word.unsure if author in now}, **_positive(word.held)}
    return _raised(now, word.held)


def _raised(before: Held, held: Held) -> dict[Author, int]:
    return _positive({**before, **{author: max(held[author], before.get(author, 0)) for author in held}})


def _positive(held: Held) -> dict[Author, int]:
    return {author: sequence for author, sequence in held.items() if sequence}


def _lacks(told: Held, now: Held) -> bool:
    return any(told.get(author, 0) < sequence for author, sequence in now.items())


def _held_at_home(store: Store) -> dict[Author, int]:
    """How far any home peer holds authors of ours."""
    most: dict[Author, int] = {}
    for _, now in _at_home(store):
        most = _raised(most, now)
    return most


def _at_home(store: Store) -> Iterable[tuple[DeviceId, Held]]:
    devices = home_devices(store)
    for key, _, now in _rows(store):
        if devices is None or DeviceId(key.decode()) in devices:
            yield DeviceId(key.decode()), now


def _rows(store: Store) -> Iterator[tuple[bytes, Held, Held]]:
    for key, data in store.scan(Table.HOLDING, start=OTHERS):
        yield key, *_read(data)


def _row(store: Store, device: DeviceId) -> tuple[Held, Held]:
    data = store.get(Table.HOLDING, device.encode())
    return ({}, {}) if data is None else _read(data)


def _read(data: bytes) -> tuple[Held, Held]:
    row = unpack_vector(data)
    ever = row.get(_EVER, {})
    return ever, row.get(_NOW, ever)


def _keep(store: Store, device: DeviceId, *, ever: Held, now: Held) -> None:
    row = {_EVER: dict(ever)} if ever == now else {_EVER: dict(ever), _NOW: dict(now)}
    store.put(Table.HOLDING, device.encode(), pack_vector(row))
