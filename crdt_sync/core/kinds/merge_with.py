"""Registers whose concurrent values an app's own function merges."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from crdt_sync.core import codec
from crdt_sync.core.conflict import UNKNOWN, Unknown
from crdt_sync.core.content import RegisterValue
from crdt_sync.core.kinds.causal import WHOLE, CausalRegister
from crdt_sync.core.merging import Merged
from crdt_sync.errors import LimitError, UnrepresentableValueError

log = logging.getLogger("crdt_sync.kinds")


class Ask(Enum):
    """The type of `ASK`."""

    ASK = "ask"

    def __repr__(self) -> str:
        return "ASK"


ASK = Ask.ASK
"""What a merge function returns where a person is to choose."""

MergeFunction = Callable[[Any, list[Any]], Any]
"""Takes the common ancestor (or `UNKNOWN`) and the concurrent values; gives the merged value, or `ASK`."""


def always_ask(base: Any, candidates: list[Any]) -> Ask:
    """The merge function of whoever does not have the app's own: asking loses nothing."""
    del base, candidates
    return ASK


class MergeWithRegister(CausalRegister):
    """Shows what a pure function of ancestor and concurrent values gives.

    Every replica calls it on reading, so it must give the same everywhere. It is called twice, with the values in order
    of who wrote them and the other way round. Where it raises, gives two answers or one of a wrong type, the field
    asks, as where it answers `ASK`.
    """

    def __init__(self, name: str, info: FieldInfo, function: MergeFunction) -> None:
        super().__init__(name, info)
        self.function = function
        declared: Any = Annotated[cast("Any", info.annotation), name, *info.metadata]
        self._checking: TypeAdapter[Any] = TypeAdapter(declared)
        self._complaints: set[str] = set()

    def merge(self, base: bytes | Unknown, among: list[RegisterValue]) -> Merged:
        ordered = [item.data for item in sorted(among, key=lambda item: item.dot)]
        data = self._call(base, ordered)
        if data != self._call(base, ordered[::-1]):
            self._complain("gives another answer each time, or where the values come in another order")
            data = None
        return Merged(data=among[0].data, paths=WHOLE) if data is None else Merged(data=data, paths=())

    def _call(self, base: bytes | Unknown, values: list[bytes]) -> bytes | None:
        """Value bytes of what the function gives; None for `ASK`, or an answer that is none. It gets its own copies."""
        known = UNKNOWN if isinstance(base, Unknown) else self.decode(base)
        try:
            answer = self.function(known, [self.decode(data) for data in values])
        except Exception as error:  # noqa: BLE001  whatever an app's function raises: reading must not fail by it
            self._complain(f"raised {type(error).__name__}")
            return None
        if answer is ASK:
            return None
        try:
            return codec.encode(self.validate(self._checking.validate_python(answer, strict=True)))
        except (ValidationError, UnrepresentableValueError, LimitError):
            self._complain(f"gave a value of type {type(answer).__name__}, which the field cannot hold")
            return None

    def _complain(self, what: str) -> None:
        """Log it, once: the field is read again and again."""
        if what not in self._complaints:
            self._complaints.add(what)
            name = getattr(self.function, "__qualname__", repr(self.function))
            log.warning("merge function %s of field %r %s: the field asks instead", name, self.name, what)
