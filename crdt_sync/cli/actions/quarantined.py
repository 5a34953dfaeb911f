"""The action that takes back from a quarantine file what is sound now."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from crdt_sync.cli.actions.base import Action, Json
from crdt_sync.replica import Replica


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedParams:
    """Where the file is."""

    file: str


def _put_back(replica: Replica, params: QuarantinedParams) -> Json:
    report = replica.put_back_quarantined(params.file)
    return {
        "path": str(report.path),
        "put_back": report.rows,
        "entries": report.entries,
        "here": report.here,
        "stay": report.stay,
        "left": [asdict(row) for row in report.left],
    }


PUT_BACK_QUARANTINED = Action(name="put_back_quarantined", params=QuarantinedParams, work=_put_back, writes=True)
