"""CSV files: rows as lines of an import, and the writing of rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Final

from crdt_sync.cli.actions.transfer import Line
from crdt_sync.cli.reading import LINE_BYTES_MAX, Reader
from crdt_sync.errors import InputError

_BREAKS: Final = "\r\n"
_QUOTE: Final = b'"'


def row_text(cells: Sequence[str]) -> str:
    """A row as a line of CSV. A cell with a line break of any kind is quoted, so that it comes back as it is."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator=_BREAKS).writerow(cells)  # what ends lines is what it quotes
    return line.getvalue().removesuffix(_BREAKS) + "\n"


class RowReader(Reader):
    """Reads the rows of a CSV file, which may go over several lines; the first one names the columns."""

    def header(self) -> tuple[str, ...]:
        """Read the names of the columns."""
        for cells in self._rows():
            return tuple(cell.strip() for cell in cells)
        return ()

    def lines(self) -> Iterator[Line]:
        """The rows that are not blank, each as a JSON list of its cells."""
        return (self.line(json.dumps(cells)) for cells in self._rows())

    def _rows(self) -> Iterator[list[str]]:
        csv.field_size_limit(LINE_BYTES_MAX)
        data = b""
        for part in self.raw_lines():
            data += part
            if len(data) > LINE_BYTES_MAX:
                raise InputError(f"line {self.number}: a row of more than {LINE_BYTES_MAX} bytes", hint="Is it CSV?")
            if data.count(_QUOTE) % 2:
                continue  # a quoted cell goes on in the next line
            text, data = self.text(data), b""
            if text.strip():
                yield self._cells(text)
        if data:
            raise InputError(f"line {self.number}: a quoted cell does not end", hint="Quotes in a cell are doubled.")

    def _cells(self, text: str) -> list[str]:
        try:
            return next(csv.reader([text], strict=True))
        except (csv.Error, StopIteration) as error:
            raise InputError(
                f"line {self.number}: no row of CSV: {error}", hint="Quotes in a cell are doubled."
            ) from None
