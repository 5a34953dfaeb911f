"""docs/reference/errors.md lists every error there is, as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crdt_sync import errors
from crdt_sync.errors import CRDTSyncError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
ROWS = {
    name: (base, int(code), when, hint)
    for name, base, code, when, hint in re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| (\d+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE
    )
}


def tree(error: type[CRDTSyncError]) -> list[type[CRDTSyncError]]:
    below = [item for item in error.__subclasses__() if item.__module__ == errors.__name__]
    return [error, *(item for sub in below for item in tree(sub))]


EVERY = tree(CRDTSyncError)


def test_every_error_is_listed_in_the_order_of_the_tree() -> None:
    assert list(ROWS) == [error.__name__ for error in EVERY]


@pytest.mark.parametrize("error", EVERY, ids=lambda error: error.__name__)
def test_row_says_what_the_class_says(error: type[CRDTSyncError]) -> None:
    base, code, when, hint = ROWS[error.__name__]
    assert error.__base__ is not None
    assert (base, code, hint) == (error.__base__.__name__, error.exit_code, error.default_hint or "none")
    assert when
    own_code = error.__dict__.get("code")
    if isinstance(own_code, str) and error is not errors.EntryError:
        assert f"Code `{own_code}`" in when


def test_every_exit_code_is_explained() -> None:
    explained = {int(code) for code in re.findall(r"^\| (\d+) \| [^|]+ \|$", PAGE, re.MULTILINE)}
    assert explained == {0, *(error.exit_code for error in EVERY)}


def test_tree_in_the_docstring_names_every_error() -> None:
    drawn = re.findall(r"^[ │├└─]*(\w+(?:Error|Closed))\b", errors.__doc__ or "", re.MULTILINE)
    assert drawn == [error.__name__ for error in EVERY]
