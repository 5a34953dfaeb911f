"""The test kit: for apps, whether their models hold what they must; for stores and channels, acceptance suites.

docs/reference/testing.md lists it. The simulator and the proxy need nothing but the package; the rest needs the extra
``testing``, which brings Hypothesis and pytest, and is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crdt_sync.testing.proxy import Cut, FaultProxy, Way
from crdt_sync.testing.simulation import Campaign, Fault, History, Report, Simulation, SimulationFailedError, replay

if TYPE_CHECKING:
    from crdt_sync.testing.convergence import ConvergenceMachine
    from crdt_sync.testing.editing import Edit
    from crdt_sync.testing.laws import LawBrokenError
    from crdt_sync.testing.merges import check_merge, check_model
    from crdt_sync.testing.playing import play
    from crdt_sync.testing.strategies import edits, histories, records
    from crdt_sync.testing.upgrades import check_upgrade

__all__ = [
    "Campaign",
    "ConvergenceMachine",
    "Cut",
    "Edit",
    "Fault",
    "FaultProxy",
    "History",
    "LawBrokenError",
    "Report",
    "Simulation",
    "SimulationFailedError",
    "Way",
    "check_merge",
    "check_model",
    "check_upgrade",
    "edits",
    "histories",
    "play",
    "records",
    "replay",
]

_MODULES = {
    "ConvergenceMachine": "convergence",
    "Edit": "editing",
    "LawBrokenError": "laws",
    "check_merge": "merges",
    "check_model": "merges",
    "check_upgrade": "upgrades",
    "edits": "strategies",
    "histories": "strategies",
    "play": "playing",
    "records": "strategies",
}


def __getattr__(name: str) -> Any:
    """Import what needs the extra when it is asked for.

    Raises:
        AttributeError: there is no such name.
        ModuleNotFoundError: the extra ``testing`` is not installed.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name == "hypothesis":
            error.add_note("It comes with the extra: pip install 'crdt-sync[testing]'")
        raise
