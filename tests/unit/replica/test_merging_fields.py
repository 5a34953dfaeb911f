"""Fields that merge by their ancestor or by the app's function: what shows, what asks, how it is settled."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import pytest

from crdt_sync import ASK, Choice, Conflict, Map, Model, Replica, ask, merge_with, three_way
from crdt_sync.core import codec
from crdt_sync.core.conflict import UNKNOWN
from crdt_sync.core.content import Dot, RegisterValue
from crdt_sync.core.ids import Author
from crdt_sync.core.kinds import MapKind, MergeWithRegister
from crdt_sync.core.merging import WHOLE, Merged
from crdt_sync.errors import ConflictNotFoundError, InputError, InvalidValueError, NotACandidateError, SchemaError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory, on_disk

State = Literal["open", "doing", "done"]
RANKS = ["open", "doing", "done"]
calls: list[Any] = []


def furthest(base: Any, candidates: list[State]) -> State:
    return max(candidates, key=RANKS.index)


def troubled(base: Any, candidates: list[str]) -> Any:
    """Does whatever is written in the values."""
    wish = min(candidates)
    if "raise" in wish:
        raise ZeroDivisionError
    if "number" in wish:
        return 7
    if "order" in wish:
        return candidates[0]
    if "each time" in wish:
        calls.append(wish)
        return str(len(calls))
    if "spoil" in wish:
        candidates.clear()
        return "spoilt"
    return ASK


class Person(Model):
    address: dict[str, Any] | None = three_way(default=None)
    body: str = three_way(default="")
    stages: list[Any] = three_way(default_factory=list)
    state: State = merge_with(furthest, default="open")
    odd: str = merge_with(troubled, default="")
    day: int = ask(default=0)
    homes: Map[str, Annotated[dict[str, Any], three_way()]]
    days: Map[str, Annotated[int, ask()]]


Pair = tuple[Replica, Replica, Person, Person]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with memory(1, Person) as left, memory(2, Person) as right:
        mine = left.create(
            Person, address={"street": "Elm", "city": "Rome"}, body="one\ntwo\nthree\n", stages=[{"n": 1}, {"n": 2}]
        )
        exchange(left, right)
        yield left, right, mine, right.get(Person, mine.id)


def write(pair: Pair, **values: tuple[Any, Any]) -> None:
    left, right, mine, theirs = pair
    left.update(mine, **{name: first for name, (first, _) in values.items()})
    right.update(theirs, **{name: second for name, (_, second) in values.items()})
    exchange(left, right)


def only(replica: Replica) -> Conflict:
    (conflict,) = replica.conflicts()
    return conflict


# ── three_way ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_does_not_overlap_merges_without_asking(pair: Pair) -> None:
    left, right, mine, theirs = pair
    write(
        pair,
        address=({"street": "Oak", "city": "Rome"}, {"street": "Elm", "city": "Oslo", "zip": "1"}),
        body=("ONE\ntwo\nthree\n", "one\ntwo\nthree\nfour\n"),
        stages=([{"n": 0}, {"n": 2}], [{"n": 1}, {"n": 2, "m": 3}]),
    )
    for replica, record in ((left, mine), (right, theirs)):
        assert record.address == {"street": "Oak", "city": "Oslo", "zip": "1"}
        assert record.body == "ONE\ntwo\nthree\nfour\n"
        assert record.stages == [{"n": 0}, {"n": 2, "m": 3}]
        assert replica.conflicts() == []
        assert [found.id for found in replica.find(Person, body__contains="ONE\ntwo\nthree\nfour")] == [mine.id]
        assert replica.settled() == []
    mine.body = mine.body + "five\n"
    exchange(left, right)
    assert (theirs.body, len(right.candidates(theirs, "body"))) == ("ONE\ntwo\nthree\nfour\nfive\n", 1)
    assert left.settled() == right.settled() == [], "nobody was asked, so nobody chose"


def test_what_overlaps_is_named_and_the_latest_of_it_shows(pair: Pair) -> None:
    left, right, mine, theirs = pair
    write(pair, address=({"street": "Oak", "city": "Pisa"}, {"street": "Ash", "city": "Rome"}))
    conflict = only(left)
    latest = conflict.candidates[0].value["street"]
    assert conflict == only(right)
    assert (conflict.field, conflict.register, conflict.paths) == ("address", "address", ("/street",))
    assert conflict.base == {"street": "Elm", "city": "Rome"}
    assert conflict.value == mine.address == theirs.address == {"street": latest, "city": "Pisa"}


@pytest.mark.parametrize("part", [0, 1, "Fir"])
def test_a_conflict_is_settled_path_by_path(pair: Pair, part: int | str) -> None:
    left, right, mine, theirs = pair
    write(pair, address=({"street": "Oak", "city": "Pisa"}, {"street": "Ash", "city": "Rome", "zip": "2"}))
    conflict = only(left)
    chosen = conflict.candidates[part] if isinstance(part, int) else part
    left.resolve(conflict, paths={"/street": chosen})
    exchange(left, right)
    street = conflict.candidates[part].value["street"] if isinstance(part, int) else part
    assert mine.address == theirs.address == {"street": street, "city": "Pisa", "zip": "2"}
    assert left.conflicts() == right.conflicts() == []


def test_a_candidate_is_taken_as_a_whole_and_so_is_a_value(pair: Pair) -> None:
    left, right, _, theirs = pair
    write(pair, address=({"street": "Oak", "city": "Pisa"}, {"street": "Ash", "city": "Rome"}), day=(1, 2))
    conflict, other = left.conflicts()
    left.resolve(conflict, take=conflict.candidates[1])
    left.resolve(other, paths={"": other.candidates[1]})
    exchange(left, right)
    assert theirs.address == conflict.candidates[1].value
    assert theirs.day == other.candidates[1].value
    write(pair, body=("a", "b"))
    left.resolve(only(left), value="c")
    exchange(left, right)
    assert (theirs.body, right.conflicts()) == ("c", [])


def test_lines_and_items_are_settled_by_their_place(pair: Pair) -> None:
    left, right, mine, theirs = pair
    write(pair, body=("one\n2\nthree\n", "one\nII\nthree\nfour\n"), stages=([{"n": 1}], [{"n": 1}, {"n": 2}, {"n": 3}]))
    by_field = {conflict.field: conflict for conflict in left.conflicts()}
    assert by_field["body"].paths == ("#2-2",)
    left.resolve(by_field["body"], paths={"#2-2": "second\nsecond and a half"})
    assert mine.body == "one\nsecond\nsecond and a half\nthree\nfour\n"
    assert by_field["stages"].paths == ("#2-2",)
    with pytest.raises(InvalidValueError):
        left.resolve(by_field["stages"], paths={"#2-2": 5})
    left.resolve(by_field["stages"], paths={"#2-2": [{"n": 9}]})
    exchange(left, right)
    assert (theirs.stages, right.conflicts()) == ([{"n": 1}, {"n": 9}], [])


def test_what_does_not_settle_is_refused_and_changes_nothing(pair: Pair) -> None:
    left, _, mine, _ = pair
    write(pair, address=({"street": "Oak", "zip": "1"}, {"street": "Ash", "zip": "2"}), day=(1, 2), body=("x", "y"))
    address, body, day = left.conflicts()
    first, foreign = address.candidates[0], day.candidates[0]
    length = repr(left)
    for wrong, error in (
        ({"paths": {"/street": first}}, InputError),
        ({"paths": {"/street": first, "/zip": first, "/city": first}}, InputError),
        ({"paths": {}}, InputError),
        ({"paths": [first]}, InputError),
        ({"paths": {"/street": foreign, "/zip": first}}, NotACandidateError),
        ({"take": foreign}, NotACandidateError),
        ({"value": 5}, InvalidValueError),
        ({"take": first, "paths": {}}, InputError),
        ({}, InputError),
    ):
        with pytest.raises(error):
            left.resolve(address, **wrong)
    with pytest.raises(InvalidValueError):
        left.resolve(body, paths={"": None})
    assert repr(left) == length
    assert left.conflicts() == [address, body, day]
    left.resolve(address, value=None)
    late: tuple[dict[str, Any], ...] = ({"take": first}, {"value": {}}, {"paths": {"/street": first, "/zip": first}})
    for again in late:
        with pytest.raises(ConflictNotFoundError):
            left.resolve(address, **again)
    assert mine.address is None


def test_three_devices_come_to_one_value_in_any_order() -> None:
    with memory(1, Person) as a, memory(2, Person) as b, memory(3, Person) as c:
        mine = a.create(Person, address={"a": 0, "b": 0, "c": 0, "d": 0})
        replicas = (a, b, c)
        for other in (b, c):
            exchange(a, other)
        for number, replica in enumerate(replicas, start=1):
            record = replica.get(Person, mine.id)
            record.address = {**(record.address or {}), "abc"[number - 1]: number, "d": number}
        for left, right in ((c, b), (a, c), (b, a), (c, b)):
            exchange(left, right)
        assert len({repr(replica.conflicts()) for replica in replicas}) == 1
        conflict = only(a)
        assert (conflict.paths, len(conflict.candidates)) == (("/d",), 3)
        latest = conflict.candidates[0].value["d"]
        assert mine.address == c.get(Person, mine.id).address == {"a": 1, "b": 2, "c": 3, "d": latest}


def test_entries_of_a_map_conflict_one_by_one(pair: Pair) -> None:
    left, right, mine, theirs = pair
    mine.homes["a/b"], mine.homes["c"], mine.days["x"] = {"s": 1, "t": 1}, {"s": 1}, 1
    exchange(left, right)
    mine.homes["a/b"], mine.homes["c"], mine.days["x"] = {"s": 2, "t": 1}, {"s": 2}, 2
    theirs.homes["a/b"], theirs.homes["c"], theirs.days["x"] = {"s": 3, "t": 3}, {"s": 3}, 3
    exchange(left, right)
    first, second, third = left.conflicts()
    assert right.conflicts() == [first, second, third]
    assert [(item.field, item.register, item.paths) for item in (first, second, third)] == [
        ("homes", "homes/a/b", ("/a~1b/s",)),
        ("homes", "homes/c", ("/c/s",)),
        ("days", "days/x", ("/x",)),
    ]
    left.resolve(first, paths={"/a~1b/s": 9})
    left.resolve(third, paths={"/x": third.candidates[1]})
    with pytest.raises(InvalidValueError):
        left.resolve(second, value=5)
    left.resolve(second, value={"s": 8})
    exchange(left, right)
    assert dict(theirs.homes) == {"a/b": {"s": 9, "t": 3}, "c": {"s": 8}}
    assert dict(theirs.days) == {"x": third.candidates[1].value}
    assert right.conflicts() == []
    assert {(item.register, item.paths) for item in right.settled()} == {
        ("homes/a/b", ("/a~1b/s",)),
        ("homes/c", ("/c/s",)),
        ("days/x", ("/x",)),
    }


def test_an_entry_set_anew_is_not_what_somebody_saw_before_it_was_removed(pair: Pair) -> None:
    """A number that a removed value had is given to no other write: who saw the one has not seen the other."""
    left, right, mine, theirs = pair
    mine.days["x"] = 1
    exchange(left, right)
    theirs.days["x"] = 2
    del mine.days["x"]
    mine.days["x"] = 3
    exchange(left, right)
    assert {item.value for item in left.conflicts()[0].candidates} == {2, 3}
    assert left.conflicts() == right.conflicts()


# ── merge_with ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_function_merges_without_asking(pair: Pair) -> None:
    left, right, mine, theirs = pair
    write(pair, state=("done", "doing"))
    assert mine.state == theirs.state == "done"
    assert left.conflicts() == right.conflicts() == []
    assert right.find(Person, state="done") == [theirs]


@pytest.mark.parametrize("wish", ["raise", "number", "order", "each time", "ask"])
def test_a_function_that_does_not_answer_rightly_asks(pair: Pair, wish: str, caplog: pytest.LogCaptureFixture) -> None:
    left, right, mine, theirs = pair
    with caplog.at_level(logging.WARNING, "crdt_sync.kinds"):
        write(pair, odd=(f"1 {wish}", f"2 {wish}"))
        conflict = only(left)
        assert conflict == only(right)
    assert (conflict.paths, conflict.value) == ((), conflict.candidates[0].value)
    assert mine.odd == theirs.odd == conflict.value
    complaints = [record.getMessage() for record in caplog.records if record.name == "crdt_sync.kinds"]
    assert len(complaints) <= 1, "once for a function, though it is read again and again"
    left.resolve(conflict, take=conflict.candidates[1])
    exchange(left, right)
    assert (theirs.odd, right.conflicts()) == (conflict.candidates[1].value, [])


WORDS = {
    "raise": "raised ZeroDivisionError: the field asks instead",
    "number": "gave a value of type int, which the field cannot hold: the field asks instead",
    "order": "gives another answer each time, or where the values come in another order: the field asks instead",
}


@pytest.mark.parametrize("wish", WORDS)
def test_what_a_function_does_wrong_is_logged(wish: str, caplog: pytest.LogCaptureFixture) -> None:
    class Fresh(Model):
        odd: str = merge_with(troubled, default="")

    with memory(1, Fresh) as left, memory(2, Fresh) as right, caplog.at_level(logging.WARNING, "crdt_sync.kinds"):
        mine = left.create(Fresh)
        exchange(left, right)
        left.update(mine, odd=f"1 {wish}")
        right.update(right.get(Fresh, mine.id), odd=f"2 {wish}")
        exchange(left, right)
        assert (only(left), mine.odd) == (only(right), only(left).candidates[0].value)
    (said,) = [record.getMessage() for record in caplog.records if record.name == "crdt_sync.kinds"]
    assert said == f"merge function troubled of field 'odd' {WORDS[wish]}"


def test_a_slow_function_is_waited_for_once_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    now_s, asked = [0.0], list[list[str]]()

    def slow(base: str, candidates: list[str]) -> str:
        now_s[0] += 2.5
        asked.append(candidates)
        return max(candidates)

    class Fresh(Model):
        odd: str = merge_with(slow, default="")
        many: Map[str, Annotated[str, merge_with(slow)]]

    for kind in (Fresh.__crdt_spec__.field("odd"), cast("MapKind", Fresh.__crdt_spec__.field("many")).entry):
        cast("MergeWithRegister", kind).clock = lambda: now_s[0]
    with memory(1, Fresh) as left, memory(2, Fresh) as right, caplog.at_level(logging.WARNING, "crdt_sync.kinds"):
        mine = left.create(Fresh)
        exchange(left, right)
        theirs: Any = right.get(Fresh, mine.id)
        left.update(mine, odd="1")
        right.update(theirs, odd="2")
        exchange(left, right)
        assert sorted(asked) == [["1", "2"], ["2", "1"]], "for both orders, and never again"
        assert [mine.odd, theirs.odd, mine.odd] == ["2"] * 3
        assert len(asked) == 2
        mine.many["a"], theirs.many["a"] = "1", "2"
        exchange(left, right)
        assert (mine.many["a"], theirs.many["a"], left.conflicts()) == ("2", "2", [])
    said = [record.getMessage() for record in caplog.records if record.name == "crdt_sync.kinds"]
    assert said[0].endswith("slow of field 'odd' took 2.5 s: reading waits for it")
    assert len(said) == 2


def test_an_answer_is_kept_with_what_shows_where_the_field_asks() -> None:
    """The same two values are another question where the other one is the latest."""

    class Fresh(Model):
        odd: str = merge_with(lambda base, candidates: ASK, default="")

    register = cast("MergeWithRegister", Fresh.__crdt_spec__.field("odd"))
    one, two = (
        RegisterValue(Dot(Author(author), 1), 1, codec.encode(text), {}, key="")
        for author, text in ((1, "a"), (2, "b"))
    )
    for _ in range(2):
        for among in ([one, two], [two, one]):
            assert register.merge(UNKNOWN, among) == Merged(data=among[0].data, paths=WHOLE)


def test_a_function_cannot_spoil_what_it_is_given(pair: Pair) -> None:
    left, _, mine, theirs = pair
    write(pair, odd=("1 spoil", "2 spoil"))
    assert mine.odd == theirs.odd == "spoilt"
    assert len(left.candidates(mine, "odd")) == 2


def test_who_lacks_the_function_asks_and_the_app_shows_its_own_again(tmp_path: Path, pair: Pair) -> None:
    left = pair[0]
    write(pair, state=("done", "doing"))
    with on_disk(tmp_path, Person) as store:
        exchange(left, store)
        assert store.count(Person, state="done") == 1
    with Replica.open(tmp_path / "a.db", state_dir=tmp_path / "state") as tool:
        assert [conflict.field for conflict in tool.conflicts()] == ["state"]
    with on_disk(tmp_path, Person) as store:
        assert (store.conflicts(), store.count(Person, state="done")) == ([], 1)


def test_a_merge_function_must_be_one() -> None:
    with pytest.raises(SchemaError):
        merge_with(7)  # type: ignore[arg-type]  # wrong on purpose


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("take", "place"), [("latest", 0), ("earliest", -1)])
def test_all_conflicts_of_a_field_are_settled_by_a_rule(pair: Pair, take: Any, place: int) -> None:
    left, right, _, _ = pair
    others = [left.create(Person, day=number) for number in range(3)]
    exchange(left, right)
    with right.transaction():
        for record in others:
            right.get(Person, record.id).day = 20
    for record in others:
        record.day = 10
    write(pair, address=({"street": "Oak", "city": "Pisa"}, {"street": "Ash", "city": "Rome"}))
    wanted = {item.record_id: item.candidates[place].value for item in left.conflicts() if item.field == "day"}
    street = next(item for item in left.conflicts() if item.field == "address").candidates[place].value["street"]
    assert left.resolve_all(model=Person, field="day", take=take) == 3
    assert {record.id: record.day for record in others} == wanted
    assert only(left).field == "address"
    assert left.resolve_all(model=Person, take=take) == 1
    exchange(left, right)
    assert right.get(Person, pair[2].id).address == {"street": street, "city": "Pisa"}, "what did not overlap stays"
    assert (right.conflicts(), right.resolve_all(model=Person, take=take)) == ([], 0)


def test_a_function_settles_some_and_leaves_others(pair: Pair) -> None:
    left, _, mine, _ = pair
    write(pair, day=(1, 2), body=("a", "b"), address=({"street": "Oak"}, {"street": "Ash"}), odd=("ask 1", "ask 2"))

    def rule(conflict: Conflict) -> Any:
        match conflict.field:
            case "day":
                return min(conflict.candidates, key=lambda item: int(item.value))
            case "body":
                return Choice(value="both")
            case "address":
                return Choice(paths={"/street": "Fir"})
            case _:
                return None

    assert left.resolve_all(model=Person, take=rule) == 3
    assert (mine.day, mine.body, mine.address) == (1, "both", {"street": "Fir"})
    assert only(left).field == "odd"


def test_a_rule_that_fails_changes_nothing(pair: Pair) -> None:
    left, _, _, _ = pair
    write(pair, day=(1, 2), body=("a", "b"))
    before = left.conflicts()
    for rule, error in (
        (lambda conflict: 1 / 0, ZeroDivisionError),
        (lambda conflict: "latest" if conflict.field == "day" else conflict.candidates[0], InputError),
        (lambda conflict: Choice(value=None), InvalidValueError),
        (lambda conflict: before[0].candidates[0], NotACandidateError),
        ("newest", InputError),
    ):
        with pytest.raises(error):
            left.resolve_all(model=Person, take=rule)  # type: ignore[arg-type]  # wrong on purpose
        assert left.conflicts() == before


def test_a_rule_takes_as_many_transactions_as_entries_hold(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right, _, _ = pair
    monkeypatch.setattr("crdt_sync.replica.conflicts.BATCH_CONFLICTS", 2)
    others = [left.create(Person) for _ in range(5)]
    exchange(left, right)
    for record in others:
        right.get(Person, record.id).day, record.day = 1, 2
    exchange(left, right)
    assert left.resolve_all(model=Person, take="latest") == 5
    exchange(left, right)
    assert right.conflicts() == left.conflicts() == []


# ── what was settled ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_chose_what_when_over_which_is_known_to_all(pair: Pair) -> None:
    left, right, mine, theirs = pair
    write(pair, address=({"street": "Oak", "city": "Pisa"}, {"street": "Ash", "city": "Rome"}), day=(1, 2))
    address, day = left.conflicts()
    left.resolve(address, paths={"/street": "Fir"})
    theirs.day = 3  # an ordinary write settles what it saw
    exchange(left, right)
    with memory(3, Person) as third:
        exchange(third, right)  # it never saw them open
        for replica, record in ((left, mine), (right, theirs), (third, third.get(Person, mine.id))):
            late, early = replica.settled(record=record)
            assert replica.settled() == replica.settled(model=Person) == [late, early]
            found = {late.field: late, early.field: early}
            assert (found["day"].id, found["day"].candidates) == (day.id, day.candidates)
            assert (found["day"].chosen.value, found["day"].chosen.device_id) == (3, right.device_id)
            assert (found["address"].id, found["address"].paths) == (address.id, ("/street",))
            assert found["address"].chosen.value == {"street": "Fir", "city": "Pisa"}
            assert found["address"].chosen.device_id == left.device_id
            assert late.chosen.timestamp > early.chosen.timestamp > address.candidates[0].timestamp


def test_what_was_settled_outlives_the_values_and_reopening(tmp_path: Path, pair: Pair) -> None:
    left, _, mine, _ = pair
    write(pair, day=(1, 2))
    left.resolve(only(left), value=3)
    with on_disk(tmp_path, Person) as store:
        exchange(left, store)
        record = store.get(Person, mine.id)
        for number in range(30):
            record.day = 100 + number
        held = store.settled(record=record)
        assert [item.chosen.value for item in held] == [3]
    with on_disk(tmp_path, Person) as store:
        assert store.settled() == held
        store.delete(store.get(Person, mine.id))
        assert store.settled() == held


def test_as_much_is_kept_as_is_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right, _, _ = pair
    monkeypatch.setattr("crdt_sync.replica.settled.SETTLED_ROWS_MAX", 3)
    for number in range(6):
        write(pair, day=(2 * number + 10, 2 * number + 11))
        left.resolve(only(left), value=100 + number)
        exchange(left, right)
    for replica in (left, right):
        assert [item.chosen.value for item in replica.settled()] == [105, 104, 103]
    monkeypatch.setattr("crdt_sync.replica.settled.SETTLED_BYTES_MAX", 1)
    write(pair, day=(1, 2))
    left.resolve(only(left), value=3)
    assert [item.chosen.value for item in left.settled()] == [3]
