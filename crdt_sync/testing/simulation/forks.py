"""Two branches of one author, after a machine was rewound: which of them others got, and what must be said of them.

A branch that only its own machine has is written again under another author, and everybody converges. Where others got
both, or were sent them and did not answer, they stay apart: each holds the one that it got first. Then nobody says that
all is equal, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from crdt_sync.core.ids import Author
from crdt_sync.replica.ledger import Ledger
from crdt_sync.replica.rows import FLOOR_POSITION, split_chain_key, unpack_chain_row
from crdt_sync.storage.base import Table
from crdt_sync.testing.simulation.disk import DiskReader
from crdt_sync.testing.simulation.host import Host
from crdt_sync.testing.simulation.invariant import must

if TYPE_CHECKING:
    from crdt_sync.testing.simulation.world import World


class Forks:
    """Watches who got which branch.

    Args:
        world: in which they are.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._got: dict[tuple[int, int], dict[bytes, set[str]]] = {}
        """Author and number of an entry → the hash of the chain up to it → who but its writer ever had that."""

    def look(self) -> None:
        """Note who has what by now; at little cost before any machine was rewound."""
        if not self._world.mishaps.may_fork:
            return
        for host in self._world.hosts:
            own = set(host.authors())
            for author, sequence, chain in _ends(host):
                if author not in own:
                    self._got.setdefault((author, sequence), {}).setdefault(chain, set()).add(host.name)

    def apart(self) -> Mapping[int, list[frozenset[bytes]]]:
        """Authors of whom there are two branches now; of each store the hashes of its chain behind where they part."""
        if not self._world.story.forked:
            return {}
        hosts = self._world.hosts
        vectors = [host.vector() for host in hosts]
        ledgers = [Ledger(DiskReader(host.disk)) for host in hosts]
        found: dict[int, list[frozenset[bytes]]] = {}
        for author in sorted({author for vector in vectors for author in vector}):
            chains = [
                {at: _hash(ledger, author, at) for at in range(1, vector.get(author, 0) + 1)}
                for ledger, vector in zip(ledgers, vectors, strict=True)
            ]
            first = _parting(chains)
            if first:
                found[author] = [
                    frozenset(chain for at, chain in held.items() if at >= first and chain) for held in chains
                ]
        return found

    def must_be_told(self) -> None:
        """What holds where branches stay apart.

        Raises:
            BrokenInvariantError: it does not.
        """
        world, hosts = self._world, self._world.hosts
        for author, branches in self.apart().items():
            must(
                "forks are settled",
                f"two branches of {author} stay apart, and others never got one of them",
                holds=sum(1 for branch in set(branches) if branch and self._was_given_away(author, branch)) > 1,
            )
            self._must_be_named(author, branches)
        missing = world.story.missing([host.holds(exact=True) for host in hosts])
        must("nothing lost", f"{missing} edits are in neither branch of an author", holds=not missing)
        for host in hosts:
            replica = host.replica
            if replica is not None and host.up and not replica.pending_count() and host.author() in host.vector():
                own = host.last_entry()
                others = [other.holds(exact=True) for other in hosts if other is not host]
                must(
                    "truthful statuses",
                    f"{host.name} says that nothing is pending, and nobody holds its last entry",
                    holds=not own.sequence or any(holds(own) for holds in others),
                )

    def _must_be_named(self, author: int, branches: list[frozenset[bytes]]) -> None:
        """Nobody who talks to a holder of the other branch calls that equal, and somebody names the author."""
        hosts = self._world.hosts
        on = dict(zip((host.name for host in hosts), branches, strict=True))
        for host in hosts:
            others = [name for name in host.peers if name in on and not _agree(on[host.name], on[name])]
            must(
                "truthful statuses",
                f"{host.name} calls itself equal with {others}, who hold another branch of {author}",
                holds=not (others and host.proven),
            )
        replicas = [host.replica for host in hosts if host.up and host.replica is not None]
        named = any(fork.author == author for replica in replicas for fork in replica.forks())
        must("forks are told of", f"nobody says that there are two branches of {author}", holds=named)

    def _was_given_away(self, author: int, branch: frozenset[bytes]) -> bool:
        """Whether anybody but the writer ever had something of a branch, or may have, as it was sent to him."""
        if any(not branch.isdisjoint(host.handed) for host in self._world.hosts):
            return True
        return any(writer == author and not branch.isdisjoint(chains) for (writer, _), chains in self._got.items())


def _agree(one: frozenset[bytes], other: frozenset[bytes]) -> bool:
    """Whether one branch goes on from the other."""
    return one <= other or other <= one


def _parting(chains: list[dict[int, bytes]]) -> int:
    """The first place at which two chains differ; 0 where they do not."""
    for at in range(1, max(map(len, chains)) + 1):
        if len({held[at] for held in chains if held.get(at)}) > 1:
            return at
    return 0


def _hash(ledger: Ledger, author: int, sequence: int) -> bytes:
    """Empty where it was folded."""
    return bytes(ledger.hash_at("", Author(author), sequence) or b"")


def _ends(host: Host) -> Iterator[tuple[int, int, bytes]]:
    """Authors, numbers and hashes of the chain of a store, as far as it has them at hand."""
    table = host.disk.tables[Table.CHAIN]
    for key in table.keys:
        _, author, sequence = split_chain_key(key)
        position, chain = unpack_chain_row(table.rows[key])
        if position != FLOOR_POSITION:
            yield int(author), sequence, bytes(chain)
