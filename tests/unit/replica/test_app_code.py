"""Code of an app that fails while values are read, of whatever it makes nothing: the values are shown as stored."""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BeforeValidator, create_model

from crdt_sync import List, Map, Model, Set, ask, max_, three_way
from crdt_sync.errors import InvalidValueError
from crdt_sync.testing.exchange import exchange
from tests.unit.replica.devices import memory, on_disk


class Mood(Enum):
    CALM = "calm"

    @classmethod
    def _missing_(cls, value: object) -> Mood:
        return {"wild": cls.CALM}[str(value)]


def _deep(value: Any) -> Any:
    return _deep([value])


def _city(value: dict[str, str]) -> dict[str, str]:
    return {"city": value["city"]}


class Upper:
    """A type of the app's own, whose validator fails as its author did not think of."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return handler.generate_schema(Annotated[Any, BeforeValidator(str.upper)])


FAILING: list[tuple[Any, Any]] = [
    (Annotated[str, BeforeValidator(str.strip)] | None, 12),
    (Annotated[Any, BeforeValidator(_deep)] | None, "x"),
    (Annotated[dict[str, str], AfterValidator(_city)] | None, {"street": "x"}),
    (Annotated[int, AfterValidator(lambda number: 1 // number)] | None, 0),
    (Annotated[str, AfterValidator(lambda text: text.nothing)] | None, "x"),
    (Mood | None, "angry"),
    (Upper | None, 5),
    (Path | None, "x"),
    (Annotated[Any, AfterValidator(lambda text: object())] | None, "x"),
    (Annotated[Any, AfterValidator(lambda text: "\ud800")] | None, "x"),
]
"""Annotations of a field with a value that another version of the app wrote."""


def _models(annotation: Any, declare: Any) -> tuple[Any, Any]:
    def model(value_type: Any) -> Any:
        default = declare(default=None) if declare is not None else None
        fields: dict[str, Any] = {"value": (value_type, default), "title": (str, "")}
        return create_model("Task", __base__=Model, **fields)

    return model(Any), model(annotation)


@pytest.mark.parametrize(("annotation", "value"), FAILING)
@pytest.mark.parametrize("declare", [None, ask, three_way])
def test_what_fails_while_reading_shows_what_is_stored(
    annotation: Any, value: Any, declare: Any, caplog: pytest.LogCaptureFixture
) -> None:
    old_model, new_model = _models(annotation, declare)
    with memory(0, old_model) as old, memory(1, new_model) as new, caplog.at_level(logging.WARNING):
        fine = new.create(new_model, title="fine")
        task = old.create(old_model, value=value)
        assert exchange(old, new).proven_equal
        shown: Any = new.get(new_model, task.id)
        assert dict(shown) == {"value": value, "title": ""}
        assert {item.id for item in new.find(new_model)} == {fine.id, task.id}
        assert [(item.field, item.raw) for item in new.invalid()] == [("value", value)]
        said = [record.getMessage() for record in caplog.records if record.name == "crdt_sync.models"]
        assert len(said) == 1, said
        assert "'value'" in said[0]
        shown.title = "another field"
        shown.value = None
        assert not list(new.invalid())


@pytest.mark.parametrize(("annotation", "value"), FAILING)
def test_what_fails_in_elements_and_entries_shows_what_is_stored(annotation: Any, value: Any) -> None:
    def model(value_type: Any) -> Any:
        fields: dict[str, Any] = {"steps": (List[value_type], ...), "prefs": (Map[str, value_type], ...)}
        if not isinstance(value, dict):
            fields["tags"] = (Set[value_type], ...)
        return create_model("Task", __base__=Model, **fields)

    given: dict[str, Any] = {"steps": [value], "prefs": {"p": value}}
    if not isinstance(value, dict):
        given["tags"] = {value}
    old_model, new_model = model(Any), model(annotation)
    with memory(0, old_model) as old, memory(1, new_model) as new:
        task = old.create(old_model, **given)
        assert exchange(old, new).proven_equal
        shown: Any = new.get(new_model, task.id)
        assert {name: type(given[name])(getattr(shown, name)) for name in given} == given
        assert {item.field for item in new.invalid(shown)} == given.keys()


def test_a_store_opens_after_an_update_of_the_app(tmp_path: Path) -> None:
    old_model, new_model = _models(Mood | None, None)
    with on_disk(tmp_path, old_model) as replica:
        replica.create(old_model, value="angry")
    with on_disk(tmp_path, new_model) as replica:
        assert [item.raw for item in replica.invalid()] == ["angry"]


@pytest.mark.parametrize(("annotation", "value"), FAILING[:7])
def test_what_fails_while_writing_is_an_invalid_value(annotation: Any, value: Any) -> None:
    """The error names the field and has the app's own as its cause."""
    fields: dict[str, Any] = {
        "value": (annotation, None),
        "steps": (List[annotation], ...),
        "prefs": (Map[str, annotation], ...),
    }
    model: Any = create_model("Task", __base__=Model, **fields)

    def refused(write: Any, field: str) -> None:
        with pytest.raises(InvalidValueError) as caught:
            write()
        assert caught.value.field == field
        assert caught.value.__cause__ is not None

    with memory(0, model) as replica:
        refused(lambda: replica.create(model, value=value), "value")
        refused(lambda: replica.create(model, steps=[value]), "steps")
        task: Any = replica.create(model)
        refused(lambda: setattr(task, "value", value), "value")
        refused(lambda: replica.update(task, value=value, steps=[]), "value")
        refused(lambda: task.steps.append(value), "steps")
        refused(lambda: task.prefs.update(p=value), "prefs")
        assert dict(task) == {"value": None, "steps": [], "prefs": {}}


def test_elements_of_sets_and_greatest_values_are_refused_too() -> None:
    text = Annotated[str, BeforeValidator(str.strip)]
    fields: dict[str, Any] = {"tags": (Set[text], ...), "best": (text, max_(default=""))}
    model: Any = create_model("Task", __base__=Model, **fields)
    with memory(0, model) as replica:
        task: Any = replica.create(model)
        for write in (lambda: task.tags.add(5), lambda: replica.update(task, best=5), lambda: task.tags.discard(5)):
            with pytest.raises(InvalidValueError):
                write()


def test_what_fails_in_a_query_is_an_invalid_value() -> None:
    model: Any = _models(Mood | None, None)[1]
    with memory(0, model) as replica, pytest.raises(InvalidValueError) as caught:
        replica.find(model, value="angry")
    assert (caught.value.field, type(caught.value.__cause__)) == ("value", KeyError)


def test_errors_of_this_package_pass_as_they_are() -> None:
    """What a validator says in the package's own words needs no other words."""

    def refuse(value: str) -> str:
        raise InvalidValueError("not this one", field="other")

    model: Any = create_model("Task", __base__=Model, value=(Annotated[str, AfterValidator(refuse)], ""))
    with memory(0, model) as replica, pytest.raises(InvalidValueError, match="not this one"):
        replica.create(model, value="x")
