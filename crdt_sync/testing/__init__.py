"""The test kit: acceptance suites for stores and channels, an exchange without a network, the simulator, a fault proxy.

The suites need pytest; the simulator and the proxy need nothing but the package.
"""

from __future__ import annotations

from crdt_sync.testing.proxy import Cut, FaultProxy, Way
from crdt_sync.testing.simulation import Campaign, Fault, History, Report, Simulation, SimulationFailedError, replay

__all__ = [
    "Campaign",
    "Cut",
    "Fault",
    "FaultProxy",
    "History",
    "Report",
    "Simulation",
    "SimulationFailedError",
    "Way",
    "replay",
]
