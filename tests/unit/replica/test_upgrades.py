"""An app's upgrade function reads what older versions wrote, alike everywhere, and writes nothing."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import create_model

from crdt_sync import Counter, Model, ask, field
from crdt_sync.errors import SchemaError
from crdt_sync.replica.checking import check_store
from crdt_sync.storage.sqlite import open_sqlite
from crdt_sync.testing.exchange import exchange
from crdt_sync.testing.upgrades import check_upgrade
from tests.unit.replica.devices import memory, on_disk, picture


class OldPerson(Model):
    first: str = ""
    last: str = ""
    born: str = ""
    urgency: str = ask(default="low")
    visits: Counter


class NewPerson(Model):
    name: str = ""
    birthday: date | None = field(default=None, renamed_from="born")
    urgency: int = ask(default=0)
    visits: Counter

    @classmethod
    def __upgrade__(cls, values: dict[str, Any]) -> dict[str, Any]:
        if "name" not in values and "last" in values:
            values["name"] = f"{values['first']} {values['last']}"
        if isinstance(values.get("born"), str):
            values["born"] = date.fromisoformat(values["born"]) if values["born"] else None
        if isinstance(values.get("urgency"), str):
            values["urgency"] = {"low": 0, "high": 2}[values["urgency"]]
        return values


Old: Any = create_model("Person", __base__=OldPerson)
New: Any = create_model("Person", __base__=NewPerson, __cls_kwargs__={"version": 2})


def test_both_versions_read_and_write_one_record() -> None:
    with memory(0, Old) as old, memory(1, New) as new:
        person: Any = old.create(Old, first="Ada", last="L", born="1815-12-10", urgency="high", visits=2)
        exchange(old, new)
        before = picture(new)
        shown: Any = new.get(New, person.id)
        upgraded = {"name": "Ada L", "birthday": date(1815, 12, 10), "urgency": 2, "visits": 2}
        assert dict(shown) == upgraded
        assert (shown.name, shown.birthday, shown.urgency, shown.visits) == tuple(upgraded.values())
        assert new.find(New, name="Ada L", birthday__lt=date(1900, 1, 1), urgency=2) == [shown]
        assert picture(new) == before
        shown.name = "Ada Lovelace"
        person.urgency = "low"
        person.visits.increment()
        exchange(old, new)
        assert dict(shown) == upgraded | {"name": "Ada Lovelace", "urgency": 0, "visits": 3}
        assert (person.first, person.last, person.born) == ("Ada", "L", "1815-12-10")
        shown.urgency = 2
        person.urgency = "high"
        assert exchange(old, new).proven_equal
        (mine,), (theirs,) = new.conflicts(), old.conflicts()
        assert mine == theirs
        assert {item.value for item in mine.candidates} == {2, "high"}


def test_tables_are_made_anew_with_the_function(tmp_path: Path) -> None:
    with on_disk(tmp_path, Old) as replica:
        person: Any = replica.create(Old, first="Ada", last="L")
    with on_disk(tmp_path, New, seed=1) as replica:
        assert [item.id for item in replica.find(New, name="Ada L")] == [person.id]
    with open_sqlite(tmp_path / "a.db", create=False, read_only=True) as store:
        assert check_store(store).total == 0


def failing(values: dict[str, Any]) -> Any:
    raise KeyError(next(iter(values)))


def answering_nothing(values: dict[str, Any]) -> Any:
    del values


@pytest.mark.parametrize(("function", "said"), [(failing, "raised KeyError"), (answering_nothing, "gave a NoneType")])
def test_where_it_fails_values_are_as_stored_and_it_is_said_once(
    function: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Task(Model):
        title: str = ""
        size: int = 1

        @classmethod
        def __upgrade__(cls, values: dict[str, Any]) -> dict[str, Any]:
            answer: dict[str, Any] = function(values)
            return answer

    with memory(0, Task) as replica, caplog.at_level(logging.WARNING, logger="crdt_sync.models"):
        task = replica.create(Task, title="t")
        assert (task.title, task.size) == ("t", 1)
        task.title = "u"
        assert replica.find(Task, title="u") == [task]
    assert [said in record.message for record in caplog.records] == [True]


def made(function: Any) -> Any:
    return create_model("Made", __base__=type("Base", (Model,), {"__upgrade__": classmethod(function)}), n=(int, 0))


def test_kit_passes_a_good_function() -> None:
    check_upgrade(New, [{"first": "a", "last": "b", "born": "", "urgency": "low"}, {"name": "n", "urgency": 2}, {}])


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda _, values: {"n": values["n"] + 1}, "changes what it has given"),
        (lambda _, values: {"n": object()}, "cannot be stored"),
        (lambda _, values: failing(values), "raised KeyError"),
        (lambda _, values: None, "not a dict"),
    ],
)
def test_kit_says_what_is_wrong(function: Any, said: str) -> None:
    with pytest.raises(SchemaError, match=f"example 1: .*{said}"):
        check_upgrade(made(function), [{"n": 1}])


def test_kit_finds_an_answer_that_changes() -> None:
    answers = iter(range(9))
    with pytest.raises(SchemaError, match="another answer each time"):
        check_upgrade(made(lambda _, values: {"n": next(answers)}), [{"n": 1}])


def test_kit_wants_a_function() -> None:
    with pytest.raises(SchemaError, match="has no upgrade function"):
        check_upgrade(Old, [])
