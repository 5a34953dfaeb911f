"""Types as an app declares them, whose validation may run code of the app: validators, an Enum's ``_missing_``.

Whatever that code raises, reading goes on with what is stored, and a write is refused by an error of ours.
"""

from __future__ import annotations

import logging
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from crdt_sync.core import codec
from crdt_sync.core.equality import is_same
from crdt_sync.core.kinds.enum_members import holds_member, misplaced_member
from crdt_sync.core.logs import FIELDS
from crdt_sync.core.reference import Ref
from crdt_sync.errors import CRDTSyncError, InvalidValueError

log = logging.getLogger("crdt_sync.models")

SELF_DESCRIBING: Final = frozenset(
    (str, int, float, bool, bytes, NoneType, date, datetime, time, timedelta, Decimal, UUID, Any)
)
"""Types whose values the codec itself brings back; any other type's values pass through pydantic when read."""


class AppType:
    """What takes values as one type.

    Invariants:
        1. `read` and `complaint` raise nothing, whatever the app's code does; what `read` makes of it is logged, once.
        2. `read` gives what a field can hold.
        3. `check` raises errors of this package only.

    Args:
        annotation: the type.
        field: the field that holds its values, for messages.
    """

    def __init__(self, annotation: Any, *, field: str) -> None:
        self._field = field
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        self._gives_values = _gives_values(annotation)
        self._complaints: set[str] = set()

    def read(self, value: Any) -> Any:
        """A decoded value as this type; one that does not fit it as it was stored."""
        try:
            read = self._adapter.validate_python(value)
        except ValidationError:
            return value
        except Exception as error:  # noqa: BLE001  whatever an app's code raises: reading must not fail by it
            self._complain(raised(error))
            return value
        if read is value or self._gives_values or can_be_held(read):
            return read
        self._complain(_gave(read))
        return value

    def check(self, value: Any, *, what: str, strict: bool = False) -> Any:
        """A value that somebody gives, as this type.

        Args:
            value: anything.
            what: what is said of it where it is refused, after the field.
            strict: take no text for a number, and the like.

        Raises:
            InvalidValueError: it does not fit; or the app's code failed, whose error is the cause then.
        """
        try:
            checked = self._adapter.validate_python(value, strict=strict or None)
        except ValidationError as error:
            raise InvalidValueError(f"field {self._field!r}{what}: {first_reason(error)}", field=self._field) from None
        except CRDTSyncError:
            raise
        except Exception as error:
            raise InvalidValueError(
                f"field {self._field!r}{what}: its type {raised(error)}", field=self._field
            ) from error
        if holds_member(value):
            strictly = partial(self._adapter.validate_python, value, strict=True)
            if wrong := misplaced_member(value, strictly=strictly, laxly=lambda: checked):
                raise InvalidValueError(f"field {self._field!r}{what}: {wrong}", field=self._field)
        return checked

    def complaint(self, value: Any) -> str:
        """Why a value is none of this type, without the value; empty where it is one."""
        try:
            taken = self._adapter.validate_python(value, strict=True)
        except ValidationError as error:
            # Strict mode knows fewer types than annotations can name.
            return "" if self._comes_back(value) else first_reason(error)
        except Exception as error:  # noqa: BLE001  whatever an app's code raises is what is wrong with the value
            return f"its type {raised(error)}"
        return "" if taken is value or self._gives_values or can_be_held(taken) else f"its type {_gave(taken)}"

    def _comes_back(self, value: Any) -> bool:
        """Whether the type takes a value and leaves it as it is."""
        try:
            return is_same(self._adapter.validate_python(value), value)
        except Exception:  # noqa: BLE001  whatever an app's code raises: it did not take the value
            return False

    def _complain(self, what: str) -> None:
        if what not in self._complaints:
            self._complaints.add(what)
            log.warning(
                "field %r: a value is shown as stored, since its type %s",
                self._field,
                what,
                extra={FIELDS: {"field": self._field, "reason": what}},
            )


def first_reason(error: ValidationError) -> str:
    """The first thing that pydantic says against a value, without the value."""
    return str(error.errors(include_url=False, include_input=False, include_context=False)[0]["msg"])


def raised(error: Exception) -> str:
    """What is said of an app's code that failed. The message is left out: it may hold the value."""
    return f"raised {type(error).__name__}"


def can_be_held(value: Any) -> bool:
    """Whether a field can hold a value."""
    try:
        codec.encode(value)
    except CRDTSyncError:
        return False
    return True


def _gave(value: Any) -> str:
    return f"gave a {type(value).__name__} that no field can hold"


def _gives_values(annotation: Any) -> bool:
    """Whether a type is made of those alone whose values a field holds, so that no value needs to be tried."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return all(map(can_be_held, annotation))  # whatever its `_missing_` does, it gives one of these or fails
    if isinstance(annotation, type) and issubclass(annotation, Ref):
        return True
    if origin is None:
        return annotation is None or annotation in SELF_DESCRIBING or annotation in (list, tuple, Ellipsis)
    if origin is Literal:
        return True
    if origin is dict and arguments[0] is not str:
        return False
    return origin in (Union, UnionType, list, tuple, dict) and all(map(_gives_values, arguments))
