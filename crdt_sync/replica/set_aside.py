"""Entries at which a device's sessions end, time and again, without a word of the device about them.

Its process may die of one, or it closes with an error; or the line breaks, which says nothing about an entry. The three
look alike at first, so what is in doubt is first sent alone, then behind everything else (`protocol.care`): a session
that has exchanged all the rest and ends at this one entry again says enough. How it ended decides what follows:

- the device closed with an error: after so many tries the entry, and what its author wrote after it, is set aside for
  that device, as what it refused is. Operations made here are failed, with the reason.
- the connection was lost: the entry stays pending for as long as it takes, behind everything else in each session. That
  says nothing about it, unless the device had died: it comes back under a new epoch then. After so many deaths in a row
  the entry is tried again after a pause only, which grows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, unique
from typing import Final

from crdt_sync.core.checks import is_number
from crdt_sync.core.ids import Author, DeviceId
from crdt_sync.core.logs import told
from crdt_sync.errors import CorruptStoreError, InputError
from crdt_sync.protocol.care import Care, Flight, Suspect
from crdt_sync.protocol.vectors import Vector
from crdt_sync.replica.packing import Shape, has_shape, pack_values, unpack_values
from crdt_sync.storage.base import Store, Table

log = logging.getLogger("crdt_sync.replica")

DOUBTED: Final = b"\0d"
"""How keys begin that say where a device's sessions ended."""
CAREFUL_AFTER: Final = 2
"""Ends of sessions at one place after which one run at a time is sent there."""
SUSPECT_AFTER: Final = 2
"""Ends with an entry alone in flight after which it goes last."""
SUSPECTS_MAX: Final = 64
"""Of one device; with more of them it is not entries that its sessions end at."""

_HINT: Final = "Leave out what need not differ: RetryPolicy() suits most apps."


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a change is tried with a device whose sessions end at it, by how they end.

    What a device refuses is not tried again by itself, and what no device could be reached for costs no try.

    Raises:
        InputError: the numbers of tries are no whole numbers from 1 on, or not 0 < pause_s <= pause_s_max, finite.
    """

    failures_max: int = 5
    """So many ends with an error, and it is set aside until `Replica.retry`."""
    losses_max: int = 5
    """So many connections in a row that were lost as the device died, and it is tried again after a pause only. It
    never fails by them."""
    pause_s: float = 60.0
    """The first of these pauses; each further one is twice as long."""
    pause_s_max: float = 3600.0
    """No pause is longer."""

    def __post_init__(self) -> None:
        for count in (self.failures_max, self.losses_max):
            if type(count) is not int or count < 1:
                raise InputError("failures_max and losses_max are whole numbers from 1 on", hint=_HINT)
        if not (is_number(self.pause_s) and is_number(self.pause_s_max)) or (
            not 0 < self.pause_s <= self.pause_s_max < math.inf
        ):
            raise InputError("a retry policy needs 0 < pause_s <= pause_s_max", hint=_HINT)

    def pause_ms(self, losses: int) -> int:
        """How long to wait after so many connections in a row that were lost as the device died, in milliseconds."""
        doublings = losses - self.losses_max
        if doublings < 0:
            return 0
        return int(1000 * min(self.pause_s_max, self.pause_s * 2.0 ** min(doublings, 64)))


@unique
class Fault(Enum):
    """How a session ended with an entry in flight."""

    FAILURE = "failure"
    """The device closed it with an error."""
    LOSS = "loss"
    """The connection was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """An entry that a device is not sent at once, with what its author wrote after it.

    Args:
        device_id: the device.
        author, sequence: the entry, which may be another device's.
        tries: how many sessions ended at it.
        reason: how the last of them ended.
        due_ms: when it is tried again, milliseconds since 1970; None for not before `Replica.retry`.
    """

    device_id: DeviceId
    author: Author
    sequence: int
    tries: int
    reason: str
    due_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where sessions ended, one after another.

    Args:
        partition, author, first: the first run in flight.
        until: the log position behind what was in flight.
        ends: how many sessions.
        failures, losses: how many of them with that run alone in flight.
    """

    partition: str
    author: Author
    first: int
    until: int
    ends: int = 0
    failures: int = 0
    losses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubted:
    """An entry that goes last, or is set aside.

    Args:
        partition, author, first: the entry.
        failures, losses: how many sessions ended at it.
        due_ms: not before this time.
        reason: how the last one ended.
        is_aside: not before somebody wants it.
        deaths: how many of the losses, in a row, were followed by a new epoch of the device, as its death is.
        epoch: the device's at the latest loss; empty where the latest end was none.
    """

    partition: str
    author: Author
    first: int
    failures: int
    losses: int
    due_ms: int = 0
    reason: str = ""
    is_aside: bool = False
    deaths: int = 0
    epoch: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from an end.

    Args:
        tries: how many sessions ended at the entry, if it was certain that it was this one; else 0.
        is_aside: it is set aside from now on.
    """

    tries: int = 0
    is_aside: bool = False


class Doubts:
    """Where the sessions with one device ended; what changes is kept in the caller's store transaction.

    Args:
        store: where.
        device: the device.
    """

    def __init__(self, store: Store, device: DeviceId) -> None:
        self._store = store
        self._device = device
        self._key = DOUBTED + device.encode()
        self._place, self._doubted = _read(store.get(Table.HOLDING, self._key))

    def __bool__(self) -> bool:
        return self._place is not None or bool(self._doubted)

    def care(self, policy: RetryPolicy, *, now_ms: int) -> Care:
        """How to send to the device. A clock that was put back does not make a pause longer than it may be."""
        place, latest_ms = self._place, now_ms + int(1000 * policy.pause_s_max)
        return Care(
            until=place.until if place is not None and place.ends >= CAREFUL_AFTER else 0,
            suspects=tuple(
                Suspect(
                    partition=item.partition, author=item.author, first=item.first, due_ms=min(item.due_ms, latest_ms)
                )
                for item in self._doubted
                if not item.is_aside
            ),
        )

    def note_end(
        self, flight: Flight, fault: Fault, *, reason: str, policy: RetryPolicy, now_ms: int, epoch: bytes
    ) -> Verdict:
        """A session ended with a run in flight; ``epoch``: the device's, by its hello."""
        name = (flight.partition, flight.author)
        doubted = next((item for item in self._doubted if (item.partition, item.author) == name), None)
        if doubted is None or doubted.first != flight.first:
            doubted = self._note_place(flight, fault)
        elif flight.alone:
            doubted = replace(
                doubted,
                failures=doubted.failures + (fault is Fault.FAILURE),
                losses=doubted.losses + (fault is Fault.LOSS),
            )
        verdict = Verdict(tries=int(flight.alone))
        if doubted is not None and flight.alone:
            doubted = _counted(doubted, fault, epoch=epoch)
            pause_ms = policy.pause_ms(doubted.deaths)
            doubted = replace(
                doubted,
                is_aside=doubted.failures >= policy.failures_max,
                due_ms=now_ms + pause_ms if pause_ms else 0,
                reason=reason,
            )
            self._doubted = [item for item in self._doubted if (item.partition, item.author) != name]
            self._doubted = [*self._doubted, doubted][-SUSPECTS_MAX:]
            verdict = Verdict(tries=doubted.failures + doubted.losses, is_aside=doubted.is_aside)
        self._keep()
        return verdict

    def note_answer(self, held: Vector, refused: Mapping[Author, int]) -> bool:
        """The device said what it holds, and what it refused: of neither there is any doubt left.

        Args:
            held: positions that it holds.
            refused: author → the first entry that it refused.

        Returns:
            Whether other entries go last, or are set aside, than before.
        """
        before = (self._place, self._doubted)

        def is_open(item: _Place | _Doubted) -> bool:
            position = held.get(item.partition, {}).get(item.author)
            is_held = position is not None and position.sequence >= item.first
            return not is_held and refused.get(item.author, item.first + 1) > item.first

        self._doubted = [item for item in self._doubted if is_open(item)]
        place = self._place
        if place is not None and place.ends < CAREFUL_AFTER and not is_open(place):
            self._place = None
        if (self._place, self._doubted) != before:
            self._keep()
        return self._doubted != before[1]

    def note_equal(self) -> None:
        """The device holds all that is here."""
        self._place, self._doubted = None, []
        self._keep()

    def let_go(self, authors: Mapping[Author, int] | None) -> list[SetAside]:
        """Try again at once what is in doubt; returns what was set aside, for good or for a while.

        Args:
            authors: of these authors what comes no later than an entry; None for all.
        """
        before = list(self.set_aside())
        kept = [item for item in self._doubted if authors is not None and item.first > authors.get(item.author, 0)]
        self._place, self._doubted = None, kept
        self._keep()
        after = list(self.set_aside())
        return [item for item in before if item not in after]

    def forget(self, first: Mapping[Author, int]) -> None:
        """Entries were taken out of the log: of each of these authors what stood at a sequence, or behind it."""
        self._doubted = [item for item in self._doubted if item.first < first.get(item.author, item.first + 1)]
        self._place = None
        self._keep()

    def set_aside(self) -> Iterator[SetAside]:
        """What the device is not sent at once."""
        for item in self._doubted:
            if item.is_aside or item.due_ms:
                yield SetAside(
                    device_id=self._device,
                    author=item.author,
                    sequence=item.first,
                    tries=item.failures + item.losses,
                    reason=item.reason,
                    due_ms=None if item.is_aside else item.due_ms,
                )

    def _note_place(self, flight: Flight, fault: Fault) -> _Doubted | None:
        """Note where a session ended; what is in doubt, once that is known."""
        place, first = self._place, (flight.partition, flight.author, flight.first)
        if place is None or (place.partition, place.author, place.first) != first:
            ends = place.ends if place is not None and place.ends >= CAREFUL_AFTER and flight.alone else 0
            until = max(flight.until, place.until) if ends and place is not None else flight.until
            place = _Place(partition=flight.partition, author=flight.author, first=flight.first, until=until, ends=ends)
        place = replace(
            place,
            until=max(place.until, flight.until),
            ends=place.ends + 1,
            failures=place.failures + (flight.alone and fault is Fault.FAILURE),
            losses=place.losses + (flight.alone and fault is Fault.LOSS),
        )
        self._place = place
        if place.failures + place.losses < SUSPECT_AFTER:
            return None
        told(log, logging.WARNING, "sessions end at an entry", device=self._device, author=place.author, at=place.first)
        return _Doubted(
            partition=place.partition,
            author=place.author,
            first=place.first,
            failures=place.failures,
            losses=place.losses,
        )

    def _keep(self) -> None:
        if not self:
            self._store.delete(Table.HOLDING, self._key)
            return
        place = self._place
        doubted = [[getattr(item, name) for name in _Doubted.__slots__] for item in self._doubted]
        kept = None if place is None else [getattr(place, name) for name in _Place.__slots__]
        self._store.put(Table.HOLDING, self._key, pack_values(kept, doubted))


def _counted(doubted: _Doubted, fault: Fault, *, epoch: bytes) -> _Doubted:
    """Whether the loss before this end was a death shows by now: the device came back under a new epoch, or not."""
    deaths = doubted.deaths
    if doubted.epoch:
        deaths = deaths + 1 if epoch != doubted.epoch else 0
    return replace(doubted, deaths=deaths, epoch=epoch if fault is Fault.LOSS else b"")


def doubts(store: Store) -> Iterator[Doubts]:
    """Those of every device that there are any of."""
    for key, _ in list(store.scan(Table.HOLDING, start=DOUBTED, end=DOUBTED + b"\xff")):
        yield Doubts(store, DeviceId(key.removeprefix(DOUBTED).decode()))


_PLACE: Final[Shape] = (str, int, int, int, int, int, int)
_DOUBTED: Final[Shape] = (str, int, int, int, int, int, str, bool, int, bytes)


def read_doubts(data: bytes) -> None:
    """Check that a row can be read.

    Raises:
        CorruptStoreError: it cannot.
    """
    _read(data)


def _read(data: bytes | None) -> tuple[_Place | None, list[_Doubted]]:
    if data is None:
        return None, []
    place, doubted = unpack_values(data, 2, "holding")
    if not has_shape(doubted, [_DOUBTED]) or not (place is None or has_shape(place, _PLACE)):
        raise CorruptStoreError("a row of table holding has values of other types", table="holding")
    return (
        None if place is None else _Place(**dict(zip(_Place.__slots__, place, strict=True))),
        [_Doubted(**dict(zip(_Doubted.__slots__, item, strict=True))) for item in doubted],
    )
