"""Checking a store from end to end: every row, chain and signature, and what was derived against what was logged.

It changes nothing, and works beside a process that writes.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from crdt_sync.core.records import RecordSet
from crdt_sync.errors import CRDTSyncError
from crdt_sync.replica.checking.documents import DocumentCheck
from crdt_sync.replica.checking.duplicates import check_duplicates
from crdt_sync.replica.checking.findings import CheckReport
from crdt_sync.replica.checking.journal import check_journal
from crdt_sync.replica.checking.log import LogCheck, check_bases, check_indexes, sound_records
from crdt_sync.replica.checking.small_tables import check_forks, check_identity, check_models, check_readable
from crdt_sync.replica.rows import FOLDED
from crdt_sync.storage.base import Progress, Store, Table

LOOKS_MAX: Final = 3
"""How often a store is checked while another process goes on writing and something seems wrong."""


def check_store(store: Store, *, progress: Progress | None = None) -> CheckReport:
    """Check everything; a part that cannot be read ends only that part.

    Where something seems wrong in a store that was written to meanwhile, it counts only if the next look finds it too.

    Args:
        store: the store.
        progress: told how many rows had their checksum compared, and of how many.
    """
    before = _stand(store)
    report = _look(store, progress=progress)
    for _ in range(LOOKS_MAX - 1):
        now = _stand(store)
        if report.ok or before == now:
            break
        before = now
        report = _look(store, progress=progress).without(report)
    return report


def _look(store: Store, *, progress: Progress | None) -> CheckReport:
    report = CheckReport()
    for damage in store.check(progress=progress):
        where = f"table {damage.table}" if damage.table else "file"
        where += f", key {damage.key.hex()}" if damage.key else ""
        report.add("row" if damage.table else "structure", where=where, reason=damage.reason)
    for table in Table:
        report.part(f"table {table}", partial(_count_rows, store, report, table))
    records = RecordSet()
    try:
        records = sound_records(store, report)
    except CRDTSyncError as error:
        report.add("unreadable", where="space records", reason=error.message)
    report.part("identity", lambda: check_identity(store, report, records))
    report.part("models", lambda: check_models(store, report))
    report.part("forks", lambda: check_forks(store, report))
    report.part("tables", lambda: check_readable(store, report))
    report.part("log", lambda: LogCheck(store, report, records).run())
    report.part("indexes", lambda: check_indexes(store, report))
    report.part("bases", lambda: check_bases(store, report))
    report.part("journal", lambda: check_journal(store, report))
    report.part("documents", lambda: DocumentCheck(store, report).run())
    report.part("duplicates", lambda: check_duplicates(store, report))
    return report


def _count_rows(store: Store, report: CheckReport, table: Table) -> None:
    report.count("rows", store.count(table))


def _stand(store: Store) -> tuple[object, ...]:
    """Changes whenever a commit changes what a check compares."""
    try:
        ends = [next(store.scan(table, reverse=True, limit=1), None) for table in (Table.LOG, Table.OPERATION)]
        marks = list(store.scan(Table.DIRTY))
        return (*ends, *marks, store.get(Table.META, FOLDED), store.count(Table.RECORD), store.count(Table.PENDING))
    except CRDTSyncError:
        return ()
