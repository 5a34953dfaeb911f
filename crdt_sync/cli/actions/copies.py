"""The action that tells who else has the data."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from crdt_sync.cli.actions.base import Action, Json, device_json
from crdt_sync.cli.actions.conflicts import device_time
from crdt_sync.replica import Replica


@dataclass(frozen=True, slots=True, kw_only=True)
class WipeParams:
    """An action without parameters."""


def _safe_to_wipe(replica: Replica, params: WipeParams) -> Json:
    del params
    safety, names = replica.safe_to_wipe(), replica.device_names
    devices = [
        {
            **device_json(names, item.device_id),
            "told": device_time(item.told_ms << 16)["time"],
            "missing": item.missing,
            "lacks_content": item.lacks_content,
        }
        for item in safety.devices
    ]
    return {"safe": bool(safety), **asdict(safety), "devices": devices}


SAFE_TO_WIPE = Action(name="safe_to_wipe", params=WipeParams, work=_safe_to_wipe, writes=False)
