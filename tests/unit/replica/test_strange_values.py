"""Values that our own program never writes but an entry may carry: kept, shown as far as possible, no harm done."""

from __future__ import annotations

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from crdt_sync import Replica
from crdt_sync.core import codec
from crdt_sync.core.content import read_register, write_creation, write_register
from crdt_sync.core.entry import OperationType
from crdt_sync.core.kinds import Put, Write
from crdt_sync.core.layout import KeyClass, map_key
from crdt_sync.core.model import document_key_of
from crdt_sync.errors import MalformedEntryError
from crdt_sync.testing.exchange import exchange
from tests.unit.core.values import values
from tests.unit.replica.devices import Person, Task, memory, picture, state_of


def write_raw(replica: Replica, task: Task | Person, make: list[tuple[KeyClass, str, str, bytes]]) -> None:
    """Write cells as they are, signed and screened like any others."""
    identity = state_of(replica).identity
    assert identity is not None
    writes: list[Write] = [
        Put(map_key(key_class, identity.author, field=field, rest=rest), data) for key_class, field, rest, data in make
    ]
    records = replica._records
    with records.writing() as transaction:
        transaction.write(document_key_of(task), writes, operation=OperationType.UPDATE, fields=frozenset(("title",)))


deep = codec.encode(())
for _ in range(1_000):
    deep = msgpack.packb(msgpack.ExtType(8, b"\x91" + deep))

STRANGE: list[bytes] = [b"", b"\xc1", deep, b"\x91" * 2_000 + b"\x01", msgpack.packb(msgpack.ExtType(3, b"sNaN"))]
strange = st.one_of(
    st.sampled_from(range(len(STRANGE))).map(lambda at: STRANGE[at]), st.binary(max_size=20), values.map(codec.encode)
)


def names_nobody(data: bytes) -> bool:
    """Whether a register's bytes have no context: one that names what is not there is refused (tests of screening)."""
    try:
        return not read_register(data)[1]
    except MalformedEntryError:
        return True


cells = st.one_of(
    st.tuples(
        st.just(KeyClass.PLAIN),
        st.sampled_from(["title", "size", "price", "at", "mood", "extra", "gone"]),
        st.just(""),
        st.one_of(strange.filter(names_nobody), strange.map(lambda data: write_register(5, {}, data))),
    ),
    st.tuples(
        st.just(KeyClass.CAUSAL),
        st.sampled_from(["due", "title"]),
        st.integers(1, 3).map(str),
        st.one_of(strange.filter(names_nobody), strange.map(lambda data: write_register(2**64 - 1, {}, data))),
    ),
    st.tuples(st.just(KeyClass.COUNTER), st.just("votes"), st.just(""), strange),
    st.tuples(
        st.just(KeyClass.SET),
        st.just("tags"),
        st.one_of(
            st.sampled_from(["x", "=", "#", "=\x91\x01", "=\x80", "=😀"]),
            values.map(codec.encode)
            .filter(lambda data: len(data) < 150)
            .map(lambda data: "=" + data.decode("latin-1")),
        ),
        strange,
    ),
    st.tuples(st.just(KeyClass.TOUCH), st.just(""), st.just(""), strange),
)


@given(st.lists(cells, min_size=1, max_size=5, unique_by=lambda cell: cell[:3]))
def test_strange_cells_harm_nobody(made: list[tuple[KeyClass, str, str, bytes]]) -> None:
    with memory(1) as left, memory(2) as right:
        task = left.create(Task, title="t", notes="n")
        other = left.create(Task, title="other")
        write_raw(left, task, made)
        report = exchange(left, right)
        assert report.proven_equal
        assert report.right.statuses == 0
        assert right.get(Task, other.id).title == "other"
        assert picture(left)["rows"].keys() == picture(right)["rows"].keys()
        for replica in (left, right):
            found = replica.get(Task, task.id)
            repr(found)
            list(replica.history(found))
            replica.conflicts()
            assert replica.find(Task, order_by=["price", "-at", "size"], limit=5)
            replica.find(Task, price__lt=5)
            replica.update(found, title="mended", size=1, price="2.50", due=None, extra={}, tags=set(), at=None)
            assert (found.title, found.size, str(found.price), set(found.tags)) == ("mended", 1, "2.50", set())
        assert len(list(right.operations())) == 1
        assert exchange(left, right).proven_equal


@given(strange)
def test_a_strange_creation_harms_nobody(data: bytes) -> None:
    with memory(1) as left, memory(2) as right:
        person = left.create(Person, email="a@b")
        task = right.create(Task, title="t")
        exchange(left, right)
        write_raw(left, left.get(Task, task.id), [(KeyClass.CREATION, "", "", data)])
        write_raw(right, right.get(Person, person.id), [(KeyClass.CREATION, "", "", write_creation(1, {"email": 5}))])
        assert exchange(left, right).proven_equal
        for replica in (left, right):
            assert len(replica.find(Task)) == len(replica.find(Person)) == 1
            replica.get(Task, task.id).title = "goes on"
        assert exchange(left, right).proven_equal
