"""Three-way merges: what merges, what overlaps, and the laws that hold for any values."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync.core import codec
from crdt_sync.core.conflict import UNKNOWN, Unknown, pointer
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.merging import Choices, Given, Merged, UnfitPartError, merge_values, overlaps
from tests.unit.core.values import alike, values


def merge(base: Any, *sides: Any, choices: Choices | None = None) -> tuple[Any, tuple[str, ...]]:
    """The merged value, and the paths where sides overlap; the first side is shown there."""
    data = UNKNOWN if isinstance(base, Unknown) else codec.encode(base)
    merged = merge_values(data, [codec.encode(side) for side in sides], choices=choices)
    return codec.decode(merged.data), merged.paths


DICTS: list[tuple[str, Any, list[Any], Any, tuple[str, ...]]] = [
    ("different keys", {"a": 1, "b": 2}, [{"a": 9, "b": 2}, {"a": 1, "b": 8}], {"a": 9, "b": 8}, ()),
    ("one key", {"a": 1, "b": 2}, [{"a": 9, "b": 2}, {"a": 8, "b": 7}], {"a": 9, "b": 7}, ("/a",)),
    ("one key alike", {"a": 1}, [{"a": 9}, {"a": 9}], {"a": 9}, ()),
    ("1 is not 1.0 and not True", {"a": 0}, [{"a": 1}, {"a": 1.0}, {"a": True}], {"a": 1}, ("/a",)),
    ("removed and kept", {"a": 1, "b": 2}, [{"b": 2}, {"a": 1, "b": 3}], {"b": 3}, ()),
    ("removed and changed", {"a": 1, "b": 2}, [{"b": 2}, {"a": 3, "b": 2}], {"b": 2}, ("/a",)),
    ("removed by both", {"a": 1, "b": 2}, [{"b": 2}, {"b": 2}], {"b": 2}, ()),
    ("added with different keys", {}, [{"a": 1}, {"b": 2}], {"a": 1, "b": 2}, ()),
    ("added with one key", {}, [{"a": 1}, {"a": 2}], {"a": 1}, ("/a",)),
    ("from nothing", None, [{"a": 1}, {"b": 2, "a": 1}], {"a": 1, "b": 2}, ()),
    (
        "nested",
        {"a": {"b": 1, "c": 1}},
        [{"a": {"b": 2, "c": 1}}, {"a": {"b": 1, "c": 3}}],
        {"a": {"b": 2, "c": 3}},
        (),
    ),
    ("nested overlap", {"a": {"b": 1}}, [{"a": {"b": 2}}, {"a": {"b": 3}}], {"a": {"b": 2}}, ("/a/b",)),
    ("nested and removed", {"a": {"b": 1}}, [{"a": {"b": 2}}, {}], {"a": {"b": 2}}, ("/a",)),
    ("another type", {"a": {"b": 1}}, [{"a": 5}, {"a": {"b": 2}}], {"a": 5}, ("/a",)),
    (
        "names with signs",
        {"a/b": 1, "~": 1},
        [{"a/b": 2, "~": 2}, {"a/b": 3, "~": 3}],
        {"a/b": 2, "~": 2},
        ("/a~1b", "/~0"),
    ),
    ("three sides", {"a": 1}, [{"a": 1, "x": 1}, {"a": 1, "y": 1}, {"z": 1}], {"x": 1, "y": 1, "z": 1}, ()),
    ("tuples are whole", {"a": (1, 2)}, [{"a": (9, 2)}, {"a": (1, 8)}], {"a": (9, 2)}, ("/a",)),
    ("numbers are whole", 1, [2, 3], 2, ("",)),
    ("no ancestor", UNKNOWN, [{"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 2}], {"a": 1, "b": 1, "c": 1}, ("/b", "/c")),
    ("no ancestor, equal", UNKNOWN, [{"a": 1}, {"a": 1}], {"a": 1}, ()),
]
LISTS: list[tuple[str, Any, list[Any], Any, tuple[str, ...]]] = [
    ("both ends", [1, 2, 3], [[0, 1, 2, 3], [1, 2, 3, 4]], [0, 1, 2, 3, 4], ()),
    ("different items", [1, 2, 3], [[9, 2, 3], [1, 2, 8]], [9, 2, 8], ()),
    ("neighbours", [1, 2], [[9, 2], [1, 8]], [9, 8], ()),
    ("one item", [1, 2, 3], [[1, 9, 3], [1, 8, 3]], [1, 9, 3], ("/1",)),
    ("inside of items", [{"a": 1, "b": 1}], [[{"a": 2, "b": 1}], [{"a": 1, "b": 3}]], [{"a": 2, "b": 3}], ()),
    ("one place inside", [0, {"a": 1}], [[0, {"a": 2}], [0, {"a": 3}]], [0, {"a": 2}], ("/1/a",)),
    ("removed and changed elsewhere", [1, 2, 3, 4], [[1, 3, 4], [1, 2, 3, 9]], [1, 3, 9], ()),
    ("removed and changed", [1, 2, 3], [[1, 3], [1, 9, 3]], [1, 3], ("#2-2",)),
    ("appended by both", [1], [[1, 2], [1, 3]], [1, 2], ("#2-1",)),
    ("appended alike", [1], [[1, 2], [1, 2]], [1, 2], ()),
    ("all replaced", [1], [[2, 3], [4, 5, 6]], [2, 3], ("",)),
    ("many equal items", [0, 0, 0], [[0, 0, 0, 1], [1, 0, 0, 0]], [1, 0, 0, 0, 1], ()),
    ("not a list before", None, [[1], [2]], [1], ("",)),
    ("in a dict", {"a": [1, 2]}, [{"a": [1, 2, 3]}, {"a": [1, 2, 4]}], {"a": [1, 2, 3]}, ("/a#3-2",)),
    ("no ancestor, as many", UNKNOWN, [[1, 2], [1, 3]], [1, 2], ("/1",)),
    ("no ancestor, more", UNKNOWN, [[1], [1, 2]], [1], ("",)),
]
TEXTS: list[tuple[str, Any, list[Any], Any, tuple[str, ...]]] = [
    ("different lines", "a\nb\nc\n", ["A\nb\nc\n", "a\nb\nC\n"], "A\nb\nC\n", ()),
    ("neighbours", "a\nb\n", ["A\nb\n", "a\nB\n"], "A\nB\n", ()),
    ("one line", "a\nb\nc\n", ["a\nX\nc\n", "a\nY\nc\n"], "a\nX\nc\n", ("#2-2",)),
    ("lines in a row", "a\nb\nc\nd\n", ["a\nX\nX\nd\n", "a\nY\nY\nd\n"], "a\nX\nX\nd\n", ("#2-3",)),
    ("some lines in a row", "a\nb\nc\nd", ["a\nX\nX\nd", "a\nb\nY\nY"], "a\nX\nX\nY", ("#3-3",)),
    ("put in at one place", "a\nb", ["a\nX\nb", "a\nY\nb"], "a\nX\nb", ("#2-1",)),
    ("put in alike", "a\nb", ["a\nX\nb", "a\nX\nb"], "a\nX\nb", ()),
    ("removed and changed", "a\nb\nc", ["a\nc", "a\nB\nc"], "a\nc", ("#2-2",)),
    ("grown at both ends", "a", ["0\na", "a\nz"], "0\na\nz", ()),
    ("a line of its own", "a", ["b", "c"], "b", ("",)),
    ("a line in a dict", {"t": "a"}, [{"t": "b"}, {"t": "c"}], {"t": "b"}, ("/t",)),
    ("lines in a dict", {"t": "a\nb"}, [{"t": "a\nX"}, {"t": "a\nY"}], {"t": "a\nX"}, ("/t#2-2",)),
    ("no end of line", "a\nb", ["a\nb\n", "A\nb"], "A\nb\n", ()),
    ("other line ends stay", "a\r\nb\r\nc", ["A\r\nb\r\nc", "a\r\nb\r\nC"], "A\r\nb\r\nC", ()),
    ("no ancestor", UNKNOWN, ["a\nb", "a\nc"], "a\nb", ("",)),
]


@pytest.mark.parametrize(
    ("base", "sides", "merged", "paths"),
    [
        pytest.param(*case[1:], id=f"{name}: {case[0]}")
        for name, table in (("dict", DICTS), ("list", LISTS), ("text", TEXTS))
        for case in table
    ],
)
def test_examples(base: Any, sides: list[Any], merged: Any, paths: tuple[str, ...]) -> None:
    found, named = merge(base, *sides)
    assert (named, alike(found, merged)) == (paths, True), found
    for order in permutations(sides):
        again, named = merge(base, *order)
        assert named == paths, "where they overlap does not depend on their order"
        assert bool(paths) or alike(again, merged)
    assert merge(base, *sides, *sides)[1] == paths, "saying it twice changes nothing"


@pytest.mark.parametrize(
    ("base", "sides", "choices", "merged"),
    [
        ({"a": 1, "b": 1}, [{"a": 2, "b": 3}, {"a": 4, "b": 1}], {"/a": 1}, {"a": 4, "b": 3}),
        ({"a": 1}, [{}, {"a": 4}], {"/a": 0}, {}),
        ({"a": 1}, [{}, {"a": 4}], {"/a": {"b": 5}}, {"a": {"b": 5}}),
        ("a\nb\nc", ["a\nX\nc", "a\nY\nc"], {"#2-2": 1}, "a\nY\nc"),
        ("a\nb\nc", ["a\nX\nc", "a\nY\nc"], {"#2-2": "1\n2\n"}, "a\n1\n2\nc"),
        ("a\nb\nc", ["a\nX\nc", "a\nY\nc"], {"#2-2": ""}, "a\nc"),
        ("a", ["b", "c"], {"": "d\n"}, "d\n"),
        ([1], [[1, 2], [1, 3]], {"#2-1": [2, 3]}, [1, 2, 3]),
        ([1], [[1, 2], [1, 3]], {"#2-1": []}, [1]),
    ],
)
def test_choices_stand_where_sides_overlap(base: Any, sides: list[Any], choices: dict[str, Any], merged: Any) -> None:
    given = {path: item if type(item) is int else Given(codec.encode(item)) for path, item in choices.items()}
    assert merge(base, *sides, choices=given)[0] == merged


@pytest.mark.parametrize(
    ("base", "sides", "path"), [("a\nb", ["a\nc", "a\nd"], "#2-2"), ([1], [[1, 2], [1, 3]], "#2-1")]
)
def test_what_cannot_stand_there_is_refused(base: Any, sides: list[Any], path: str) -> None:
    with pytest.raises(UnfitPartError):
        merge(base, *sides, choices={path: Given(codec.encode(5))})


@given(base=values, sides=st.lists(values, min_size=1, max_size=4), data=st.data())
def test_any_values_merge_to_one_thing_in_any_order(base: Any, sides: list[Any], data: st.DataObject) -> None:
    merged, paths = merge(base, *sides)
    shuffled, same_paths = merge(base, *data.draw(st.permutations(sides)))
    assert same_paths == paths
    assert bool(paths) or alike(merged, shuffled)
    assert merge(base, *sides, base, base)[1] == paths, "who changed nothing has no say"
    assert alike(merge(base, *sides, base)[0], merged)


@given(base=values, side=values)
def test_what_one_side_changed_is_taken_and_what_all_changed_alike(base: Any, side: Any) -> None:
    for sides in ((side,), (side, base), (base, side), (side, side), (base, side, side)):
        merged, paths = merge(base, *sides)
        assert (alike(merged, side), paths) == (True, ())
    assert alike(merge(UNKNOWN, side, side)[0], side)


def changes_of(length: int) -> st.SearchStrategy[dict[int, str]]:
    """Places that one side changes, and how."""
    return st.dictionaries(
        st.integers(0, max(0, length - 1)), st.sampled_from(["change", "remove", "insert"]), max_size=3
    )


def edited(items: list[int], changes: dict[int, str], mark: int) -> list[int]:
    made: list[int] = []
    for at, item in enumerate(items):
        match changes.get(at):
            case "change":
                made.append(mark + at)
            case "insert":
                made += [mark + at, item]
            case "remove":
                pass
            case _:
                made.append(item)
    return made


@given(length=st.integers(1, 20), data=st.data())
def test_changes_with_something_kept_between_them_are_never_lost(length: int, data: st.DataObject) -> None:
    """Each side changes its own places, every other one at most: all changes are in what comes out."""
    base = list(range(length))
    places = data.draw(st.lists(st.sampled_from(range(0, length, 2)), unique=True, max_size=6))
    deeds = [data.draw(st.sampled_from(["change", "remove", "insert"])) for _ in places]
    count = data.draw(st.integers(2, 4))
    shares = [
        {place: deed for at, (place, deed) in enumerate(zip(places, deeds, strict=True)) if at % count == side}
        for side in range(count)
    ]
    everything = edited(base, dict(zip(places, deeds, strict=True)), 1000)
    sides = [edited(base, share, 1000) for share in shares]
    assert merge(base, *sides) == (everything, ())
    texts = ["\n".join(map(str, side)) for side in (base, *sides, everything)]
    if all(sides) and everything:
        assert merge(*texts[:-1]) == (texts[-1], ())
    keyed = [{str(at): item for at, item in enumerate(base)} for _ in range(count)]
    for side, share in zip(keyed, shares, strict=True):
        side.update({str(place): 1000 + place for place in share})
    whole = {str(at): item for at, item in enumerate(base)}
    assert merge(whole, *keyed) == (whole | {str(place): 1000 + place for place in places}, ())


@given(base=values, sides=st.lists(values, min_size=2, max_size=3))
def test_choosing_the_shown_part_everywhere_gives_what_is_shown(base: Any, sides: list[Any]) -> None:
    shown, paths = merge(base, *sides)
    assert len(set(paths)) == len(paths) or any("#" in path for path in paths)
    by_side = [merge(base, *sides, choices=dict.fromkeys(paths, number)) for number in range(len(sides))]
    assert all(again == paths for _, again in by_side)
    if paths == ("",):
        assert all(alike(value, side) for (value, _), side in zip(by_side, sides, strict=True))
    assert merge(base, *sides) == (shown, paths) or shown != shown  # noqa: PLR0124  NaN


def test_what_only_strangers_write_does_no_harm() -> None:
    odd = [
        msgpack.packb({"k": 1.5}, use_single_float=True),
        msgpack.packb({"k": 1}),
        msgpack.packb([msgpack.Timestamp(5)]),
    ]
    for base in (UNKNOWN, *odd):
        for sides in permutations(odd):
            codec.decode(merge_values(base, sides).data)


def test_large_and_hostile_texts_take_bounded_work() -> None:
    same = "\n" * 50_000
    assert merge(same + "a", "x" + same + "a", same + "b")[1] == ()
    hostile = "\n".join("ab"[number % 3 % 2] for number in range(20_000))
    other = "\n".join("ab"[number % 5 % 2] for number in range(20_000))
    merge(hostile, other, other[::-1])


MANY = ENTRY_LIMITS.value_items_max


def test_a_text_of_more_lines_than_a_list_may_have_items() -> None:
    many = "\n" * (MANY + 5)
    assert merge("a\nb", many + "a\nb", "a\n" + many + "b")[1] == ()
    text, paths = merge("a\nb\nc", "x" + many + "x\nb\nc", "y" + many + "y\nb\n3")
    assert paths == ("#1-1",)
    assert text.endswith("x\nb\n3")
    base, sides = codec.encode("a\nb\nc"), [codec.encode(f"{side}{many}\nb\nc") for side in "xy"]
    (overlap,) = overlaps(base, sides)
    assert overlap.base is not None
    assert overlap.base is not UNKNOWN
    assert codec.decode(overlap.base) == ["a"]
    found = [codec.decode(side) for side in overlap.sides if side is not None]
    assert [len(item) for item in found] == [MANY + 7, MANY + 7]
    chosen = merge_values(base, sides, choices={"#1-1": Given(codec.encode(found[1]))})
    assert chosen.data == sides[1]


@pytest.mark.parametrize(
    ("base", "sides"),
    [
        ("m\n", ["a" * 600_000 + "\nm\n", "m\n" + "b" * 600_000]),
        ([7], [[1] * 60_000 + [7], [7] + [2] * 60_000]),
        ({}, [{f"{side}{number}": 1 for number in range(60_000)} for side in "ab"]),
        ({"x": {"y": [7]}}, [{"x": {"y": [1] * 60_000 + [7]}}, {"x": {"y": [7] + [2] * 60_000}}]),
    ],
    ids=["text", "list", "dict", "inside"],
)
def test_what_merges_to_more_than_a_value_can_be_is_no_proposal(base: Any, sides: list[Any]) -> None:
    data = [codec.encode(side) for side in sides]
    merged = merge_values(codec.encode(base), data)
    assert merged == Merged(data=data[0], paths=("",), too_large=True)


def test_parts_that_make_more_than_a_value_can_be_are_refused() -> None:
    base, sides = codec.encode("a\nb\nc"), [codec.encode("1\nb\n3"), codec.encode("x\nb\nz")]
    large = Given(codec.encode("x" * 600_000))
    merge_values(base, sides, choices={"#1-1": large})
    with pytest.raises(UnfitPartError, match="more than a value can be"):
        merge_values(base, sides, choices={"#1-1": large, "#3-3": large})


def test_overlaps_are_told_with_what_stands_there() -> None:
    base, sides = {"a": 1, "b": {"c": 2}, "k": 0}, [{"a": 3, "b": {"c": 4}, "k": 0}, {"a": 5, "k": 9}]
    found = overlaps(codec.encode(base), [codec.encode(side) for side in sides])
    opened = [(item.path, item.base, *item.sides) for item in found]
    encoded = [None if value is None else codec.encode(value) for value in (1, 3, 5, {"c": 2}, {"c": 4}, None)]
    assert opened == [("/a", *encoded[:3]), ("/b", *encoded[3:])]


def test_overlaps_of_lines_hold_the_lines() -> None:
    (found,) = overlaps(codec.encode("a\nb\nc"), [codec.encode("a\nx\ny\nc"), codec.encode("a\nc")])
    assert found.path == "#2-2"
    assert [found.base, *found.sides] == [codec.encode(lines) for lines in (["b"], ["x", "y"], [])]


def test_where_nothing_is_known_of_the_ancestor_overlaps_say_so() -> None:
    (found,) = overlaps(UNKNOWN, [codec.encode(1), codec.encode(2)])
    assert (found.path, found.base, found.sides) == ("", UNKNOWN, (codec.encode(1), codec.encode(2)))


def test_a_key_that_looks_like_lines_has_a_path_of_its_own() -> None:
    base = {"a": [1, 2, 3], "a#2-2": "old", "b~2": 0, "b#": 0}
    one = {"a": [1, 8, 9, 3], "a#2-2": "one", "b~2": 1, "b#": 1}
    two = {"a": [1, 7, 3], "a#2-2": "two", "b~2": 2, "b#": 2}
    sides = [codec.encode(one), codec.encode(two)]
    merged = merge_values(codec.encode(base), sides)
    assert merged.paths == ("/a#2-2", "/a~22-2", "/b~2", "/b~02")
    chosen = merge_values(codec.encode(base), sides, choices={"/a#2-2": Given(codec.encode([0])), "/a~22-2": 1})
    assert codec.decode(chosen.data) == {"a": [1, 0, 3], "a#2-2": "two", "b~2": 1, "b#": 1}


paths = st.lists(st.text("a~/#0123-", max_size=4), max_size=3).map(tuple)


@given(paths, paths)
def test_each_place_has_a_path_of_its_own(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    assert (pointer(left) == pointer(right)) == (left == right)
    assert "#" not in pointer(left)
