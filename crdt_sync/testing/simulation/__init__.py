"""The deterministic simulator: replicas, hubs and the network between them in virtual time, with faults a seed draws.

    history = Simulation(815).run()

`Replica`, `SyncManager`, the server and the sessions under them are the production code. Simulated are the clock, the
network and the disk, so a seed reproduces a run byte for byte, on any machine.
"""

from __future__ import annotations

from crdt_sync.testing.simulation.campaign import Campaign, Report
from crdt_sync.testing.simulation.history import History, SimulationFailedError, replay, shortest
from crdt_sync.testing.simulation.schedule import ALL_FAULTS, STEPS, VERSION, Fault, Schedule, Step, schedule_of
from crdt_sync.testing.simulation.simulation import Simulation

__all__ = [
    "ALL_FAULTS",
    "STEPS",
    "VERSION",
    "Campaign",
    "Fault",
    "History",
    "Report",
    "Schedule",
    "Simulation",
    "SimulationFailedError",
    "Step",
    "replay",
    "schedule_of",
    "shortest",
]
