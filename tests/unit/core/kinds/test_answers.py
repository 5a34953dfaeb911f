"""Merges that are kept for the next reading: which question, how many bytes."""

from __future__ import annotations

from crdt_sync.core.kinds.answers import ANSWERS_BYTES_MAX, Answers
from crdt_sync.core.merging import Merged


def test_a_question_is_asked_once_and_the_order_of_its_parts_counts() -> None:
    answers, asked = Answers(), list[str]()

    def ask(name: str, *question: bytes) -> Merged:
        def make() -> Merged:
            asked.append(name)
            return Merged(data=name.encode(), paths=())

        return answers.get(question, make)

    assert ask("one", b"a", b"bc") == ask("again", b"a", b"bc")
    assert asked == ["one"]
    ask("other order", b"bc", b"a")
    ask("other parts", b"ab", b"c")
    assert asked == ["one", "other order", "other parts"]


def test_a_field_keeps_no_more_bytes_than_its_bound() -> None:
    answers, made = Answers(), list[int]()
    size = ANSWERS_BYTES_MAX // 4

    def ask(number: int, size: int = size) -> None:
        def make() -> Merged:
            made.append(number)
            return Merged(data=bytes(size), paths=("/p",))

        answers.get((bytes([number]),), make)

    for number in range(12):
        ask(number)
        ask(number)
        assert answers._bytes <= ANSWERS_BYTES_MAX
        assert len(answers._kept) <= 4
    assert made == list(range(12))
    for _ in range(2):
        ask(99, ANSWERS_BYTES_MAX + 1)
    assert made[-2:] == [99, 99]
    assert answers._bytes == 0
