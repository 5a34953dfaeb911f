"""What an action is: a named function of a replica and checked parameters, with a JSON-able result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from crdt_sync.cli.values import json_of_value
from crdt_sync.core.ids import DeviceId, RecordId
from crdt_sync.core.model import Model, document_key_of, host_of, spec_of
from crdt_sync.errors import InputError, RecordNotFoundError, UnknownModelError
from crdt_sync.replica import HistoryItem, Replica

Json = dict[str, Any]
"""A JSON document: what an action gives, and what `--json` prints."""

P = TypeVar("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(Generic[P]):
    """One thing that the command line can do with a store.

    Args:
        name: names it on the control socket.
        params: a frozen dataclass of plain values.
        work: does it, as a whole or not at all.
        writes: whether it changes the store.
    """

    name: str
    params: type[P]
    work: Callable[[Replica, P], Json]
    writes: bool

    def decode(self, data: Any) -> P:
        """Parameters from JSON.

        Raises:
            InputError: they are not this action's.
        """
        try:
            params: P = _adapter(cast(Any, self.params)).validate_python(data)
            return params
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{self.name}: {where}: {first['msg']}") from None

    def encode(self, params: P) -> Json:
        """Parameters as JSON."""
        encoded: Json = _adapter(cast(Any, self.params)).dump_python(params, mode="json")
        return encoded


@lru_cache(maxsize=64)
def _adapter(params: Any) -> TypeAdapter[Any]:
    return TypeAdapter(params)


class Actor(Protocol):
    """Does actions on one store, here or in the process that serves it."""

    def __call__(self, action: Action[P], params: P, /) -> Json:
        """Do one action.

        Raises:
            CRDTSyncError: what the action raises; nothing was changed.
        """


def device_json(names: Mapping[DeviceId, str], device: str) -> Json:
    """A device by id, and what it calls itself."""
    return {"device_id": device, "device_name": names.get(DeviceId(device))}


def model_of(replica: Replica, name: str) -> type[Model]:
    """A model of the store by name.

    Raises:
        UnknownModelError: with the names that there are.
    """
    try:
        return replica.model(name)
    except UnknownModelError:
        names = ", ".join(spec_of(model).name for model in replica.models)
        hint = (
            f"Its models: {names}." if names else "It has none yet: declare them with `crdt-sync init PATH --models …`."
        )
        raise UnknownModelError(f"this store has no model {name!r}", hint=hint) from None


def history_at(replica: Replica, model: type[Model], record: RecordId, *, latest: int) -> list[HistoryItem]:
    """The latest of what was done to a record; nothing where there never was one."""
    try:
        return list(replica.history(model, record, latest=latest))
    except RecordNotFoundError:
        return []


def record_json(record: Model) -> Json:
    """A live record with all its fields."""
    spec, host = spec_of(type(record)), host_of(record)
    values = {} if host is None else host.read_record(document_key_of(record), spec)
    fields = {name: json_of_value(kind, values[name]) for name, kind in spec.fields.items()}
    return {"model": spec.name, "id": record.id, "fields": fields}


def readable(value: Any) -> Any:
    """Values as JSON for people to read; nothing is made of them again."""
    return to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="strings", fallback=str)
