"""Documents of several writers that exchange whatever they have, for testing one field at a time."""

from __future__ import annotations

from crdt_sync.core.content import Content, parse_content, write_creation
from crdt_sync.core.document import Document
from crdt_sync.core.ids import Author
from crdt_sync.core.index import DocumentIndex
from crdt_sync.core.kinds import Put, Write, WriteContext
from crdt_sync.core.layout import KeyClass, map_key


class Site:
    """One writer's copy of one document."""

    def __init__(self, author: int, *, texts: tuple[str, ...] = ()) -> None:
        self.author = Author(author)
        self.document = Document(self.author)
        self._texts = texts

    def create(self, hlc: int, **values: object) -> None:
        self.write([Put(map_key(KeyClass.CREATION, self.author), write_creation(hlc, values))])

    def write(self, writes: list[Write]) -> None:
        if writes:
            self.document.edit(writes)

    def at(self, hlc: int) -> WriteContext:
        return WriteContext(author=self.author, hlc=hlc)

    def content(self) -> Content:
        texts = {field: self.document.text(field) for field in self._texts}
        vector = DocumentIndex.from_update(self.document.encode()).state_vector
        return parse_content(self.document.cells(), texts, vector)

    def take(self, other: Site) -> None:
        self.document.apply(other.document.encode())


def trio(*, texts: tuple[str, ...] = (), **values: object) -> tuple[Site, Site, Site]:
    """Three writers with one record."""
    sites = Site(1, texts=texts), Site(2, texts=texts), Site(3, texts=texts)
    sites[0].create(1, **values)
    meet(*sites)
    return sites


def meet(*sites: Site) -> None:
    """Everybody gets everything."""
    for _ in range(2):
        for site in sites:
            for other in sites:
                if other is not site:
                    site.take(other)
