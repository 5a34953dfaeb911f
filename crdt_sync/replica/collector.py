"""Keeps Python's cycle collector out of bulk work."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

BULK_DOCUMENTS: Final = 64
"""From so many documents on, the pause is worth its two calls."""


@contextmanager
def collector_paused(*, documents: int) -> Iterator[None]:
    """Do bulk work without looking for reference cycles meanwhile.

    Taking in a thousand records makes some ten thousand objects that all live until the end of the transaction; the
    collector would go through them, and through the whole application, again and again, and find no cycle. That was a
    quarter of the time. What is freed by reference counting is freed as ever, and the work is bounded by an entry's or
    a batch's size.

    Args:
        documents: how many documents the work is about, at most; nothing is paused for a few.
    """
    if documents < BULK_DOCUMENTS or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
