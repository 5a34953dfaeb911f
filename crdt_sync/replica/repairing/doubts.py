"""What a table is worth of which rows are gone, or older ones are back: nobody knows which."""

from __future__ import annotations

from typing import Final

from crdt_sync.replica.fork import CLAIMS
from crdt_sync.replica.holdings import OTHERS
from crdt_sync.replica.kept_content import KEPT
from crdt_sync.replica.stepping import DRAWN
from crdt_sync.replica.undo_stack import STACK
from crdt_sync.storage.base import Table

_SIGNED: Final = (b"\0v", b"\0f", b"\0k", b"\0u")
"""How keys of `holding` begin whose rows are signed by their device, or promise nothing."""


class Doubts:
    """Which rows are not taken over though they are whole: an older one of them would say too much.

    Args:
        tables: those of which rows are gone, or older ones are back.
    """

    def __init__(self, tables: frozenset[str]) -> None:
        self._tables = tables

    def about(self, table: Table, key: bytes) -> str:
        """Why a row is not taken over, or an empty string."""
        if table not in self._tables:
            return ""
        if table is Table.HOLDING and not key.startswith(_SIGNED):
            # An older one may count as held what is held no more, or hold back what was to be sent again.
            whose = "what a device holds or refused" if key >= OTHERS else "what a device refused"
            return f"{whose} may have been noted anew since: its next session says it again"
        if table is Table.META and key in (STACK, CLAIMS, DRAWN, KEPT):
            return "it may be an older one, and not tell of what was done since"
        return ""
