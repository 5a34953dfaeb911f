"""Values as large as a field can hold: whatever two devices may write, both go on, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import create_model

from crdt_sync import Map, Model, Text, ask, first, max_, merge_with, three_way
from crdt_sync.cli.actions.conflicts import overlaps_json
from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.core.limits import ENTRY_LIMITS
from crdt_sync.core.merging import merge_values
from crdt_sync.errors import InputError, LimitError, TransactionError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory, on_disk

MANY = ENTRY_LIMITS.value_items_max * 6 // 10
BIG = ENTRY_LIMITS.value_bytes_max * 6 // 10


class Doc(Model):
    title: str = ""
    body: str = three_way(default="middle\n")
    items: list[int] = three_way(default=[7])
    table: dict[str, Any] = three_way(default={})
    pages: Map[str, Annotated[str, three_way()]]


def same(left: Any, right: Any) -> bool:
    """Equality of which pytest shows no difference: that of large values would take it minutes."""
    return bool(left == right)


A, B = "a" * BIG, "b" * BIG
CLASHES: dict[str, Any] = {
    "body": (A + "\nmiddle\n", "middle\n" + B),
    "items": ([1] * MANY + [7], [7] + [2] * MANY),
    "table": tuple({f"{side}{number}": side * 1000 for number in range(BIG // 1000)} for side in "ab"),
    "pages": ({"p": A + "\nmiddle\n"}, {"p": "middle\n" + B}),
}


@pytest.mark.parametrize("field", CLASHES)
def test_a_merge_larger_than_a_field_can_hold_asks(field: str) -> None:
    ours, theirs = CLASHES[field]
    with memory(1, Doc) as left, memory(2, Doc) as right, memory(3, Doc) as third:
        mine = left.create(Doc, title="t", pages={"p": "middle\n"})
        exchange(left, right)
        yours = right.get(Doc, mine.id)
        left.update(mine, **{field: ours})
        right.update(yours, **{field: theirs})
        right.create(Doc, title="unrelated")
        assert exchange(left, right).proven_equal
        assert exchange(right, third).proven_equal
        assert third.count(Doc, title="unrelated") == 1
        for replica in (left, right, third):
            (conflict,) = replica.conflicts()
            assert conflict.paths == (("/p",) if field == "pages" else ())
            values = [candidate.value for candidate in conflict.candidates]
            wanted = [ours["p"], theirs["p"]] if field == "pages" else [ours, theirs]
            assert same(sorted(values, key=repr), sorted(wanted, key=repr))
            assert same(conflict.value, values[0])
            assert conflict.base is not UNKNOWN
            record = replica.get(Doc, mine.id)
            record.title = "goes on"
            assert list(replica.history(record))
            assert replica.explain(record, field).causes
        (conflict,) = third.conflicts()
        third.resolve(conflict, paths=dict.fromkeys(conflict.paths or ("",), conflict.candidates[1]))
        assert exchange(third, left).proven_equal
        assert exchange(left, right).proven_equal
        for replica in (left, right, third):
            assert not replica.conflicts()
            assert len(list(replica.settled(record=replica.get(Doc, mine.id)))) == 1


def test_a_rule_settles_what_is_too_large_to_merge() -> None:
    with memory(1, Doc) as left, memory(2, Doc) as right:
        mine = left.create(Doc)
        exchange(left, right)
        mine.body, right.get(Doc, mine.id).body = CLASHES["body"]
        exchange(left, right)
        (conflict,) = left.conflicts()
        assert left.resolve_all(model=Doc, field="body", take="earliest") == 1
        assert same(mine.body, conflict.candidates[-1].value)


def test_parts_that_together_are_too_large_are_refused() -> None:
    with memory(1, Doc) as left, memory(2, Doc) as right:
        mine = left.create(Doc, body="one\ntwo\nthree\n")
        exchange(left, right)
        mine.body, right.get(Doc, mine.id).body = "1\ntwo\n3\n", "I\ntwo\nIII\n"
        exchange(left, right)
        (conflict,) = left.conflicts()
        with pytest.raises(InputError, match="a part is chosen"):
            left.resolve(conflict, paths={"#1-1": A})
        with pytest.raises(Exception, match="more than a value can be"):
            left.resolve(conflict, paths={"#1-1": A, "#3-3": B})
        assert same(left.conflicts(), [conflict])


def test_who_asked_and_merges_later_can_open_its_store(tmp_path: Path) -> None:
    def docs(declare: Callable[..., Any]) -> Any:
        class Doc(Model):
            title: str = ""
            body: str = declare(default="")

        return Doc

    merging, asking = docs(three_way), docs(ask)
    with memory(1, merging) as left, memory(2, merging) as right:
        with on_disk(tmp_path, asking) as third:
            mine: Any = left.create(merging, body="middle\n")
            exchange(left, right)
            yours: Any = right.get(merging, mine.id)
            mine.body, yours.body = CLASHES["body"]
            exchange(left, third)
            assert exchange(right, third).proven_equal
            assert len(third.conflicts()) == 1
        with on_disk(tmp_path, merging) as third:
            assert len(third.conflicts()) == 1
            assert same(third.get(merging, mine.id).body in CLASHES["body"], True)


def test_the_base_of_a_clash_of_choices_over_too_much_is_unknown() -> None:
    with memory(1, Doc) as left, memory(2, Doc) as right:
        mine = left.create(Doc)
        exchange(left, right)
        yours = right.get(Doc, mine.id)
        mine.body, yours.body = CLASHES["body"]
        exchange(left, right)
        for replica, value in ((left, CLASHES["body"][0]), (right, CLASHES["body"][1])):
            (conflict,) = replica.conflicts()
            replica.resolve(conflict, value=value)
        exchange(left, right)
        (conflict,) = left.conflicts()
        assert conflict.base is UNKNOWN
        assert same(right.conflicts(), [conflict])


class Pair(Model, unique=("x", "y")):
    x: str = ""
    y: str = ""


def test_unique_fields_are_large_one_by_one() -> None:
    with memory(1, Pair) as left, memory(2, Pair) as right:
        mine = left.create(Pair)
        exchange(left, right)
        mine.x, right.get(Pair, mine.id).y = A, B
        assert exchange(left, right).proven_equal
        same = left.create(Pair, x="", y="")
        with pytest.raises(Exception, match="a Pair with this x, y exists"):
            left.update(same, x=A, y=B)


class Wide(Model, key=("code",)):
    code: str
    plain: str = ""
    other: str | None = None
    asked: str = ask(default="")
    merged: str = three_way(default="")
    answered: str = merge_with(lambda _, values: min(values), default="")
    early: str | None = first(default=None)
    most: str | None = max_(default=None)
    notes: Text


WIDE = {
    name: number * BIG
    for name, number in zip(("plain", "asked", "merged", "answered", "early", "most"), "uvwxyz", strict=True)
}


def test_a_record_is_created_with_fields_that_are_large_together(tmp_path: Path) -> None:
    with memory(2, Wide) as right:
        with on_disk(tmp_path, Wide) as left:
            mine = left.create(Wide, code="1", notes="n", **WIDE)
            assert same({name: getattr(mine, name) for name in WIDE}, WIDE)
            assert (mine.code, mine.other, str(mine.notes)) == ("1", None, "n")
            assert exchange(left, right).proven_equal
            (made,) = left.history(mine)
            assert same({change.field: change.new for change in made.changes if change.field in WIDE}, WIDE)
            assert len(list(left.operations())) == 1
        with on_disk(tmp_path, Wide, seed=3) as left:
            mine = left.get(Wide, mine.id)
            yours = right.get(Wide, mine.id)
            for record in (mine, yours):
                assert same({name: getattr(record, name) for name in WIDE}, WIDE)
            mine.asked, yours.merged, yours.plain = "1", "2", "3"
            assert exchange(left, right).proven_equal
            assert not left.conflicts()
            assert same((mine.asked, mine.merged, mine.plain, mine.early), ("1", "2", "3", WIDE["early"]))
            left.undo()
            assert same(mine.asked, WIDE["asked"])


@pytest.mark.parametrize("spare", range(0, 40, 3))
def test_values_of_about_the_limit_are_created_or_refused_with_a_hint_that_helps(spare: int) -> None:
    with memory(1, Wide) as replica:
        most = "x" * (ENTRY_LIMITS.value_bytes_max - spare)
        try:
            made = replica.create(Wide, code="1", plain=most)
        except LimitError as error:
            assert spare < 30
            assert "Text" in error.hint  # noqa: PT017  it may be refused, and then with this hint
        else:
            assert same(made.plain, most)
        half = most[: len(most) // 2]
        made = replica.create(Wide, code="2", plain=half, asked=half)
        assert same((made.plain, made.asked), (half, half))


def test_records_that_are_large_when_both_are_created_at_once_ask_as_others_do() -> None:
    with memory(1, Wide) as left, memory(2, Wide) as right:
        mine = left.create(Wide, code="1", plain=A, asked=A, merged=A)
        right.create(Wide, code="1", plain=B, asked=B, merged=B)
        assert exchange(left, right).proven_equal
        (asked, merged) = left.conflicts()
        assert (asked.field, asked.base, merged.field, merged.base) == ("asked", "", "merged", "")
        left.delete(mine)
        again = left.create(Wide, code="1", plain=B, asked=A, merged="")
        assert exchange(left, right).proven_equal
        assert same((again.plain, again.asked, again.merged), (B, A, ""))


@pytest.mark.parametrize(
    "value", ["x" * (ENTRY_LIMITS.value_bytes_max + 1), list(range(200_000)), 2**20_000], ids=["text", "list", "int"]
)
def test_one_value_that_is_too_large_is_refused_with_a_hint_that_helps(value: Any) -> None:
    class Any_(Model):  # noqa: N801  Any is taken
        value: Any = None
        other: str = ""

    with memory(1, Any_) as replica:
        record = replica.create(Any_)
        for write in (
            lambda: replica.create(Any_, value=value, other=A),
            lambda: replica.update(record, value=value),
        ):
            with pytest.raises(LimitError, match="at most") as refused:
                write()
            assert "transaction" not in refused.value.hint
            assert refused.value.hint
        assert replica.count(Any_) == 1


def test_a_record_larger_than_an_entry_is_refused_and_nothing_is_changed() -> None:
    fields: Any = {f"f{number}": (str, "") for number in range(9)}
    model: Any = create_model("Huge", __base__=Model, **fields)
    with memory(1, model) as left, memory(2, model) as right:
        with pytest.raises((LimitError, TransactionError)):
            left.create(model, **dict.fromkeys(fields, "x" * 1_000_000))
        assert left.count(model) == 0
        left.create(model, f1="goes on")
        assert exchange(left, right).proven_equal


def test_the_command_line_shows_an_overlap_of_more_lines_than_a_list_holds() -> None:
    many = "\n" * (ENTRY_LIMITS.value_items_max + 1)
    with memory(1, Doc) as left, memory(2, Doc) as right:
        mine = left.create(Doc, body="a\nb\n")
        exchange(left, right)
        mine.body, right.get(Doc, mine.id).body = f"x{many}\nb\n", f"y{many}\nb\n"
        exchange(left, right)
        (conflict,) = left.conflicts()
        (overlap,) = overlaps_json(conflict)
        assert overlap["path"] == "#1-1"
        assert sorted(side["value"][0] for side in overlap["sides"]) == ["x", "y"]
        left.resolve(conflict, paths={"#1-1": overlap["sides"][0]["value"]})
        assert same(mine.body, conflict.candidates[0].value)


def test_merges_are_kept_for_the_next_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(base: Any, sides: Any, **more: Any) -> Any:
        calls.append(len(sides))
        return merge_values(base, sides, **more)

    module = import_module("crdt_sync.core.kinds.three_way")  # the package gives the function of this name
    monkeypatch.setattr(module, "merge_values", counted)
    with memory(1, Doc) as left, memory(2, Doc) as right:
        mine = left.create(Doc, body="one\ntwo\nthree\n")
        exchange(left, right)
        yours = right.get(Doc, mine.id)
        mine.body, yours.body = "1\ntwo\nthree\n", "I\ntwo\n3\n"
        exchange(left, right)
        assert len(left.conflicts()) == 1
        shown, done = mine.body, len(calls)
        assert done
        for _ in range(3):
            assert mine.body == shown
            left.conflicts()
            mine.title += "x"
        assert len(calls) == done
        mine.body = "one\n"
        yours.body = "three\n"
        exchange(left, right)
        assert len(calls) > done
