from __future__ import annotations

from typing import Any

import pytest

from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.testing.keeping import lost_elements


@pytest.mark.parametrize(
    ("base", "candidates", "answer", "lost"),
    [
        ([], [[1], [2]], [1, 2], []),
        ([], [[1], [2]], [2], [1]),
        ([1], [[1, 2], [1]], [2], [1]),  # everybody kept it
        ([1, 3], [[1], [1, 3]], [1], []),  # somebody removed it
        ([1, 3], [[1], [1, 3]], [1, 3], []),
        ([], [[1, 1], [1]], [1], []),  # how often is nobody's question
        (UNKNOWN, [[1, 2], [1, 3]], [1], []),
        (UNKNOWN, [[1, 2], [1, 3]], [2], [1]),
        (None, [[1], [2]], [1], [2]),
        ({}, [{"a": 1}, {"b": 1}], {"a": 1}, ["b"]),
        ((), [(1,), (True,)], (1,), [True]),
        ("", ["ab", "b"], "b", []),
        (0, [1, 2], 1, []),
        ([], [[1], None], [1], []),
        ([], [[1], [2]], None, []),
    ],
)
def test_what_was_added_or_kept_must_stay(base: Any, candidates: list[Any], answer: Any, lost: list[Any]) -> None:
    assert lost_elements(base, candidates, answer) == lost
