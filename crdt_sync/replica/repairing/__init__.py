"""Making a damaged store sound again; what finds the damage is `crdt_sync.replica.checking`."""

from crdt_sync.replica.repairing.quarantine import read_quarantine
from crdt_sync.replica.repairing.repair import Missing, RepairReport, repair_store

__all__ = ["Missing", "RepairReport", "read_quarantine", "repair_store"]
