"""What the kit is given, checked at the call and before anything is run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from crdt_sync.errors import InputError


def whole(value: object, *, what: str, least: int | None = None, most: int | None = None) -> int:
    """A whole number within bounds.

    Raises:
        InputError: it is none, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(
            f"{what} is a whole number, not {_spelled(value)}", hint=f"Give {what} as a number, such as 2."
        )
    if (least is not None and value < least) or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise InputError(f"{what} is {_spelled(value)}; it can be {bounds}", hint=f"Give {what} within these bounds.")
    return value


def measure(value: object, *, what: str, above_zero: bool = False) -> float:
    """A finite number that is not negative.

    Args:
        value: an int or a float.
        what: its name.
        above_zero: whether it may not be 0 either.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{what} is a number, not {_spelled(value)}", hint=f"Give {what} as a number, such as 0.5.")
    if not math.isfinite(value) or value < 0 or (above_zero and not value):
        least = "above 0" if above_zero else "0 or more"
        raise InputError(f"{what} is {_spelled(value)}; it can be {least}, with an end", hint=f"Give another {what}.")
    return value


def checked_models(models: object) -> None:
    """A list of models; whether each of them is one is judged with their declarations.

    Raises:
        InputError: no list or tuple.
    """
    if not isinstance(models, Sequence) or isinstance(models, str | bytes):
        raise InputError("models is a list of model classes", hint="Write [Task], also for one model.")


def checked_by_name(given: object, *, what: str) -> None:
    """A mapping, or None.

    Raises:
        InputError: something else.
    """
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"{what} is a dict, not {_spelled(given)}", hint=f"Name what each of {what} is for.")


def _spelled(value: object) -> str:
    """A value in a message: a short text, whatever it is."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    return repr(value)[:40] if isinstance(value, int | float | str | bytes | None) else f"a {type(value).__name__}"
