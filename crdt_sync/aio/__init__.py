"""The asyncio shell: what pumps bytes between sessions, channels and replicas."""

from __future__ import annotations

from crdt_sync.aio.backoff import Backoff, BackoffPolicy
from crdt_sync.aio.manager import SyncManager
from crdt_sync.aio.peers import Peer, connect
from crdt_sync.aio.server import Server, serve
from crdt_sync.aio.shell import Shell

__all__ = ["Backoff", "BackoffPolicy", "Peer", "Server", "Shell", "SyncManager", "connect", "serve"]
