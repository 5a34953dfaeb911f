"""Checking records that were created twice: the table that finds them, and what they show together."""

from __future__ import annotations

from collections.abc import Iterator

from crdt_sync.core.content import Content
from crdt_sync.core.ids import DocumentKey, document_key, split_document_key
from crdt_sync.core.links import links_of
from crdt_sync.errors import CRDTSyncError
from crdt_sync.replica.checking.derived import DerivedCheck
from crdt_sync.replica.checking.findings import CheckReport
from crdt_sync.replica.checking.reading import whole_rows
from crdt_sync.replica.derive import conflicts_of
from crdt_sync.replica.derived_rows import unique_key, unique_link_key, unique_value_key, unpack_unique_row
from crdt_sync.replica.duplicates import content_of, group_of
from crdt_sync.replica.grouping import ALIAS, HIDDEN, SHOWN
from crdt_sync.replica.opening import reader_state
from crdt_sync.replica.questions import duplicate_conflicts
from crdt_sync.replica.rows import after_prefix
from crdt_sync.replica.schema import Declared
from crdt_sync.replica.state import State
from crdt_sync.replica.unique_index import Group, held_row, neighbours, unique_values
from crdt_sync.storage.base import Store, Table

_ID_BYTES = 16
_RECORD, _VALUES, _LINK = b"d", b"v", b"l"


def check_duplicates(store: Store, report: CheckReport) -> None:
    """Compare what is kept of models with unique fields with what their documents say.

    The documents are taken as they are kept: whether that is what the log makes is checked elsewhere.
    """
    state, derived = reader_state(store), DerivedCheck(store)
    for declared in derived.compared():
        if declared.spec.unique:
            _ModelCheck(state, derived, declared, report).run()
    for key, data in whole_rows(store, Table.UNIQUE):
        reason = _leads_nowhere(store, key, data)
        if reason:
            report.add("duplicates", where=f"table unique, key {key.hex()}", reason=reason)


def _leads_nowhere(store: Store, key: bytes, data: bytes) -> str:
    """Why a row of the table has nothing that it stands for, or an empty string."""
    if key[:1] == _RECORD:
        return "" if store.get(Table.VERSION, key[1:]) is not None else "it is about no record"
    if key[:1] == _VALUES:
        address, values, record = key[1 : -2 * _ID_BYTES], key[-2 * _ID_BYTES : -_ID_BYTES], key[-_ID_BYTES:]
        held = store.get(Table.UNIQUE, unique_key(DocumentKey(address + record)))
        return "" if held is not None and unpack_unique_row(held).values == values else "no record has these values"
    if key[:1] == _LINK:
        linked, record = DocumentKey(key[1:-_ID_BYTES]), key[-_ID_BYTES:]
        held = store.get(Table.UNIQUE, unique_key(DocumentKey(linked[:-_ID_BYTES] + record)))
        is_linked = held is not None and split_document_key(linked)[2] in unpack_unique_row(held).links
        return "" if is_linked else "no record links there"
    return "it begins as no row does"


class _ModelCheck:
    def __init__(self, state: State, derived: DerivedCheck, declared: Declared, report: CheckReport) -> None:
        self._state = state
        self._store = state.store
        self._derived = derived
        self._declared = declared
        self._report = report

    def run(self) -> None:
        """Check all records of the model."""
        for number, key in enumerate(self._keys()):
            try:
                what, reason = self._differs(key)
            except CRDTSyncError as error:
                what, reason = "duplicates", error.message
            if reason:
                self._report.add_document(what, key, reason)
            if number % 256 == 0:
                self._state.documents.shrink()

    def _keys(self) -> Iterator[DocumentKey]:
        name = self._declared.spec.name.encode()
        prefix = b"\0" + bytes((len(name),)) + name
        for key, _ in self._store.scan(Table.VERSION, start=prefix, end=after_prefix(prefix)):
            yield DocumentKey(key)

    def _content(self, key: DocumentKey) -> Content:
        return self._state.documents.get(key).content(self._declared.text_fields)

    def _differs(self, key: DocumentKey) -> tuple[str, str]:
        group = group_of(self._state, self._declared, key)
        near = {*group, *neighbours(self._store, key)}
        if any(self._store.get(Table.DIRTY, member) is not None for member in near):
            return "", ""  # it is about to be shown anew
        reason = self._entry_differs(key, group)
        if reason:
            return "duplicates", reason
        if len(near) == 1:
            return "", ""  # what it shows is compared with its own document
        if key != group[0]:
            return ("conflict", "a merged record has conflicts of its own") if self._conflicts(key) else ("", "")
        return self._shown_differs(group)

    def _entry_differs(self, key: DocumentKey, group: Group) -> str:
        """Why the table's rows about a record are not what its documents give, or an empty string."""
        if self._store.get(Table.UNIQUE, unique_key(key)) is None:
            return "the table of unique values misses it"
        declared, held = self._declared, held_row(self._store, key)
        links = links_of(self._content(key)).merged - {split_document_key(key)[2]}
        if held.links != tuple(sorted(links)):
            return "its links are not those of its content"
        if self._values_differ(key, group, held.values):
            return "its unique values are not those of its content"
        own = key[-_ID_BYTES:]
        rows = [unique_value_key(key[:-_ID_BYTES], held.values) + own] if held.values else []
        partition, model, _ = split_document_key(key)
        rows += [unique_link_key(document_key(partition, model, other)) + own for other in links]
        if any(self._store.get(Table.UNIQUE, row) is None for row in rows):
            return "the table of unique values does not lead to it"
        live = declared.is_live(content_of(self._state, declared, group))
        shown = HIDDEN if not live else SHOWN if key == group[0] else ALIAS
        return "" if held.shown == shown else "it is shown otherwise than its group says"

    def _values_differ(self, key: DocumentKey, group: Group, held: bytes) -> bool:
        """Whether the name of a record's unique values is another than its content's, as far as that can be told."""
        declared = self._declared
        compared = content_of(self._state, declared, group) if declared.spec.asks else self._content(key)
        if not declared.is_live(compared) or (declared.spec.asks and key != group[0]):
            return bool(held)
        return self._derived.tells_unique(declared, compared) and held != (unique_values(declared, compared) or b"")

    def _shown_differs(self, group: Group) -> tuple[str, str]:
        declared, survivor = self._declared, group[0]
        content = content_of(self._state, declared, group)
        reason = self._derived.row_differs(declared, survivor, content)
        if reason:
            return "table", reason
        found = []
        if declared.is_live(content):
            found = conflicts_of(self._state, declared, group, content)
            found += duplicate_conflicts(self._state, declared, survivor)
        expected = {bytes.fromhex(item.id) for item in found if not self._derived.is_app_field(declared, item.field)}
        held = self._conflicts(survivor)
        if not self._derived.tells_unique(declared):  # nor which records are in question
            held = {name: field for name, field in held.items() if field or name in expected}
        if held.keys() != expected:
            return "conflict", "its open conflicts are not those that its content has"
        return "", ""

    def _conflicts(self, key: DocumentKey) -> dict[bytes, str]:
        """The open conflicts of a record that the app's code has no say in, and their fields."""
        rows = self._store.scan(Table.CONFLICT, start=key, end=after_prefix(key))
        names = self._declared.names
        found = {name[len(key) :]: names.get(field.decode(), "") for name, field in rows}
        return {name: field for name, field in found.items() if not self._derived.is_app_field(self._declared, field)}
