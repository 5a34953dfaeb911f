"""Finding out what is wrong with a store; what mends it is `crdt_sync.replica.repairing`."""

from crdt_sync.replica.checking.findings import CheckReport, Finding
from crdt_sync.replica.checking.whole import check_store

__all__ = ["CheckReport", "Finding", "check_store"]
