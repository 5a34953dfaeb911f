"""What a table is worth of which rows are gone, or older ones are back: nobody knows which."""

from __future__ import annotations

from typing import Final

from crdt_sync.core.ids import device_id
from crdt_sync.core.records import RecordSet, decode_record
from crdt_sync.protocol.durable import decode_durable
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.replica.fork import CLAIMS
from crdt_sync.replica.handed_out import HANDED
from crdt_sync.replica.holdings import OTHERS
from crdt_sync.replica.kept_content import KEPT
from crdt_sync.replica.packing import unpack_authors
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.stated import STATED, note_nothing
from crdt_sync.replica.stepping import DRAWN
from crdt_sync.replica.undo_stack import STACK
from crdt_sync.storage.base import Store, Table

_SIGNED: Final = b"\0v"
_KEPT: Final = (_SIGNED, b"\0f", b"\0k", b"\0u", STATED, b"\0h")
"""How keys of `holding` begin whose rows are signed by their device, promise nothing, or are said again by nobody."""
_SESSIONS: Final = b"\0d"


def count_on_nobody(target: Store) -> None:
    """Have every other device count as holding nothing until it is met: its row that said it holds less may be gone.

    Args:
        target: the salvaged store, of which is known who it is.
    """
    records = RecordSet(decode_record(data) for _, data in target.scan(Table.RECORD))
    authors = unpack_authors(target.get(Table.META, b"authors"), key=b"authors")
    own = {records.bound_key(author) for author in authors}
    rows = list(target.scan(Table.HOLDING, start=_SIGNED, end=after_prefix(_SIGNED)))
    with target.transaction():
        for public_key in {decode_durable(data, limits=WireLimits()).public_key for _, data in rows} - own:
            note_nothing(target, device_id(public_key))


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
        if table is Table.HOLDING and not key.startswith(_KEPT):
            # An older one may count as held what is held no more, or hold back what was to be sent again.
            refused = "where sessions with a device ended" if key.startswith(_SESSIONS) else "what a device refused"
            what = "what a device acknowledged" if key >= OTHERS else refused
            return f"{what} may have been noted anew since: its next session says it again"
        if table is Table.META and key in (STACK, CLAIMS, DRAWN, KEPT, HANDED):
            return "it may be an older one, and not tell of what was done since"
        return ""
