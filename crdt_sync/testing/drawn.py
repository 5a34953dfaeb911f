"""What the replica of a history draws: the same in each run, and nothing twice, however often it is opened again."""

from __future__ import annotations

from collections.abc import Callable

from blake3 import blake3

from crdt_sync.replica import Sources


class Drawn:
    """Entropy and record ids for the `Sources` of one replica.

    Args:
        number: which replica of its history; its ids are told from others' by it.
        seed: what the entropy follows from.
    """

    def __init__(self, number: int, *, seed: str) -> None:
        self._number, self._seed = number, seed
        self._draws = self._ids = 0

    def sources(self, now_ms: Callable[[], int]) -> Sources:
        """What a replica is opened with, beside a clock in milliseconds since 1970."""
        return Sources(now_ms=now_ms, entropy=self._entropy, new_record_id=self._record_id)

    def _entropy(self, count: int) -> bytes:
        self._draws += 1
        return blake3(f"{self._seed}/{self._draws}".encode()).digest(count)

    def _record_id(self) -> str:
        """An id as UUIDv7 writes them; later ones sort behind earlier ones."""
        self._ids += 1
        return f"01970000-0000-7000-8000-{self._number:04x}{self._ids:08x}"
