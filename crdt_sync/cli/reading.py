"""Files that are imported, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from blake3 import blake3

from crdt_sync.cli.actions.transfer import Line
from crdt_sync.core.ids import natural_record_id
from crdt_sync.errors import InputError

LINE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A line is applied as one transaction at least, and an entry holds no more than this."""


@dataclass(slots=True)
class Reader:
    """Reads lines of a file with a running digest of all that was read."""

    file: BinaryIO
    number: int = 0
    offset_bytes: int = 0
    digest: blake3 = field(default_factory=blake3)
    line_digest: bytes = b""
    """of the file up to the end of the last line that was given"""
    started: bool = False
    """whether a text was read, at whose beginning a byte order mark may be"""

    def header(self) -> tuple[str, ...]:
        """The names of the columns; none where each line names its fields."""
        return ()

    def lines(self) -> Iterator[Line]:
        """The lines that are not blank; each gets the id that its record has if it brings none."""
        for data in self.raw_lines():
            text = self.text(data).strip()
            if text:
                yield self.line(text)

    def raw_lines(self) -> Iterator[bytes]:
        """The lines as they are."""
        while True:
            data = self.file.readline(LINE_BYTES_MAX + 1)
            if not data:
                return
            self.number += 1
            self.offset_bytes += len(data)
            if len(data) > LINE_BYTES_MAX:
                raise InputError(f"line {self.number}: longer than {LINE_BYTES_MAX} bytes", hint="Is it JSON Lines?")
            self.digest.update(data)
            yield data

    def text(self, data: bytes) -> str:
        """A line as text."""
        encoding, self.started = "utf-8" if self.started else "utf-8-sig", True
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            raise InputError(f"line {self.number}: not UTF-8", hint="Convert the file to UTF-8.") from None

    def line(self, text: str) -> Line:
        """The line that was just read."""
        self.line_digest = self.digest.digest()
        return Line(number=self.number, text=text, record_id=natural_record_id("import", self.line_digest))

    def skip_to(self, number: int) -> str:
        """Read up to a line; gives the digest there."""
        self.started = self.started or number > 0
        while self.number < number:
            data = self.file.readline(LINE_BYTES_MAX + 1)
            if not data:
                return ""
            self.number += 1
            self.offset_bytes += len(data)
            self.digest.update(data)
        return self.digest.hexdigest()
