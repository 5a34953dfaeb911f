"""Entries of which a document holds something already, because content was taken in before them.

Content is part of a document without the entries that made it: taken from a peer, or kept by a repair of a log that had
lost them. When such an entry comes after all, what it adds is there, so it cannot be judged by the document as it is.
It is judged by what the log alone makes of the document, as on every replica that never took the content in; then it is
merged, which changes nothing twice.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from crdt_sync.core.entry import EntryOperation, OperationType
from crdt_sync.core.ids import Author, DocumentKey
from crdt_sync.core.screening import Screened, screen
from crdt_sync.errors import MissingCauseError, ScreeningError
from crdt_sync.replica.ledger import CONTENT_AUTHOR

if TYPE_CHECKING:
    from crdt_sync.replica.documents import DocumentCache, Loaded

log = logging.getLogger("crdt_sync.replica")


def add_logged(loaded: Loaded, update: bytes, *, author: Author, operation: OperationType) -> Screened | None:
    """Take in an operation of the log, which was judged when it came; None where it was merged without a judgement.

    Args:
        loaded: the document, as the operations before made it.
        update: the operation's.
        author: whose; `CONTENT_AUTHOR` for content.
        operation: its type.
    """
    if author != CONTENT_AUTHOR:
        try:
            verdict = screen(update, author=author, index=loaded.index, operation=operation)
            loaded.add(update, verdict)
        except ScreeningError as error:
            if not loaded.blended or isinstance(error, MissingCauseError):
                raise
        else:
            return verdict
    loaded.add_content(update)
    return None


class LogAlone:
    """Documents as the log alone makes them, for judging the entries of one batch.

    Args:
        documents: of the replica.
    """

    def __init__(self, documents: DocumentCache) -> None:
        self._documents = documents
        self._held: dict[DocumentKey, Loaded] = {}

    def judge(
        self, operation: EntryOperation, *, author: Author, error: ScreeningError, is_first: bool
    ) -> Screened | None:
        """What an operation does to its document as the log alone makes it.

        Args:
            operation: what was refused as the document is.
            author: whose.
            error: why; raised where the document holds no content, or where it is refused here too.
            is_first: whether nothing of the batch touched the document yet.

        Returns:
            None where that cannot be told before the batch is kept.
        """
        key = operation.document
        alone = self._held.get(key)
        if alone is None:
            tail = list(self._documents.tail_of(key, after=0))
            if isinstance(error, MissingCauseError) or all(other != CONTENT_AUTHOR for other, _, _ in tail):
                raise error
            if not is_first:
                return None
            alone = self._documents.base(key)
            for other, kind, update in tail:
                if other != CONTENT_AUTHOR:
                    add_logged(alone, update, author=other, operation=kind)
            self._held[key] = alone
        return screen(operation.update, author=author, index=alone.index, operation=operation.type)

    def took(self, operation: EntryOperation, *, author: Author) -> None:
        """Bring a document forward by an operation that was taken in."""
        alone = self._held.get(operation.document)
        if alone is None:
            return
        try:
            add_logged(alone, operation.update, author=author, operation=operation.type)
        except ScreeningError as error:
            log.debug("an entry rests on content that no entry made: %s", error.message)
