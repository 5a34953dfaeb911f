"""The header of a SQLite file whose end is gone. SQLite refuses a file that is shorter than its header says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_HEADER_BYTES: Final = 100
_PAGE_BYTES: Final = slice(16, 18)
_CHANGES: Final = slice(24, 28)
_PAGE_COUNT: Final = slice(28, 32)
_COUNTED_AT: Final = slice(92, 96)
"""As SQLite's file format has them."""
_PAGES: Final = slice(28, 40)
"""How many pages there are, the first free one, and how many are free. Zeros: as many as the file has, none free."""
_LARGEST_PAGE_BYTES: Final = 65536
"""Is written as 1."""


def mend_header(path: Path) -> str:
    """Have a file that lost its end name no page that it has not; returns how much is gone, in words, or nothing.

    Args:
        path: of a copy of a store, which nobody uses.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("r+b") as file:
        header = file.read(_HEADER_BYTES)
        size_bytes = os.fstat(file.fileno()).st_size
        page_bytes = int.from_bytes(header[_PAGE_BYTES], "big")
        page_bytes = _LARGEST_PAGE_BYTES if page_bytes == 1 else page_bytes
        said_bytes = int.from_bytes(header[_PAGE_COUNT], "big") * page_bytes
        if header[_CHANGES] != header[_COUNTED_AT] or said_bytes <= size_bytes:
            return ""
        file.seek(_PAGES.start)
        file.write(bytes(_PAGES.stop - _PAGES.start))
    return f"it has {size_bytes} bytes, where its header says {said_bytes}: it is cut off, or the header damaged"
