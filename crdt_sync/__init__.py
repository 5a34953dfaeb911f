"""crdt_sync: a CRDT-based replication engine for local-first applications."""

from __future__ import annotations

from crdt_sync import errors
from crdt_sync.aio import BackoffPolicy, SyncManager, connect, serve
from crdt_sync.blocking import reconcile
from crdt_sync.core.conflict import DELETED, KEEP_BOTH, UNKNOWN, Candidate, Choice, Conflict, Settled
from crdt_sync.core.kinds import (
    ASK,
    Counter,
    List,
    Map,
    Set,
    Text,
    ask,
    field,
    first,
    max_,
    merge_with,
    min_,
    three_way,
)
from crdt_sync.core.model import Model
from crdt_sync.core.reference import Ref
from crdt_sync.replica import (
    Change,
    Fork,
    ForkedRecord,
    HomePeer,
    InvalidField,
    LocalStorage,
    OperationQueue,
    PrometheusCollector,
    Replica,
    RetryPolicy,
    SetAside,
    SyncLog,
    SyncOperation,
    SyncReport,
)

__all__ = [
    "ASK",
    "DELETED",
    "KEEP_BOTH",
    "UNKNOWN",
    "BackoffPolicy",
    "Candidate",
    "Change",
    "Choice",
    "Conflict",
    "Counter",
    "Fork",
    "ForkedRecord",
    "HomePeer",
    "InvalidField",
    "List",
    "LocalStorage",
    "Map",
    "Model",
    "OperationQueue",
    "PrometheusCollector",
    "Ref",
    "Replica",
    "RetryPolicy",
    "Set",
    "SetAside",
    "Settled",
    "SyncLog",
    "SyncManager",
    "SyncOperation",
    "SyncReport",
    "Text",
    "ask",
    "connect",
    "errors",
    "field",
    "first",
    "max_",
    "merge_with",
    "min_",
    "reconcile",
    "serve",
    "three_way",
]
