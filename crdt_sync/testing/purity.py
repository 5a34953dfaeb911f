"""Whether a function reads what differs between devices: the clock, randomness, the environment, files.

It is run once more, and the functions of the interpreter that it calls are looked at by name: a day's date is the same
all day, so that answers alone would not tell.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import BuiltinFunctionType, FrameType
from typing import Any, Final

MODULES: Final = frozenset(("time", "_random", "random", "posix", "nt", "_socket", "_uuid", "_io", "io", "secrets"))
"""Where such functions are written in C."""
NAMES: Final = frozenset(("now", "utcnow", "today"))
"""Of `datetime` and `date`."""
ANYWHERE: Final = frozenset(("open", "input", "id"))
"""Built in."""


def read_by(function: Callable[..., Any], given: tuple[Any, ...]) -> str:
    """The first thing that a call reads which another device may read differently; empty where there is none.

    Args:
        function: called once; what it raises is passed over.
        given: its arguments.
    """
    found: list[str] = []

    def look(frame: FrameType, event: str, called: Any) -> None:
        del frame
        if event == "c_call" and isinstance(called, BuiltinFunctionType) and not found:
            name = _name(called)
            if name:
                found.append(name)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        function(*given)
    except Exception:  # noqa: BLE001  what it raises is judged elsewhere
        return ""
    finally:
        sys.setprofile(before)
    return found[0] if found else ""


def _name(called: BuiltinFunctionType) -> str:
    """What a function that reads the outside is called; empty for any other."""
    owner = called.__self__
    if isinstance(owner, type):
        return f"{owner.__name__}.{called.__name__}()" if called.__name__ in NAMES else ""
    module = called.__module__ or type(owner).__module__
    if module in MODULES or (module == "builtins" and called.__name__ in ANYWHERE):
        return f"{module.lstrip('_')}.{called.__name__}()"
    return ""
