"""What a field shows that nobody wrote: its default, where that is one value for every read and every device."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from types import FunctionType
from typing import Any, Final

from pydantic.fields import FieldInfo

from crdt_sync.core import codec
from crdt_sync.errors import CRDTSyncError

_EMPTY_FACTORIES: Final = (list, dict, tuple, str, bytes, int, float, bool, Decimal)
_CONTAINERS: Final = (list, dict, tuple)
_PLAIN: Final = frozenset((type(None), bool, int, float, str))


def constant_default(info: FieldInfo, *, holds_containers: bool) -> bytes | None:
    """Value bytes of what a field's default factory always gives; None where it has none, or may give anything.

    A factory is taken to give one thing where it is an empty built-in type, where it is a function that uses nothing
    around it, and where it twice gives the same list, dict or tuple of plain values: those are often made by factories.

    Args:
        info: the field.
        holds_containers: whether it may hold lists, dicts or tuples; of other fields no function of the app is called
            that uses anything: it may draw a number, or look at the clock.
    """
    factory: Any = info.default_factory
    if factory is None or info.default_factory_takes_validated_data:
        return None
    is_alone = factory in _EMPTY_FACTORIES or _uses_nothing(factory)
    if not is_alone and not holds_containers:
        return None
    made = _made(factory)
    if is_alone:
        return made[1]
    return made[1] if _is_plain_container(made[0]) and made[1] == _made(factory)[1] else None


def _made(factory: Callable[[], Any]) -> tuple[Any, bytes | None]:
    """What a factory gives, with its value bytes; none where it fails, or gives what no field can hold."""
    try:
        value = factory()
    except Exception:  # noqa: BLE001  whatever an app's function raises, it raises where a record is created too
        return None, None
    try:
        return value, codec.encode(value)
    except CRDTSyncError:
        return value, None


def _uses_nothing(factory: object) -> bool:
    """Whether a function is made of constants alone."""
    if not isinstance(factory, FunctionType) or factory.__defaults__ or factory.__kwdefaults__:
        return False
    return not factory.__code__.co_names and not factory.__code__.co_freevars


def _is_plain_container(value: Any) -> bool:
    return type(value) in _CONTAINERS and all(map(_is_plain, value.values() if type(value) is dict else value))


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN or _is_plain_container(value)
