"""Registers whose concurrent values an app's own function merges."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from pydantic.fields import FieldInfo

from crdt_sync.core import codec
from crdt_sync.core.conflict import UNKNOWN, Unknown
from crdt_sync.core.content import RegisterValue
from crdt_sync.core.kinds.answers import Answers
from crdt_sync.core.kinds.causal import CausalRegister
from crdt_sync.core.logs import FIELDS
from crdt_sync.core.merging import WHOLE, Merged
from crdt_sync.errors import CRDTSyncError

log = logging.getLogger("crdt_sync.kinds")


SLOW_S: Final = 0.1
"""A function that takes longer is logged."""


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


def no_clock() -> float:
    """The time where nobody gives a clock: nothing takes any."""
    return 0.0


class MergeWithRegister(CausalRegister):
    """Shows what a pure function of ancestor and concurrent values gives.

    Every replica calls it on reading, so it must give the same everywhere. It is called twice, with the values in order
    of who wrote them and the other way round, and the answer is kept for the next reading. Where it raises, gives two
    answers or one of a wrong type, the field asks, as where it answers `ASK`. A slow function is waited for: what a
    field shows must not depend on the speed of a machine.

    Args:
        name: of the field.
        info: its declaration.
        function: the app's own.
    """

    def __init__(self, name: str, info: FieldInfo, function: MergeFunction) -> None:
        super().__init__(name, info)
        self.function = function
        self.clock: Callable[[], float] = no_clock
        """Seconds, to tell a slow function in the log. Nothing here reads a clock: whoever opens a store gives it."""
        self._complaints: set[str] = set()
        self._answers = Answers()

    def merge(self, base: bytes | Unknown, among: list[RegisterValue]) -> Merged:
        shown = among[0].data
        ordered = [item.data for item in sorted(among, key=lambda item: item.dot)]
        question = (shown, b"" if isinstance(base, Unknown) else base, *ordered)  # no value has empty bytes

        def ask() -> Merged:
            data = self._ask_function(base, ordered)
            return Merged(data=shown, paths=WHOLE) if data is None else Merged(data=data, paths=())

        return self._answers.get(question, ask)

    def stored_answer(self, answer: object) -> bytes:
        """Value bytes of what the function gave.

        Raises:
            InvalidValueError, UnrepresentableValueError, LimitError: the field cannot hold it.
        """
        return codec.encode(self.validate(self.checking.check(answer, what=": an answer is refused", strict=True)))

    def forget(self) -> None:
        """Keep no answers: what is asked again is answered anew, as in another process."""
        self._answers = Answers()

    def _ask_function(self, base: bytes | Unknown, ordered: list[bytes]) -> bytes | None:
        """What the function answers to both orders; None where the field asks."""
        started = self.clock()
        data = self._call(base, ordered)
        took_s = self.clock() - started
        if data != self._call(base, ordered[::-1]):
            self._complain("gives another answer each time, or where the values come in another order")
            data = None
        if took_s > SLOW_S:
            self._log("slow", "merge function %s of field %r took %.1f s: reading waits for it", took_s)
        return data

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
            return self.stored_answer(answer)
        except CRDTSyncError:
            self._complain(f"gave a value of type {type(answer).__name__}, which the field cannot hold")
            return None

    def _complain(self, what: str) -> None:
        self._log(what, "merge function %s of field %r %s: the field asks instead", what)

    def _log(self, about: str, text: str, detail: object) -> None:
        """Log it, once: the field is read again and again."""
        if about not in self._complaints:
            self._complaints.add(about)
            name = function_name(self.function)
            fields = {"function": name, "field": self.name, "reason": str(detail)}
            log.warning(text, name, self.name, detail, extra={FIELDS: fields})


def function_name(function: MergeFunction) -> str:
    """What a merge function is called in messages."""
    return getattr(function, "__qualname__", repr(function))
