"""crdt_sync: a CRDT-based replication engine for local-first applications."""

from __future__ import annotations

from crdt_sync import errors
from crdt_sync.aio import SyncManager, connect, serve
from crdt_sync.blocking import reconcile
from crdt_sync.core.conflict import Candidate, Conflict
from crdt_sync.core.kinds import Counter, Set, Text, ask
from crdt_sync.core.model import Model
from crdt_sync.replica import Change, LocalStorage, Replica, SyncLog, SyncOperation, SyncReport

__all__ = [
    "Candidate",
    "Change",
    "Conflict",
    "Counter",
    "LocalStorage",
    "Model",
    "Replica",
    "Set",
    "SyncLog",
    "SyncManager",
    "SyncOperation",
    "SyncReport",
    "Text",
    "ask",
    "connect",
    "errors",
    "reconcile",
    "serve",
]
