"""Models whose data can be of one size for good, for the soak."""

from __future__ import annotations

from crdt_sync import Counter, Model, Set, Text, ask


class Reading(Model):
    """One plain field alone, written over and over by everybody: nothing is kept of the values before."""

    value: str = ""


class Tally(Model):
    """A counter alone."""

    votes: Counter


class Note(Model):
    """Lives for a while and is deleted: of fields like these some bytes of every edit stay for as long as it lives."""

    title: str = ""
    state: str = ask(default="")
    text: Text
    tags: Set[str]


MODELS: list[type[Model]] = [Reading, Tally, Note]
