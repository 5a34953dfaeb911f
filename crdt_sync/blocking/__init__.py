"""The blocking shell: one round of sync for scripts, without an event loop."""

from __future__ import annotations

from crdt_sync.blocking.reconcile import reconcile

__all__ = ["reconcile"]
