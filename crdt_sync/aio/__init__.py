"""The asyncio shell: what pumps bytes between sessions, channels and replicas."""

from __future__ import annotations

from crdt_sync.aio.backoff import Backoff, BackoffPolicy
from crdt_sync.aio.manager import SyncManager
from crdt_sync.aio.peers import Peer, connect
from crdt_sync.aio.server import Server, serve

__all__ = ["Backoff", "BackoffPolicy", "Peer", "Server", "SyncManager", "connect", "serve"]
