"""Keeps what cannot be derived of one record from stopping everything else.

What is accepted never depends on the models (protocol.md), so whatever screening let in has to be shown somehow, and
a store that holds it has to open. Field kinds are made to read all of it; where one fails all the same, by a mistake of
ours or of the app, that field alone is affected: it shows what is stored, and `Replica.invalid` tells of it. The log
does so once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from crdt_sync.core.logs import FIELDS
from crdt_sync.errors import StoreError

log = logging.getLogger("crdt_sync.replica")

T = TypeVar("T")

_FATAL: Final = (StoreError, MemoryError)
"""What is no matter of one record."""


class Shield:
    """Calls pure functions of the contents of one model's records.

    Args:
        model: the model's name.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._told: set[tuple[str, str]] = set()

    def call(self, make: Callable[[], T], *, otherwise: T, what: str) -> T:
        """What a function gives, or something else where it fails.

        Args:
            make: the function.
            otherwise: the something else.
            what: for the log: the field, or what else is derived; empty where it is tried again part by part.

        Raises:
            StoreError, MemoryError: it failed for another reason than a record's content.
        """
        try:
            return make()
        except _FATAL:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it must not stop the sync of other records
            if what:
                self._tell(what, type(error).__name__)
            return otherwise

    def failure(self, make: Callable[[], object]) -> str:
        """How a function fails: the name of what it raises; empty where it does not."""
        try:
            make()
        except _FATAL:
            raise
        except Exception as error:  # noqa: BLE001  as above
            return type(error).__name__
        return ""

    def _tell(self, what: str, error: str) -> None:
        """Log it, once: records are read again and again."""
        if (what, error) not in self._told:
            self._told.add((what, error))
            log.error(
                "%s of a %s cannot be derived (%s); all else goes on",
                what,
                self._model,
                error,
                extra={FIELDS: {"what": what, "model": self._model, "reason": error}},
            )
