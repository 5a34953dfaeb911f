"""The local facade: validate, write, persist, publish."""

from __future__ import annotations

from crdt_sync.replica.branches import Fork, ForkedRecord
from crdt_sync.replica.facade import Replica
from crdt_sync.replica.history import FieldChange, HistoryItem
from crdt_sync.replica.home_peers import HomePeer
from crdt_sync.replica.invalid import InvalidField
from crdt_sync.replica.local import LocalStorage
from crdt_sync.replica.observers import Subscription
from crdt_sync.replica.opening import Sources
from crdt_sync.replica.operation_queue import OperationQueue
from crdt_sync.replica.operations import OperationStatus, SyncOperation
from crdt_sync.replica.prometheus import PrometheusCollector
from crdt_sync.replica.report import SyncReport
from crdt_sync.replica.set_aside import RetryPolicy, SetAside
from crdt_sync.replica.state import Change
from crdt_sync.replica.synclog import SyncLog
from crdt_sync.replica.undo import UndoItem, UndoReport

__all__ = [
    "Change",
    "FieldChange",
    "Fork",
    "ForkedRecord",
    "HistoryItem",
    "HomePeer",
    "InvalidField",
    "LocalStorage",
    "OperationQueue",
    "OperationStatus",
    "PrometheusCollector",
    "Replica",
    "RetryPolicy",
    "SetAside",
    "Sources",
    "Subscription",
    "SyncLog",
    "SyncOperation",
    "SyncReport",
    "UndoItem",
    "UndoReport",
]
