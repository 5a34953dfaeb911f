"""What changed from one text to another."""

from __future__ import annotations

from crdt_sync.cli.differences import differences


def told(old: str, new: str) -> list[str]:
    """Lines with what changed in them between brackets."""
    lines = differences(old, new)
    assert lines is not None
    return [
        line.sign + "".join(f"[{piece.text}]" if piece.is_changed else piece.text for piece in line.pieces)
        for line in lines
    ]


def test_words_are_marked_in_lines_that_stay_much_the_same() -> None:
    assert told("a\nwater the plants today\nc", "a\nwater all plants today\nc") == [
        " a",
        "-water [the] plants today",
        "+water [all] plants today",
        " c",
    ]


def test_lines_that_have_nothing_in_common_are_other_lines() -> None:
    assert told("one", "something else entirely") == ["-one", "+something else entirely"]
    assert told("a\nb", "a") == [" a", "-b"]
    assert told("same", "same") == []


def test_places_far_apart_are_told_apart() -> None:
    lines = [str(number) for number in range(50)]
    changed = [*lines]
    changed[10], changed[40] = "x", "y"
    found = told("\n".join(lines), "\n".join(changed))
    assert [line for line in found if line[0] == "@"] == ["@lines 10 to 12", "@lines 40 to 42"]


def test_texts_that_take_too_long_are_not_compared() -> None:
    assert differences("a\n" * 3_000, "b") is None
    long = "word " * 1_000
    assert told(long, long + "more") == [f"-{long}", f"+{long}more"]
