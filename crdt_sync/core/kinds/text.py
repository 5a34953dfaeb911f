"""Texts: merged character by character, with attributes for formatting; indices count code points."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from crdt_sync.core.content import Content
from crdt_sync.core.kinds.base import Attribute, Cut, FieldHost, FieldKind, Insert, Mark, TextRun, Write, WriteContext
from crdt_sync.core.limits import ENTRY_LIMITS, TEXT_INSERT_CHARS_MAX
from crdt_sync.core.update import FORMAT_CHARS_MAX
from crdt_sync.errors import InvalidValueError, LimitError, UnrepresentableValueError

_DIFF_CHARS_MAX = 2_000
"""Longer changed middles are replaced as one piece: difflib is quadratic."""


class Text:
    """A live text. Edits made at once on several devices are merged, none is lost."""

    __slots__ = ("_host", "_kind")

    def __init__(self, kind: TextKind, host: FieldHost) -> None:
        self._kind = kind
        self._host = host

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A text is validated as a str; without a value it is empty."""
        return core_schema.with_default_schema(core_schema.str_schema(), default="")

    def insert(self, index: int, text: str, attributes: Mapping[str, Attribute] | None = None) -> None:
        """Insert ``text`` before the code point at ``index`` (0 to len).

        Args:
            index: where.
            text: what.
            attributes: exactly those it has, as name → value; None takes on those of the text in front of it.

        Raises:
            InvalidValueError: the index is outside of the text, or an attribute cannot be; nothing was changed.
        """
        checked = self._kind.validate(text)
        given = None if attributes is None else self._kind.check_attributes(attributes)
        self._host.edit(lambda content, _: self._kind.insertion(content, index, checked, attributes=given))

    def format(self, index: int, count: int, /, **attributes: Attribute) -> None:
        """Give ``count`` code points from ``index`` on attributes: None, bool, int or str; None takes one away.

        Of two devices that give one piece different values of an attribute at once, one value stays, the same one
        everywhere.

        Raises:
            InvalidValueError: the range is outside of the text, or an attribute cannot be; nothing was changed.
        """
        given = self._kind.check_attributes(attributes)
        runs = self._host.runs()
        self._host.edit(lambda content, _: self._kind.formatting(content, index, count, attributes=given, runs=runs))

    def runs(self) -> list[TextRun]:
        """The text in pieces of equal attributes, as few as there can be: ``[("bold", {"b": True}), (" not", {})]``."""
        return self._host.runs()

    def append(self, text: str) -> None:
        """Insert ``text`` at the end."""
        checked = self._kind.validate(text)
        self._host.edit(lambda content, _: self._kind.insertion(content, len(self._kind.read(content)), checked))

    def delete(self, index: int, count: int = 1) -> None:
        """Delete ``count`` code points from ``index`` on.

        Raises:
            InvalidValueError: the range is outside of the text; nothing was changed.
        """
        self._host.edit(lambda content, _: self._kind.deletion(content, index, count))

    def replace(self, text: str) -> None:
        """Make the text equal to ``text`` with as few edits as a diff finds, so that concurrent edits merge well."""
        checked = self._kind.validate(text)
        self._host.edit(lambda content, context: self._kind.assign(content, checked, context=context))

    def __str__(self) -> str:
        return self._kind.read(self._host.content())

    def __len__(self) -> int:
        return len(str(self))

    def __contains__(self, part: str) -> bool:
        return part in str(self)

    def __getitem__(self, index: int | slice) -> str:
        return str(self)[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Text | str):
            return str(self) == str(other)
        return NotImplemented

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"Text({str(self)!r})"


class TextKind(FieldKind):
    """One text root of the document."""

    def read(self, content: Content) -> str:
        return content.texts.get(self.stored, "")

    def live(self, host: FieldHost) -> Text:
        return Text(self, host)

    def validate(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise InvalidValueError(f"field {self.name!r}: a text takes a str", field=self.name)
        if len(value) > TEXT_INSERT_CHARS_MAX:
            raise LimitError(f"field {self.name!r}: at most {TEXT_INSERT_CHARS_MAX} characters can be inserted at once")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UnrepresentableValueError(f"field {self.name!r}: not valid Unicode", field=self.name) from None
        return value

    def empty(self) -> str:
        return ""

    def plain(self, value: Any) -> Any:
        return str(value) if isinstance(value, Text) else value

    def create(self, value: Any, *, context: WriteContext) -> list[Write]:
        return [Insert(self.stored, 0, value)] if value else []

    def insertion(
        self, content: Content, index: int, text: str, *, attributes: Mapping[str, Attribute] | None = None
    ) -> list[Write]:
        """The writes of one insertion."""
        self._check_range(content, index, 0)
        if attributes is not None:
            attributes = {name: value for name, value in attributes.items() if value is not None}
        return [Insert(self.stored, index, text, attributes)] if text else []

    def formatting(
        self, content: Content, index: int, count: int, *, attributes: Mapping[str, Attribute], runs: list[TextRun]
    ) -> list[Write]:
        """The writes that give a piece attributes, where it has others; ``runs`` is the text as it is."""
        self._check_range(content, index, count)
        wanted: dict[str, Attribute] = {}
        start = 0
        for text, held in runs:
            if start < index + count and index < start + len(text):
                differing = ((name, value) for name, value in attributes.items() if not _same(held.get(name), value))
                wanted.update(differing)
            start += len(text)
        return [Mark(self.stored, index, count, {name: wanted[name]}) for name in sorted(wanted)] if count else []

    def check_attributes(self, attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
        """Check names and values of attributes.

        Raises:
            InvalidValueError: no dict; a name that is no ASCII identifier, or a value that every device could not read
                alike.
        """
        if not isinstance(attributes, Mapping):
            raise InvalidValueError(
                f"field {self.name!r}: attributes are a dict, name → value, not a {type(attributes).__name__}",
                field=self.name,
                hint='Write {"bold": True}; nothing was changed.',
            )
        for name, value in attributes.items():
            if type(name) is not str or not _is_field_name(name):
                raise InvalidValueError(
                    f"field {self.name!r}: an attribute is named by an ASCII identifier of at most "
                    f"{ENTRY_LIMITS.name_bytes_max} characters",
                    field=self.name,
                )
            if not _is_attribute(value):
                raise InvalidValueError(
                    f"field {self.name!r}: attribute {name!r} is None, a bool, an int below 2**53 or a short str",
                    field=self.name,
                )
        return dict(attributes)

    def deletion(self, content: Content, index: int, count: int) -> list[Write]:
        """The writes of one deletion."""
        self._check_range(content, index, count)
        return [Cut(self.stored, index, count)] if count else []

    def assign(self, content: Content, value: Any, *, context: WriteContext) -> list[Write]:
        old, new = self.read(content), str(value)
        start = _common_prefix(old, new)
        tail = _common_prefix(old[start:][::-1], new[start:][::-1])
        old_middle, new_middle = old[start : len(old) - tail], new[start : len(new) - tail]
        if max(len(old_middle), len(new_middle)) > _DIFF_CHARS_MAX:
            return [*self._swap(start, len(old_middle), new_middle)]
        matcher = difflib.SequenceMatcher(a=old_middle, b=new_middle, autojunk=False)
        writes: list[Write] = []
        for tag, old_from, old_to, new_from, new_to in reversed(matcher.get_opcodes()):  # from the end: indices hold
            if tag != "equal":
                writes.extend(self._swap(start + old_from, old_to - old_from, new_middle[new_from:new_to]))
        return writes

    def _swap(self, index: int, count: int, text: str) -> list[Write]:
        writes: list[Write] = [Cut(self.stored, index, count)] if count else []
        return [*writes, Insert(self.stored, index, text)] if text else writes

    def _check_range(self, content: Content, index: int, count: int) -> None:
        if type(index) is not int or type(count) is not int:
            raise InvalidValueError(f"field {self.name!r}: positions in a text are ints", field=self.name)
        length = len(self.read(content))
        if index < 0 or count < 0 or index + count > length:
            raise InvalidValueError(
                f"field {self.name!r}: position {index} (+{count}) is outside of a text of {length}", field=self.name
            )


def _same(held: Attribute, value: Attribute) -> bool:
    return type(held) is type(value) and held == value


def _is_field_name(name: str) -> bool:
    return name.isascii() and name.isidentifier() and len(name) <= ENTRY_LIMITS.name_bytes_max


def _is_attribute(value: object) -> bool:
    if type(value) is int:
        return abs(value) < 2**53
    if type(value) is not str:
        return value is None or type(value) is bool
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return len(json.dumps(value, ensure_ascii=False)) <= FORMAT_CHARS_MAX


def _common_prefix(left: str, right: str) -> int:
    """Length of the common prefix, by bisection (slices compare at memory speed)."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
