"""The test kit: acceptance suites for stores and channels, an exchange without a network, and the simulator.

The suites need pytest; the simulator needs nothing but the package.
"""

from __future__ import annotations

from crdt_sync.testing.simulation import Campaign, Fault, History, Report, Simulation, SimulationFailedError, replay

__all__ = ["Campaign", "Fault", "History", "Report", "Simulation", "SimulationFailedError", "replay"]
