"""Records as they were, and why they are as they are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any

import pytest

from crdt_sync import Counter, List, Map, Model, Replica, Set, Text, ask, errors, first, max_, merge_with, three_way
from crdt_sync.core.clock import physical_ms
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import START_MS, Dice, memory


def _longest(base: object, values: list[str]) -> str:
    return max(values, key=lambda text: (len(text), text))


class Card(Model):
    title: str = ""
    due: int | None = ask(default=None)
    body: str = three_way(default="")
    state: str = merge_with(_longest, default="")
    who: str | None = first(default=None)
    best: int | None = max_(default=None)
    notes: Text
    votes: Counter
    tags: Set[str]
    steps: List[str]
    prefs: Map[str, int]
    days: Map[str, Annotated[int, ask()]]


class Slug(Model, key=("name",)):
    name: str
    size: int = 0


@pytest.fixture
def pair() -> Iterator[tuple[Replica, Replica]]:
    later = Dice(2, now_ms=START_MS + 50)
    with memory(1, Card, Slug) as left, memory(2, Card, Slug, dice=later) as right:
        yield left, right


def meet(left: Replica, right: Replica) -> None:
    assert exchange(left, right).proven_equal


def fill(card: Card, mark: str, number: int) -> None:
    card.title = mark
    card.due = number
    card.body = mark * 2
    card.state = mark * number
    card.best = number
    card.notes.append(mark)
    card.votes.increment(number)
    card.tags.add(mark)
    card.steps.append(mark)
    card.prefs["key"] = number
    card.days["mon"] = number


@pytest.fixture
def apart(pair: tuple[Replica, Replica]) -> tuple[Card, Card, Replica, Replica]:
    """A record that two devices wrote to at once, in every field, and that they then exchanged."""
    left, right = pair
    here = left.create(Card, title="made", due=0, body="made")
    here.due = 7
    meet(left, right)
    there = right.get(Card, here.id)
    fill(here, "a", 1)
    fill(there, "b", 2)
    meet(left, right)
    return here, there, left, right


FIELDS = list(Card.model_fields)


@pytest.mark.parametrize("field", [None, *FIELDS])
def test_explanation_is_the_same_text_on_all_devices(
    apart: tuple[Card, Card, Replica, Replica], field: str | None
) -> None:
    here, there, left, right = apart
    text = str(left.explain(here, field))
    assert text == str(right.explain(there, field)) == str(right.explain(Card, here.id, field))
    assert here.id in text
    if field not in (None, "who"):
        assert str(left.device_id) in text
        assert str(right.device_id) in text


def test_candidates_hidden_values_and_base_of_an_open_conflict(apart: tuple[Card, Card, Replica, Replica]) -> None:
    here, _, left, right = apart
    explained = left.explain(here, "due")
    assert [(cause.what, cause.value, cause.saw) for cause in explained.causes] == [
        ("shown", 2, (3, 4)),
        ("beside", 1, (3, 4)),
        ("hidden", 7, (4,)),
        ("hidden", 0, ()),
    ]
    assert explained.causes[0].device_id == right.device_id
    assert explained.causes[3].note == "as it was created"
    assert [note for note in explained.notes if "base" in note and "7" in note]
    assert [note for note in explained.notes if "open conflict over the whole value" in note]
    moment = datetime.fromtimestamp(physical_ms(explained.causes[0].timestamp or 0) / 1000, UTC)
    assert f"{moment:%Y-%m-%d %H:%M:%S}." in str(explained)


def test_plain_field_shows_the_latest_and_the_creation_that_both_hide(
    apart: tuple[Card, Card, Replica, Replica],
) -> None:
    here, _, left, _ = apart
    explained = left.explain(here, "title")
    assert [(cause.what, cause.value, cause.saw) for cause in explained.causes] == [
        ("shown", "b", (3,)),
        ("beside", "a", (3,)),
        ("hidden", "made", ()),
    ]


def test_kinds_that_add_up_name_every_part(apart: tuple[Card, Card, Replica, Replica]) -> None:
    here, _, left, _ = apart
    parts = {name: {cause.value for cause in left.explain(here, name).causes} for name in ("votes", "tags", "steps")}
    assert parts == {"votes": {1, 2}, "tags": {"a", "b"}, "steps": {"a", "b"}}
    assert sorted(cause.value for cause in left.explain(here, "notes").causes) == ["a", "b"]
    assert [cause.register for cause in left.explain(here, "days").causes] == ["days/mon", "days/mon"]
    assert [cause.what for cause in left.explain(here, "best").causes] == ["shown", "beside"]


def test_default_that_nobody_wrote(pair: tuple[Replica, Replica]) -> None:
    left, _ = pair
    card = left.create(Card)
    assert "default" in str(left.explain(card, "due"))
    assert "default" in str(left.explain(card, "who"))


def test_life_of_a_record(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    here = left.create(Card, title="x")
    meet(left, right)
    there = right.get(Card, here.id)
    assert left.explain(here).value is True
    left.delete(here)
    deleted = left.explain(here)
    assert deleted.value is False
    assert [cause.what for cause in deleted.causes] == ["created", "deleted"]
    assert "is deleted" in str(deleted)
    there.title = "kept"
    meet(left, right)
    kept = left.explain(here)
    assert (kept.value, [cause.what for cause in kept.causes]) == (True, ["created", "deleted", "edited"])
    assert str(kept) == str(right.explain(there))


def test_what_cannot_be_explained(pair: tuple[Replica, Replica]) -> None:
    left, _ = pair
    card = left.create(Card)
    with pytest.raises(errors.UnknownFieldError):
        left.explain(card, "nothing")
    wrong: Any = left.explain
    with pytest.raises(errors.InputError):
        wrong(card, "title", "title")
    with pytest.raises(errors.InputError):
        wrong(Card)


# ── at ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_record_as_it_was_after_each_write(pair: tuple[Replica, Replica]) -> None:
    left, right = pair
    card = left.create(Card, title="made")
    seen = []
    for number, mark in enumerate("abc", start=1):
        fill(card, mark, number)
        card.notes.delete(0, 1)
        card.steps.move(0, -1)
        seen.append((left.last_operation().timestamp, card.model_dump()))
    meet(left, right)
    for time, values in seen:
        then = left.at(card, time)
        assert isinstance(then, Card)
        assert then.model_dump() == values == right.at(Card, card.id, time).model_dump()
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=physical_ms(time))
        assert left.at(card, moment.astimezone(timezone(timedelta(hours=5)))).model_dump() == values


def test_what_was_is_attached_to_nothing(pair: tuple[Replica, Replica]) -> None:
    left, _ = pair
    card = left.create(Card, title="x")
    then = left.at(card, left.last_operation().timestamp)
    then.title = "changed"
    assert card.title == "x"


def test_before_it_was_made_and_while_it_was_deleted(pair: tuple[Replica, Replica]) -> None:
    left, _ = pair
    card = left.create(Card, title="x")
    made = left.last_operation().timestamp
    left.delete(card)
    deleted = left.last_operation().timestamp
    left.restore(Card, card.id)
    restored = left.last_operation().timestamp
    with pytest.raises(errors.RecordNotFoundError):
        left.at(card, made - 1)
    with pytest.raises(errors.RecordDeletedError):
        left.at(card, deleted)
    assert left.at(card, restored).title == left.at(card, made).title == "x"
    assert left.at(card, datetime(2100, 1, 1, tzinfo=UTC)).title == "x"


@pytest.mark.parametrize("time", [datetime(2026, 1, 1), "2026", -1, 1.5, None, True])  # noqa: DTZ001  that is the point
def test_what_is_no_time(pair: tuple[Replica, Replica], time: Any) -> None:
    left, _ = pair
    card = left.create(Card)
    with pytest.raises(errors.InputError):
        left.at(card, time)


# ── history ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_history_tells_of_entries_moves_texts_and_settled_conflicts(apart: tuple[Card, Card, Replica, Replica]) -> None:
    here, _, left, _ = apart
    here.steps.move(0, 1)
    del here.prefs["key"]
    here.notes.delete(0, 1)
    for conflict in left.conflicts(record=here):
        left.resolve(conflict, take=conflict.candidates[0])
    changes = [change for item in left.history(here) for change in item.changes]
    moved = [change for change in changes if change.field == "steps"][-1]
    assert moved.new == list(moved.old)[::-1]
    assert [change.new for change in changes if change.field == "prefs"][-1] == {}
    assert len([change for change in changes if change.field == "notes"][-1].new) == 1
    assert {change.field for change in changes if change.conflict == "settled"} >= {"due", "days"}
