from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Snapshot

from crdt_sync.core.blocks import CLOCK_MAX
from crdt_sync.core.ids import AUTHOR_MAX
from crdt_sync.core.varint import read_varint
from crdt_sync.core.version import (
    VERSION_BYTES,
    encode_state_vector,
    parse_state_vector,
    squash,
    version,
    version_of_update,
)
from crdt_sync.errors import LimitError, MalformedEntryError
from tests.unit.core.devices import history

RANGES = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)).map(lambda pair: (pair[0], sum(pair))))


def snapshot_parts(doc: Doc[Any]) -> tuple[dict[int, int], dict[int, list[tuple[int, int]]]]:
    """Decode the engine's snapshot: deletions, then state vector, both in hash-map order."""
    data = Snapshot.from_doc(doc).encode()
    deletes: dict[int, list[tuple[int, int]]] = {}
    count, at = read_varint(data, 0)
    for _ in range(count):
        author, at = read_varint(data, at)
        ranges, at = read_varint(data, at)
        for _ in range(ranges):
            start, at = read_varint(data, at)
            length, at = read_varint(data, at)
            deletes.setdefault(author, []).append((start, start + length))
    return parse_state_vector(data[at:]), deletes


@pytest.mark.parametrize("seed", range(20))
def test_converged_documents_have_equal_versions(seed: int) -> None:
    devices = history(seed, devices=2 + seed % 4, edits=20)
    versions = {version(device.index.state_vector, device.index.delete_set) for device in devices}
    assert len(versions) == 1
    assert versions == {version_of_update(device.doc.get_update()) for device in devices}
    assert versions == {version(*snapshot_parts(device.doc)) for device in devices}


def test_every_edit_changes_the_version() -> None:
    device = history(3, devices=1, edits=0)[0]
    seen = {version_of_update(device.doc.get_update())}
    for value in (b"1", b"2", b"2"):
        with device.edit():
            device.write_plain("title", value)
        seen.add(version_of_update(device.doc.get_update()))
    assert len(seen) == 4


def test_a_deletion_changes_the_version_though_it_does_not_move_the_vector() -> None:
    assert version({7: 3}, {7: [(1, 2)]}) != version({7: 3}, {})


def test_order_and_grouping_do_not_matter() -> None:
    assert version({7: 3, 2: 9}, {7: [(0, 1), (1, 2)], 2: []}) == version({2: 9, 7: 3}, {7: [(0, 2)]})


def test_is_pinned() -> None:
    name = version({7: 300, 2: 9}, {7: [(0, 1), (128, 200)]})
    assert len(name) == VERSION_BYTES
    assert name.hex() == "a221670f92be83e4dbb10a1fb9bf2d97"


@given(RANGES)
def test_squashed_ranges_hold_the_same_clocks_apart_from_each_other(ranges: list[tuple[int, int]]) -> None:
    squashed = squash(ranges)
    assert {at for pair in squashed for at in range(*pair)} == {at for pair in ranges for at in range(*pair)}
    assert all(before[1] < after[0] for before, after in pairwise(squashed))


class TestStateVector:
    @given(st.dictionaries(st.integers(1, AUTHOR_MAX), st.integers(0, CLOCK_MAX)))
    def test_round_trip(self, vector: dict[int, int]) -> None:
        assert parse_state_vector(encode_state_vector(vector.items())) == vector

    def test_reads_the_engines(self) -> None:
        device = history(5, devices=3, edits=9)[0]
        assert parse_state_vector(device.doc.get_state()) == device.index.state_vector
        cut = device.doc.get_update(encode_state_vector(device.index.state_vector.items()))
        assert cut[0] == 0  # the engine reads ours: no block is left to send

    def test_one_that_asks_for_a_gibibyte_is_refused(self) -> None:
        with pytest.raises(MalformedEntryError):
            parse_state_vector(bytes.fromhex("ffffffff01"), authors_max=2**35)
        with pytest.raises(LimitError):
            parse_state_vector(bytes.fromhex("ffffffff01"))

    @pytest.mark.parametrize("data", ["", "01", "0107", "010700ff", "010007", "0207010701", "018700", "0107ffffffff1f"])
    def test_malformed(self, data: str) -> None:
        with pytest.raises(MalformedEntryError):
            parse_state_vector(bytes.fromhex(data))

    def test_authors_are_bounded(self) -> None:
        with pytest.raises(LimitError):
            parse_state_vector(encode_state_vector([(1, 1), (2, 1)]), authors_max=1)
