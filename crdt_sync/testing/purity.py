"""Whether a function reads what differs between devices: the clock, randomness, the environment, files.

It is run once more, and the functions of the interpreter that it calls are looked at by name: a day's date is the same
all day, so that answers alone would not tell. The environment is a dict behind methods in Python, which are told from
others by their code.
"""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, FrameType
from typing import Any, Final

_POSIX = frozenset(("urandom", "getrandom", "getpid", "uname"))
READERS: Final = {
    "builtins": frozenset(("id", "input", "open")),
    "_io": frozenset(("open",)),
    "io": frozenset(("open",)),
    "nt": _POSIX,
    "posix": _POSIX,
    "time": frozenset(
        ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "localtime", "gmtime")
    ),
    "_uuid": frozenset(("generate_time_safe",)),
    "_socket": frozenset(("gethostname",)),
}
"""Functions written in C, by module; not those by which a module is imported."""
CLOCKS: Final = frozenset(("now", "utcnow", "today"))
"""Of `datetime` and `date`."""
_ENVIRONMENT: Final = {
    getattr(type(os.environ), name).__code__: f"os.environ.{name}()"
    for name in ("__getitem__", "__iter__", "__len__", "__repr__")
}
"""Code → the method that it is of; all others come down to these."""
_DICE: Final = getattr(random.random, "__self__", None)
"""What the functions of `random` share; a generator with a seed of its own gives the same everywhere."""


def read_by(function: Callable[..., Any], given: tuple[Any, ...]) -> str:
    """The first thing that a call reads which another device may read differently; empty where there is none.

    Args:
        function: called once; what it raises is passed over.
        given: its arguments.
    """
    found: list[str] = []

    def look(frame: FrameType, event: str, called: Any) -> None:
        name = ""
        if event == "c_call" and isinstance(called, BuiltinFunctionType):
            name = _name(called)
        elif event == "call":
            name = _ENVIRONMENT.get(frame.f_code, "")
        if name and not found:
            found.append(name)

    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()  # who watches the garbage collector reads a clock amid the call, and Hypothesis does
    sys.setprofile(look)
    try:
        function(*given)
    except Exception:  # noqa: BLE001  what it raises is judged elsewhere
        return ""
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return found[0] if found else ""


def _name(called: BuiltinFunctionType) -> str:
    """What a function that reads the outside is called; empty for any other."""
    owner, name = called.__self__, called.__name__
    if isinstance(owner, type):
        return f"{owner.__name__}.{name}()" if name in CLOCKS else ""
    if owner is _DICE and owner is not None:
        return f"random.{name}()"
    module = called.__module__
    return f"{module.lstrip('_')}.{name}()" if name in READERS.get(module, ()) else ""
