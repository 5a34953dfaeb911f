"""Chains of ours that a peer says it holds differently: how long that is looked into, and what waits meanwhile.

What was written here behind the last entry that anybody acknowledged may be written again under another author, so it
goes to nobody until the peer's branch has come. A peer may say what it likes; so it holds back nothing that others
wrote, and our own entries for no longer than `LOOK_MS_MAX` in all.
"""

from __future__ import annotations

from typing import Final

from crdt_sync.core.ids import Author, DeviceId
from crdt_sync.protocol.source import Position, Postponed
from crdt_sync.replica.state import State

LOOK_MS_MAX: Final = 120_000
"""So long in all may what one device says hold entries of ours back, for as long as the store is open."""


class Doubting:
    """Who has raised doubts about chains of ours, and when. The doubts themselves are `State.doubted`.

    Args:
        state: the replica.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._since: dict[DeviceId, int] = {}
        self._spent: dict[DeviceId, int] = {}
        self._raised: dict[tuple[str, Author], set[DeviceId]] = {}

    def begin(self, partition: str, author: Author, *, after: int, device: DeviceId) -> bool:
        """Doubt a chain behind an entry on a device's word; False where its words have held us back for long enough."""
        if self.is_over(device):
            return False
        self._since.setdefault(device, self._state.now_ms())
        self._raised.setdefault((partition, author), set()).add(device)
        self._state.doubted.setdefault((partition, author), after)
        return True

    def is_over(self, device: DeviceId) -> bool:
        """Whether what a device said has been looked into for long enough."""
        return self._spent_by(device) >= LOOK_MS_MAX

    def end(self, device: DeviceId) -> bool:
        """What a device said counts no more; whether a doubt ends by that."""
        self._spent[device] = self._spent_by(device)
        self._since.pop(device, None)
        ended = False
        for name, devices in list(self._raised.items()):
            devices.discard(device)
            if not devices:
                del self._raised[name]
                ended |= self._state.doubted.pop(name, None) is not None
        return ended

    def postponed(self) -> Postponed:
        """What waits, while anything is in doubt."""
        before, ledger = self.postponed_from(), self._state.ledger
        if before is None:
            return {}
        found: dict[tuple[str, Author], tuple[int, int]] = {}
        own = self._state.lease.own_authors()
        for partition, ends in ledger.heads.items():
            for author in own.intersection(ends):
                after = self._state.doubted.get((partition, author), 0)
                rows = ledger.rows_of(partition, author, after=after)
                first = next(((row.first, position) for position, row in rows if row.own and position >= before), None)
                if first is not None:
                    found[partition, author] = first
        return found

    def postponed_from(self) -> int | None:
        """The log position from which on what was written here waits; None where nothing does."""
        starts = (self._state.ledger.position_after(*name, after) for name, after in self._state.doubted.items())
        return min((start for start in starts if start is not None), default=None)

    def shown(self, vector: dict[str, dict[Author, Position]]) -> dict[str, dict[Author, Position]]:
        """A vector of ours as it is told, up to what is in doubt."""
        for (partition, author), sequence in self._state.doubted.items():
            held = self._state.ledger.hash_at(partition, author, sequence)
            if sequence == 0 or held is None:
                vector.get(partition, {}).pop(author, None)
            else:
                vector[partition][author] = Position(sequence=sequence, hash=held)
        return vector

    def _spent_by(self, device: DeviceId) -> int:
        since, spent = self._since.get(device), self._spent.get(device, 0)
        now_ms = self._state.now_ms()
        if since is not None and since > now_ms:
            return LOOK_MS_MAX  # the clock was put back: nothing tells how long it has been
        return spent if since is None else spent + now_ms - since
