"""The error of a simulated history in which something does not hold that must."""

from __future__ import annotations


class BrokenInvariantError(AssertionError):
    """What must hold does not.

    Args:
        name: of the invariant.
        text: what is wrong.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


def must(name: str, text: str, *, holds: bool) -> None:
    """Say that an invariant holds.

    Args:
        name: of the invariant.
        text: what is wrong where it does not.
        holds: whether it does.

    Raises:
        BrokenInvariantError: it does not.
    """
    if not holds:
        raise BrokenInvariantError(name, text)
