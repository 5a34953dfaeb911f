"""`crdt-sync demo`: the main job on real data, with a hub and two devices as processes of their own."""

from __future__ import annotations

from crdt_sync.cli.demo.run import run_demo

__all__ = ["run_demo"]
