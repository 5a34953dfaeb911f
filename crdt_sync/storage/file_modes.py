"""Files that hold what a store does are for those who can read the store, from the first byte on."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

_OWNER: Final = stat.S_IRUSR | stat.S_IWUSR
_ALL: Final = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO


def make_empty(path: Path, *, like: Path | None) -> None:
    """Make an empty file that others can use as far as they can use another one, whatever the umask is.

    Args:
        path: of the file; one that is there goes.
        like: the other one. The owner can read and write the new one in any case, and nobody else where there is none.

    Raises:
        OSError: it cannot be made.
    """
    given = stat.S_IMODE(like.stat().st_mode) & _ALL if like is not None and like.exists() else 0
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER))
    # A file system may have no modes of its own; the file is its owner's alone where it has.
    with suppress(OSError):
        path.chmod(given | _OWNER)
