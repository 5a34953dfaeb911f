"""Values that older versions of a model wrote, as this version means them: an app's own function, called on reading.

Nothing is ever written by it. Every replica of this version shows the same, since the function is pure, and older
versions go on reading what they wrote (docs/adr/0014-models-change-on-reading.md).
"""

from __future__ import annotations

import logging
from typing import Any

from pydantic.fields import FieldInfo

from crdt_sync.core import codec
from crdt_sync.core.content import Content
from crdt_sync.core.declaration import ModelSpec
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.core.layout import ENTRY_SEPARATOR
from crdt_sync.core.logs import FIELDS
from crdt_sync.core.model import Model, spec_of
from crdt_sync.errors import CRDTSyncError

log = logging.getLogger("crdt_sync.models")


def upgrades(model: type[Model]) -> bool:
    """Whether a model declares an upgrade function."""
    return next(base for base in model.__mro__ if "__upgrade__" in vars(base)) is not Model


class Upgrade:
    """The upgrade function of one model.

    Args:
        model: it overrides `Model.__upgrade__`.
    """

    def __init__(self, model: type[Model]) -> None:
        self._model = model
        self._spec = spec_of(model)
        self._complaints: set[str] = set()

    def read(self, content: Content) -> dict[str, Any]:
        """The values of all registers, by field; as stored where the function fails, or gives what none can hold."""
        values = self._call(stored_values(self._spec, content))
        if values is None:
            values = stored_values(self._spec, content)  # anew: the function may have changed what it was given
        return {
            name: kind.convert(values[kind.stored]) if kind.stored in values else kind.default()
            for name, kind in self._spec.fields.items()
            if isinstance(kind, PlainRegister)
        }

    def _call(self, values: dict[str, Any]) -> dict[str, Any] | None:
        try:
            answer: object = self._model.__upgrade__(values)
        except Exception as error:  # noqa: BLE001  whatever an app's function raises: reading must not fail by it
            self._complain(f"raised {type(error).__name__}")
            return None
        if not isinstance(answer, dict):
            self._complain(f"gave a {type(answer).__name__}, not a dict")
            return None
        return self._as_stored(answer)

    def _as_stored(self, answer: dict[str, Any]) -> dict[str, Any] | None:
        """What the registers are given, as reading it from the store would give it; None where one cannot hold it."""
        values: dict[str, Any] = {}
        for name, kind in self._spec.fields.items():
            if isinstance(kind, PlainRegister) and kind.stored in answer:
                value = answer[kind.stored]
                try:
                    values[kind.stored] = codec.decode(codec.encode(value))
                except CRDTSyncError:
                    self._complain(f"gave field {name!r} a value that none can hold ({type(value).__name__})")
                    return None
        return values

    def _complain(self, what: str) -> None:
        """Log it, once: records are read again and again."""
        if what not in self._complaints:
            self._complaints.add(what)
            log.warning(
                "the upgrade function of model %r %s: values are shown as stored",
                self._spec.name,
                what,
                extra={FIELDS: {"model": self._spec.name, "reason": what}},
            )


def stored_values(spec: ModelSpec, content: Content) -> dict[str, Any]:
    """What the registers of a record hold, undeclared ones too: name in documents → value, copies of their own."""
    kinds = {kind.stored: kind for kind in spec.fields.values()}
    names = {name for item in content.creations for name in item.values}
    for held in (content.plain, content.causal, content.lattices):
        names.update(name for name in held if ENTRY_SEPARATOR not in name)
    values: dict[str, Any] = {}
    for name in sorted(names):
        kind = kinds.get(name) or _Undeclared(name, FieldInfo(annotation=Any))
        data = kind.stored_data(content) if isinstance(kind, PlainRegister) else None
        if data is not None:
            values[name] = codec.decode(data)
    return values


class _Undeclared(PlainRegister):
    """A register of which another version of the app knows what it is: its latest value counts."""

    def stored_data(self, content: Content) -> bytes | None:
        parts = content.lattices.get(self.stored)
        return max((item.hlc, item.data) for item in parts)[1] if parts else super().stored_data(content)
