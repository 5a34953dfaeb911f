"""For tests of an app: whether a model's upgrade function is one that every device can call on reading."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from crdt_sync.core import codec
from crdt_sync.core.model import Model, spec_of
from crdt_sync.core.upgrade import upgrades
from crdt_sync.errors import CRDTSyncError, SchemaError


def check_upgrade(model: type[Model], examples: Iterable[Mapping[str, Any]]) -> None:
    """Check that a model's `__upgrade__` is pure and leaves as it is what it has given.

    Args:
        model: the model.
        examples: stored values of records, as older versions wrote them, and as this one does.

    Raises:
        SchemaError: there is none, or it says for which example it fails, and how.
    """
    name = spec_of(model).name
    if not upgrades(model):
        raise SchemaError(f"model {name!r} has no upgrade function", hint="Override the classmethod `__upgrade__`.")
    for number, example in enumerate(examples, start=1):
        where = f"model {name!r}, example {number}"
        first = _upgraded(model, example, where=where)
        if first != _upgraded(model, example, where=where):
            raise SchemaError(f"{where}: __upgrade__ gives another answer each time")
        if first != _upgraded(model, codec.decode_map(first), where=where):
            raise SchemaError(f"{where}: __upgrade__ changes what it has given")


def _upgraded(model: type[Model], values: Mapping[str, Any], *, where: str) -> bytes:
    """The answer as value bytes: what is of other bytes is another value."""
    try:
        answer: object = model.__upgrade__(copy.deepcopy(dict(values)))
    except Exception as error:  # the app's function may raise anything
        raise SchemaError(f"{where}: __upgrade__ raised {type(error).__name__}: {error}") from error
    if not isinstance(answer, dict):
        raise SchemaError(f"{where}: __upgrade__ gives a {type(answer).__name__}, not a dict")
    try:
        return codec.encode_map({key: answer[key] for key in sorted(answer)})
    except (CRDTSyncError, TypeError) as error:
        raise SchemaError(f"{where}: __upgrade__ gives what cannot be stored: {error}") from None
