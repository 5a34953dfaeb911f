"""Who is told of changes: observers of records, and pumps that wait for something to send."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Self

from crdt_sync.replica.state import Change

log = logging.getLogger("crdt_sync.replica")


class Subscription:
    """One observer's subscription."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end = end

    def close(self) -> None:
        """End it. May be called again."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Observers:
    """Calls observers in the order in which they came. One that raises is logged and does not stop the others."""

    def __init__(self) -> None:
        self._callbacks: dict[int, tuple[Callable[[Change], object], str | None]] = {}
        self._wakers: dict[int, Callable[[], None]] = {}
        self._next = 0

    def add(self, callback: Callable[[Change], object], *, model: str | None) -> Subscription:
        """Subscribe to the changes of a model, or to all."""
        self._next += 1
        number = self._next
        self._callbacks[number] = (callback, model)
        return Subscription(lambda: self._callbacks.pop(number, None))

    def add_waker(self, waker: Callable[[], None]) -> Subscription:
        """Call ``waker`` after every commit; it must only take a note."""
        self._next += 1
        number = self._next
        self._wakers[number] = waker
        return Subscription(lambda: self._wakers.pop(number, None))

    def publish(self, changes: Iterable[Change]) -> None:
        """Wake the pumps and tell the observers."""
        self.wake()
        for change in changes:
            for callback, model in list(self._callbacks.values()):
                if model is None or model == change.model:
                    try:
                        callback(change)
                    except Exception:
                        log.exception("an observer failed")

    def wake(self) -> None:
        """Wake the pumps: something was committed."""
        for waker in list(self._wakers.values()):
            waker()
