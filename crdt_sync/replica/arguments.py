"""What the facade is given, checked before anything is touched."""

from __future__ import annotations

import errno
from datetime import datetime
from pathlib import Path

from crdt_sync.core.model import Model
from crdt_sync.errors import InputError

_SUFFIX_LONGEST = "-journal"
"""What is put behind a store's name for the files beside it."""


def checked_path(path: object, *, what: str) -> Path:
    """A path that a file or folder can have.

    Raises:
        InputError: it is none.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"{what} is a str or a Path, not a {type(path).__name__}", hint="Give a path.")
    if not str(path) or "\0" in str(path):
        raise InputError(f"{what} is empty or holds a NUL character", hint="Give a path that a file can have.")
    try:
        Path(f"{path}{_SUFFIX_LONGEST}").stat()
    except UnicodeEncodeError:
        raise InputError(f"{what} holds what no file name can", hint="Leave lone surrogates out.") from None
    except OSError as error:  # whatever else it is, opening says it
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"{what} is longer than the system takes", hint="Give a shorter path.") from None
    return Path(path)


def checked_time(time: object) -> int:
    """A time in milliseconds since 1970; 0 for None.

    Raises:
        InputError: no datetime, or one without a zone.
    """
    if time is None:
        return 0
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise InputError("a time is a datetime with a zone", hint="Write datetime.now(UTC) - timedelta(days=2), say.")
    return max(0, int(time.timestamp() * 1000))


def checked_models(models: object) -> list[type[Model]] | None:
    """The models, in a list; whether each of them is one is judged with their declarations.

    Raises:
        InputError: no list or tuple.
    """
    if models is None:
        return None
    if not isinstance(models, list | tuple):
        raise InputError("models is a list of model classes", hint="Write models=[Task], also for one model.")
    return list(models)
