"""Who is told of changes: observers of records, and pumps that wait for something to send."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Self

from crdt_sync.core.logs import FIELDS
from crdt_sync.errors import InputError
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
    """Calls observers in the order in which they came. One that raises is logged and does not stop the others.

    Invariant: every observer is told of the changes in the order of their commits, also when a callback writes: what it
    commits is told after what was committed before.
    """

    def __init__(self) -> None:
        self._callbacks: dict[int, tuple[Callable[[Change], object], str | None]] = {}
        self._wakers: dict[int, Callable[[], None]] = {}
        self._next = 0
        self._waiting: deque[tuple[Change, int]] = deque()
        """Changes to tell, each with the number of the last observer that was there when it was committed."""
        self._telling = False

    def add(self, callback: Callable[[Change], object], *, model: str | None) -> Subscription:
        """Subscribe to the changes of a model, or to all.

        Raises:
            InputError: ``callback`` cannot be called.
        """
        if not callable(callback):
            raise InputError(
                f"an observer is called with each change, and a {type(callback).__name__} cannot be called",
                hint="Give a function that takes one Change.",
            )
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
        """Wake the pumps and tell the observers; amid a callback, what it wrote is told when its turn has come."""
        self.wake()
        self._waiting.extend((change, self._next) for change in changes)
        if self._telling:
            return
        self._telling = True
        try:
            while self._waiting:
                change, last = self._waiting.popleft()
                self._tell(change, last=last)
        finally:
            self._telling = False

    def wake(self) -> None:
        """Wake the pumps: something was committed."""
        for waker in list(self._wakers.values()):
            waker()

    def _tell(self, change: Change, *, last: int) -> None:
        for number, (callback, model) in list(self._callbacks.items()):
            if number > last or number not in self._callbacks or model not in (None, change.model):
                continue
            try:
                callback(change)
            except Exception:
                log.exception("an observer failed", extra={FIELDS: {}})
