"""Every error that crdt_sync raises on purpose, in one tree.

    CRDTSyncError                     .hint says what the user can do, .exit_code is the CLI's
    ├── ModelError                    the caller's models or values
    │   ├── SchemaError               a model declaration that cannot work
    │   ├── UnknownModelError         a model this replica was not opened with
    │   ├── UnknownFieldError         a field that the model does not declare
    │   ├── InvalidValueError         a value that the field's type refuses
    │   ├── UnrepresentableValueError a value that would not come back equal and of the same type
    │   └── ElementNotFoundError      what is not in a list or map, or not any more
    ├── RecordError                   the state of one record
    │   ├── RecordNotFoundError
    │   ├── RecordExistsError         a live record has this natural key, or these unique values
    │   ├── RecordDeletedError        an edit of a deleted record, without a restore
    │   └── HistoryFoldedError        what is asked about was compacted: nobody can tell any more
    ├── ConflictError
    │   ├── ConflictNotFoundError     no such conflict, or it was settled meanwhile
    │   └── NotACandidateError        resolving with something that is not in the conflict
    ├── TransactionError              a transaction that cannot be one entry
    ├── WrongThreadError              a replica used outside of its owner thread
    ├── StoreError                    the file or database underneath
    │   ├── StoreNotFoundError
    │   ├── NotAStoreError            a file that is no store
    │   ├── StoreVersionError         a store written by a newer version
    │   ├── StoreInUseError           another process has it open (.pid)
    │   ├── StoreReadOnlyError
    │   ├── StoreClosedError
    │   ├── StoreFullError            the disk is full
    │   ├── KeyFileError              the file with this device's key cannot be used (.path)
    │   └── CorruptStoreError         a row or page whose checksum does not hold
    ├── EntryError                    an entry or run that is refused (.code)
    │   ├── MalformedEntryError       bytes that are no entry
    │   ├── LimitError                larger than a constant of the space allows
    │   ├── ChainError                it does not continue its author's chain
    │   ├── SignatureError            the signature does not hold, or the signer may not author it
    │   ├── ScreeningError            an engine update that does more than an entry may
    │   │   └── MissingCauseError     one that refers to content which is not here yet
    │   ├── EngineError               the CRDT engine refused or failed on an update
    │   └── ForkError                 another entry is held at the same position
    ├── SyncError                     the exchange with a peer
    │   ├── PeerUnreachableError
    │   ├── AddressInUseError
    │   ├── ChannelClosed             the channel to the peer ended (.code, .reason)
    │   ├── HandshakeError            the two ends could not prove who they are (.code)
    │   ├── AdmissionError            the peer may not come in (open space)
    │   ├── SyncTimeoutError
    │   ├── RemoteProtocolError       the peer erred (.code of docs/spec/wire.md)
    │   └── LocalProtocolError        we erred: a call that the session's state does not allow
    └── InputError                    a command line, import file or address that cannot be read

`EntryError` and `SyncError` are about what came from others; all the rest is about what was asked for here.
"""

from __future__ import annotations

from typing import ClassVar


class CRDTSyncError(Exception):
    """Base of all errors of this package.

    Args:
        message: what went wrong, in one sentence, without secrets or record contents.
        hint: what the user can do about it; each class has a default.
    """

    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint


class ModelError(CRDTSyncError):
    """The caller's models or values are wrong."""

    exit_code = 4


class SchemaError(ModelError):
    """A model declaration that cannot work."""

    default_hint = "Correct the model's declaration; docs/reference/models.md lists what a field may be."


class UnknownModelError(ModelError):
    """A model this replica was not opened with."""

    default_hint = "Pass the model in Replica.open(models=[...]); `crdt-sync status` lists the models of a store."


class UnknownFieldError(ModelError):
    """A field that the model does not declare."""

    default_hint = "Use a declared field."


class InvalidValueError(ModelError):
    """A value that the field's type refuses. Nothing was changed."""

    default_hint = "Give a value of the declared type; nothing was changed."

    def __init__(self, message: str, *, field: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field


class UnrepresentableValueError(InvalidValueError):
    """A value that would not come back equal and of the same type. Nothing was changed."""

    default_hint = (
        "Use None, bool, int, float, str, bytes, list, tuple, dict with str keys, datetime, date, time, timedelta, "
        "Decimal, UUID or an Enum; nothing was changed."
    )


class ElementNotFoundError(InvalidValueError, IndexError, KeyError, ValueError):
    """What is not in a list or map, or not any more; also what Python raises there. Nothing was changed."""

    default_hint = "Look at the list or map again: another device may have removed the element; nothing was changed."
    __str__ = Exception.__str__  # a KeyError's would show the message as a literal


class RecordError(CRDTSyncError):
    """The state of one record does not allow the call."""

    exit_code = 3

    def __init__(self, message: str, *, model: str = "", record_id: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.model = model
        self.record_id = record_id


class RecordNotFoundError(RecordError):
    """No live record has this id."""

    default_hint = "Check the id with `find` (CLI: list); a deleted record comes back with `restore`."


class RecordExistsError(RecordError):
    """A live record has this natural key, or these unique values, already."""

    default_hint = "Update the existing record instead of creating it again."


class RecordDeletedError(RecordError):
    """An edit of a deleted record."""

    default_hint = "Restore the record first: replica.restore(Model, record_id)."


class HistoryFoldedError(RecordError):
    """What is asked about, or to be undone, was compacted here: the log does not reach back that far any more."""


class ConflictError(CRDTSyncError):
    """A conflict cannot be settled this way."""

    exit_code = 5


class ConflictNotFoundError(ConflictError):
    """No such conflict, or it was settled meanwhile."""

    default_hint = "List the open conflicts again; this one may have been settled on another device."


class NotACandidateError(ConflictError):
    """The chosen candidate is not in the conflict."""

    default_hint = "Take one of conflict.candidates, or give value=... ."


class TransactionError(CRDTSyncError):
    """A transaction that cannot be one entry."""

    exit_code = 4
    default_hint = "Split the work into several transactions."


class WrongThreadError(CRDTSyncError):
    """A replica was used outside of the thread that opened it."""

    default_hint = "Use a replica only in the thread that opened it; other threads open it with read_only=True."


class StoreError(CRDTSyncError):
    """The store underneath cannot do what was asked."""

    exit_code = 6


class StoreNotFoundError(StoreError):
    """There is no store at this path."""

    default_hint = "Make one with `crdt-sync init PATH`, or check the path."


class NotAStoreError(StoreError):
    """The file at this path is no crdt_sync store."""

    default_hint = "Choose another path; the file was left as it is."


class StoreVersionError(StoreError):
    """The store was written by a newer version of crdt_sync."""

    default_hint = "Update crdt_sync; the store was left as it is."


class StoreInUseError(StoreError):
    """Another process has the store open for writing."""

    exit_code = 7
    default_hint = "Close the other process, or open with read_only=True."

    def __init__(self, message: str, *, pid: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class StoreReadOnlyError(StoreError):
    """A write through a replica that was opened read-only, or a store on a read-only file system."""

    default_hint = "Open the store without read_only=True."


class StoreClosedError(StoreError):
    """The replica was closed."""

    default_hint = "Open the store again with Replica.open."


class StoreFullError(StoreError):
    """The disk is full. The transaction was rolled back."""

    default_hint = "Free some space and try again; the store holds everything that was acknowledged."


class KeyFileError(StoreError):
    """The file with this device's key is missing, damaged, or readable by others."""

    default_hint = "Restore the file from a backup, or remove it to go on as a new device."

    def __init__(self, message: str, *, path: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


class CorruptStoreError(StoreError):
    """A row or page whose checksum does not hold."""

    exit_code = 10
    default_hint = "Run `crdt-sync check` to see what is affected, and `crdt-sync repair` to mend it."

    def __init__(self, message: str, *, table: str = "", key: bytes = b"", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.table = table
        self.key = key


class EntryError(CRDTSyncError):
    """An entry, run or space record that is refused; nothing of it was applied."""

    exit_code = 9
    code: ClassVar[str] = "invalid"
    default_hint = "The sender made it wrong or it was changed on its way; the sender's log names it."


class MalformedEntryError(EntryError):
    """Bytes that are no entry, run or space record."""

    code = "malformed"


class LimitError(EntryError):
    """Larger than a constant of the space allows."""

    code = "too_large"
    default_hint = "Split the change into smaller transactions; docs/spec/storage.md lists the limits."


class ChainError(EntryError):
    """It does not continue its author's chain."""

    code = "chain"


class SignatureError(EntryError):
    """The signature does not hold, or its device may not author this."""

    code = "signature"


class ScreeningError(EntryError):
    """An engine update that does more than an entry may do."""

    code = "screening"


class MissingCauseError(ScreeningError):
    """An engine update that refers to content which is not here (yet); it can be judged once that has come."""

    code = "missing_cause"


class EngineError(EntryError):
    """The CRDT engine refused an update, or failed on it; the document was dropped and is rebuilt from the log."""

    code = "engine"


class ForkError(EntryError):
    """Another entry is held at the same position of this author's chain."""

    code = "forked"
    default_hint = "A restored backup or a copied store wrote under one author; the owning device settles it."


class SyncError(CRDTSyncError):
    """The exchange with a peer failed; nothing acknowledged is lost and a later round goes on."""

    exit_code = 8


class PeerUnreachableError(SyncError):
    """Nothing answers at this address."""

    default_hint = "Check the address and that the peer runs `crdt-sync serve`; changes stay queued meanwhile."


class AddressInUseError(SyncError):
    """The port is taken."""

    default_hint = "Choose another port, or 0 to have a free one picked."


class ChannelClosed(SyncError):  # noqa: N818  (the ordinary end of a channel, as StopIteration is one of an iterator)
    """The channel to the peer ended: ``code`` of RFC 6455 section 7.4 (1006 without one), ``reason`` of 123 bytes."""

    default_hint = "Connect again; what was acknowledged is kept and the rest is sent then."

    def __init__(self, message: str, *, code: int, reason: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.reason = reason


class HandshakeError(SyncError):
    """The two ends could not prove who they are; ``code`` is the value of a `HandshakeCode`."""

    exit_code = 9
    default_hint = "docs/spec/handshake.md explains each code and what to do next."

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class AdmissionError(SyncError):
    """The peer may not come in."""

    default_hint = "Start the server with --open (open_space=True) to admit devices from other machines."


class SyncTimeoutError(SyncError):
    """The peer did not answer in time."""

    default_hint = "Try again, or raise the timeout; what was acknowledged is kept."


class RemoteProtocolError(SyncError):
    """The peer broke the protocol or reported an error."""

    exit_code = 9
    default_hint = "docs/spec/wire.md explains each code and what to do next."

    def __init__(
        self, message: str, *, code: str = "", retry_after_s: float | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.retry_after_s = retry_after_s


class LocalProtocolError(SyncError):
    """A call on a session that its state does not allow."""

    exit_code = 9
    default_hint = "This is a mistake in the code that drives the session; docs/spec/wire.md draws the states."


class InputError(CRDTSyncError):
    """A command line, import file or address that cannot be read."""

    exit_code = 2
    default_hint = "Give what the text asks for; nothing was changed."
