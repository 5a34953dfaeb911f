"""What the CRDT engine does when it merges, versions and stores, as observed, wherever our correctness rests on it.

None of this is wished for, and much of it is why a rule of ours exists. A failure here after an upgrade of pycrdt says
that a design decision has lost (or gained) its reason: look at the rule named in the test before changing the test.
Nothing of crdt_sync is imported, so that the facts stand on the engine alone. `test_engine_traps` has the facts about
its Python interface and about hostile input.
"""

from __future__ import annotations

import random
from importlib.metadata import version
from typing import Any

import pycrdt
import pytest
from pycrdt import Array, Doc, Map, Snapshot, Text

from tests.unit.core.engine_site import HIGH, LOW, NO_BLOCKS_NO_DELETES, Site, entries, exchange, site


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position


Canonical = tuple[tuple[tuple[int, tuple[tuple[int, int], ...]], ...], tuple[tuple[int, int], ...]]


def canonical(doc: Doc[Any]) -> Canonical:
    """Delete set and state vector out of a snapshot: sorted by client, adjacent ranges joined."""
    data, position = Snapshot.from_doc(doc).encode(), 0
    numbers: list[int] = []
    while position < len(data):
        number, position = read_varint(data, position)
        numbers.append(number)
    stream = iter(numbers)
    deletes = []
    for _ in range(next(stream)):
        client = next(stream)
        ranges = sorted((next(stream), next(stream)) for _ in range(next(stream)))
        joined: list[tuple[int, int]] = []
        for start, length in ranges:
            if joined and sum(joined[-1]) == start:
                joined[-1] = (joined[-1][0], joined[-1][1] + length)
            else:
                joined.append((start, length))
        deletes.append((client, tuple(joined)))
    vector = [(next(stream), next(stream)) for _ in range(next(stream))]
    assert next(stream, None) is None
    return tuple(sorted(deletes)), tuple(sorted(vector))


def edit(one: Site, rng: random.Random) -> None:
    choice, length = rng.random(), len(one.text)
    if choice < 0.4:
        one.map[f"k{rng.randrange(3)}"] = rng.randbytes(2)
    elif choice < 0.5 and len(one.map):
        del one.map[rng.choice(sorted(one.map.keys()))]
    elif choice < 0.8 or length < 2:
        one.text.insert(rng.randrange(length + 1), rng.choice("abcdef") * rng.randrange(1, 4))
    else:
        start = rng.randrange(length)
        del one.text[start : min(length, start + rng.randrange(1, 4))]


def history(seed: int, *, replicas: int = 4, steps: int = 20) -> list[Site]:
    """Random edits and partial exchanges in causal order; in the end every replica holds everything."""
    rng = random.Random(seed)
    sites = [site(rng.randrange(1, 2**35)) for _ in range(replicas)]
    log: list[bytes] = []
    known: list[set[int]] = [set() for _ in sites]
    for _ in range(steps):
        index = rng.randrange(replicas)
        if rng.random() < 0.35:
            missing = sorted(known[rng.randrange(replicas)] - known[index])
            sites[index].take(log[item] for item in missing)
            known[index].update(missing)
            continue
        sites[index].emitted.clear()
        edit(sites[index], rng)
        for update in sites[index].emitted:
            known[index].add(len(log))
            log.append(update)
    for index, one in enumerate(sites):
        one.take(log[item] for item in range(len(log)) if item not in known[index])
    return sites


def test_facts_hold_for_the_engine_that_is_pinned() -> None:
    assert tuple(int(part) for part in version("pycrdt").split(".")[:3]) >= (0, 14, 13)


class TestMerging:
    def test_higher_client_id_wins_whatever_the_time_or_number_of_edits(self) -> None:
        low, high = site(LOW), site(HIGH)
        high.map["k"] = b"one stale write"
        for edit_number in range(50):
            low.map["k"] = b"%d" % edit_number
        exchange(low, high)
        assert entries(low.map) == entries(high.map) == {"k": b"one stale write"}

    def test_losing_remote_write_raises_an_event_without_keys(self) -> None:
        low, high = site(LOW), site(HIGH)
        low.map["k"], high.map["k"] = b"loses", b"wins"
        keys: list[object] = []
        high.map.observe(lambda event: keys.append(dict(getattr(event, "keys"))))  # noqa: B009  its stub lacks it
        high.doc.apply_update(low.doc.get_update())
        assert keys == [{}]

    def test_nested_map_made_twice_loses_one_side(self) -> None:
        low, high = site(LOW), site(HIGH)
        low.map["nested"], high.map["nested"] = Map({"x": b"low"}), Map({"y": b"high"})
        exchange(low, high)
        assert set(low.map["nested"].keys()) == set(high.map["nested"].keys()) == {"y"}

    def test_deleting_a_parent_drops_a_concurrent_edit_inside_it(self) -> None:
        low, high = site(LOW), site(HIGH)
        low.map["nested"] = Map({"x": b"1"})
        exchange(low, high)
        del low.map["nested"]
        high.map["nested"]["x"] = b"concurrent edit"
        exchange(low, high)
        assert len(low.map) == len(high.map) == 0

    def test_one_root_name_with_two_types_is_no_error(self) -> None:
        low: Doc[Any] = Doc(client_id=LOW)
        high: Doc[Any] = Doc(client_id=HIGH)
        text, mapping = low.get("r", type=Text), high.get("r", type=Map)
        text += "abc"
        mapping["k"] = b"v"
        low.apply_update(high.get_update())
        high.apply_update(low.get_update())
        assert str(text) == "abc"
        assert entries(mapping) == {"k": b"v"}

    @pytest.mark.parametrize(("adder", "remover", "survives"), [(LOW, HIGH, False), (HIGH, LOW, True)])
    def test_add_against_remove_of_one_key_depends_on_client_ids(
        self, adder: int, remover: int, survives: bool
    ) -> None:
        adding, removing = site(adder), site(remover)
        adding.map["element"], removing.map["element"] = b"1", b"1"
        del removing.map["element"]
        exchange(adding, removing)
        assert entries(adding.map) == entries(removing.map) == ({"element": b"1"} if survives else {})

    def test_arrays_have_no_move(self) -> None:
        assert not hasattr(Array, "move")


class TestVersions:
    def test_a_delete_does_not_advance_the_state_vector(self) -> None:
        one = site(LOW)
        one.map["k"] = b"v"
        before, state = canonical(one.doc), one.doc.get_state()
        del one.map["k"]
        assert one.doc.get_state() == state
        assert canonical(one.doc) != before

    def test_state_vector_with_delete_set_identifies_the_content(self) -> None:
        for seed in range(60):
            sites = history(seed)
            assert len({canonical(one.doc) for one in sites}) == 1, seed
            assert all(one.content() == sites[0].content() for one in sites), seed

    def test_snapshots_of_equal_documents_differ_in_bytes(self) -> None:
        encodings = [{Snapshot.from_doc(one.doc).encode() for one in history(seed)} for seed in range(60)]
        assert sum(len(found) > 1 for found in encodings) > 5

    def test_engine_values_encode_in_hash_map_order(self) -> None:
        encodings = set()
        for _ in range(20):
            one = site(LOW)
            one.map["k"] = {f"k{number}": "v" for number in range(8)}
            encodings.add(one.doc.get_update())
        assert len(encodings) > 1

    def test_a_cut_update_carries_the_whole_delete_set(self) -> None:
        one = site(LOW)
        one.text.insert(0, "x" * 2000)
        for index in range(900):
            del one.text[index : index + 1]
        for_one_who_has_everything = one.doc.get_update(one.doc.get_state())
        assert len(for_one_who_has_everything) > 2 * 900

    def test_the_author_id_costs_bytes_in_every_update(self) -> None:
        def size(client: int) -> int:
            one = site(client)
            one.map["title"] = b"value"
            return len(one.doc.get_update())

        assert [size(client) - size(1) for client in (2**35 - 1, 2**53 - 1)] == [4, 7]

    def test_a_byte_value_is_one_buffer_of_one_block(self) -> None:
        one = site(5)
        one.map["k"] = b"\x01\x02"
        assert one.doc.get_update() == b"\x01\x01\x05\x00\x28\x01\x01m\x01k\x01\x74\x02\x01\x02\x00"

    def test_updates_are_cut_and_merged_without_a_document(self) -> None:
        one, other = site(LOW), site(HIGH)
        one.map["x"] = b"1"
        one.map["y"] = b"2"
        first, second = one.emitted
        merged = pycrdt.merge_updates(first, second)
        assert pycrdt.get_state(merged) == one.doc.get_state()
        other.take([first, pycrdt.get_update(merged, pycrdt.get_state(first))])
        assert other.content() == one.content()


class TestDurability:
    def test_an_update_of_the_document_omits_pending_blocks(self) -> None:
        source, early = site(LOW), site(HIGH)
        source.text.insert(0, "abc")
        source.text.insert(3, "def")
        early.take([source.emitted[1]])
        snapshot = early.doc.get_update()
        assert snapshot == NO_BLOCKS_NO_DELETES
        reloaded = site(3)
        reloaded.take([snapshot, source.emitted[0]])
        early.take([source.emitted[0]])
        assert (str(early.text), str(reloaded.text)) == ("abcdef", "abc")

    def test_an_update_of_the_document_omits_pending_deletes(self) -> None:
        source, early = site(LOW), site(HIGH)
        source.map["k"] = b"v"
        del source.map["k"]
        early.take([source.emitted[1]])
        reloaded = site(3)
        reloaded.take([early.doc.get_update(), source.emitted[0]])
        early.take([source.emitted[0]])
        assert entries(early.map) == {}
        assert entries(reloaded.map) == {"k": b"v"}, "the deleted value is back"

    def test_pending_cannot_be_asked_for(self) -> None:
        assert [name for name in dir(Doc) if "pending" in name] == []

    def test_updates_out_of_causal_order_do_not_converge(self) -> None:
        source, late, ordered = site(LOW), site(HIGH), site(3)
        source.text.insert(0, "e")
        source.text.insert(1, "d")
        source.map["k"] = b"v"
        first, second, third = source.emitted
        late.take([second, third, first])
        assert late.content() == ("e", {"k": b"v"})
        ordered.take([first, second, third])
        assert ordered.content() == source.content() == ("ed", {"k": b"v"})

    def test_map_items_integrate_across_a_gap(self) -> None:
        source, early = site(LOW), site(HIGH)
        source.map["x"] = b"1"
        source.map["y"] = b"2"
        early.take([source.emitted[1]])
        assert entries(early.map) == {"y": b"2"}

    def test_merging_updates_collects_no_garbage(self) -> None:
        source, loaded = site(LOW), site(HIGH)
        for number in range(500):
            source.map["k"] = b"%04d" % number
        merged = pycrdt.merge_updates(*source.emitted)
        loaded.take([merged])
        assert len(merged) > 50 * len(loaded.doc.get_update())

    def test_one_client_id_used_twice_diverges_under_equal_versions(self) -> None:
        original, copy = site(LOW), site(LOW)
        original.map["k"], copy.map["k"] = b"original", b"copy"
        for _ in range(3):
            exchange(original, copy)
        assert canonical(original.doc) == canonical(copy.doc)
        assert entries(original.map) != entries(copy.map)

    def test_an_emitted_update_is_the_whole_transaction(self) -> None:
        one = site(LOW)
        with one.doc.transaction():
            one.map["x"] = b"1"
            one.text.insert(0, "a")
        assert one.emitted == [one.doc.get_update()]

    def test_a_document_from_a_snapshot_writes_under_the_old_client_id(self) -> None:
        doc: Doc[Any] = Doc(client_id=77, skip_gc=True)
        doc.get("m", type=Map)["k"] = b"v"
        assert Doc.from_snapshot(Snapshot.from_doc(doc), doc).client_id == 77
