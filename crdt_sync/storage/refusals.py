"""What every store refuses, in the same words."""

from __future__ import annotations

from crdt_sync.errors import InvalidValueError, TransactionError


def nested() -> TransactionError:
    """A transaction within a transaction."""
    return TransactionError("a transaction is open already", hint="End it first; transactions of a store do not nest.")


def failed() -> TransactionError:
    """To go on with a transaction after a write of it failed, or to commit it."""
    return TransactionError(
        "a write of this transaction had failed, so all of it is rolled back",
        hint="Let the error of a write end the transaction, and do the whole of it again.",
    )


def outside() -> TransactionError:
    """A write outside of a transaction."""
    return TransactionError("a write outside of a transaction", hint="Use `with store.transaction():`.")


def within(what: str) -> TransactionError:
    """What needs the whole store, within a transaction."""
    return TransactionError(f"{what} within a transaction", hint="End the transaction first.")


def wrong_row(view: str, *, values: int) -> InvalidValueError:
    """A row of another shape than its view."""
    return InvalidValueError(f"a row of {view} is an id (str) and {values} values")


def lone_surrogates(view: str, error: UnicodeEncodeError) -> InvalidValueError:
    """A row with text that is no Unicode."""
    return InvalidValueError(f"{view} cannot keep text with lone surrogates: {error}")
