"""Actions on what devices are called."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from crdt_sync.cli.actions.base import Action, Json, device_json
from crdt_sync.cli.actions.journal import NoParams, own_device
from crdt_sync.core.naming import NAME_CHARS_MAX
from crdt_sync.replica import Replica


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameParams:
    """Args: name: what people call this device from now on."""

    name: str


def names(replica: Replica, params: NoParams) -> Json:
    """What the devices of the space call themselves."""
    del params
    return {
        "device_names": dict(sorted(replica.device_names.items())),
        **device_json(replica.device_names, own_device(replica) or ""),
    }


def rename(replica: Replica, params: RenameParams) -> Json:
    """Call this device by another name."""
    replica.name_device(params.name)
    return names(replica, NoParams())


def fitting_name(host: str) -> str | None:
    """The name of a machine as far as it can be that of a device; None where nothing of it can."""
    printable = "".join(filter(str.isprintable, unicodedata.normalize("NFC", host)))
    return printable.strip()[:NAME_CHARS_MAX].strip() or None


NAMES = Action(name="names", params=NoParams, work=names, writes=False)
RENAME = Action(name="rename", params=RenameParams, work=rename, writes=True)
