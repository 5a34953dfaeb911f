"""Whether devices that a replica says hold everything do so, as far as it can know: at one host after each step."""

from __future__ import annotations

from collections.abc import Mapping

from crdt_sync.replica import Replica
from crdt_sync.testing.simulation.host import Host
from crdt_sync.testing.simulation.invariant import must
from crdt_sync.testing.simulation.world import World

Ends = Mapping[int, int]
"""Author → last entry."""


class Copies:
    """Compares what replicas say of copies elsewhere with what disks hold, and ever held.

    A replica need not know that a device lost something before it met it again. What a device says of itself at the
    beginning of a session is noted where it is heard (`Host.words`), until that device loses something the next time.

    Args:
        world: in which they are.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._last: dict[str, Ends] = {}
        self._turn = 0

    def look(self, vectors: Mapping[str, Ends], ever: Mapping[str, Ends]) -> None:
        """Look at the next host.

        Args:
            vectors: what the disk of each host holds, by name.
            ever: what each device ever held durably, by its id.

        Raises:
            BrokenInvariantError: a replica says what is not so.
        """
        hosts = self._world.hosts
        for host in hosts:
            if not _covers(vectors[host.name], self._last.get(host.device, {})):
                for other in hosts:
                    other.words.pop(host.device, None)
            self._last[host.device] = vectors[host.name]
        self._turn += 1
        host = hosts[self._turn % len(hosts)]
        if host.up and host.replica is not None and self._world.liar is None and not host.disk.rotten:
            self._copies_are_there(host, host.replica, vectors, ever)

    def _copies_are_there(
        self, host: Host, replica: Replica, vectors: Mapping[str, Ends], ever: Mapping[str, Ends]
    ) -> None:
        own, disks = vectors[host.name], {other.device: vectors[other.name] for other in self._world.hosts}
        for item in replica.safe_to_wipe().devices:
            device = str(item.device_id)
            if item.missing:
                continue
            must(
                "truthful copies",
                f"{host.name} says that {device} holds everything, and it never did",
                holds=device not in ever or _covers(ever[device], own),
            )
            word, disk = host.words.get(device), disks.get(device)
            if word is not None and disk is not None and _covers(disk, word):
                must(
                    "truthful copies",
                    f"{host.name} says that {device} holds everything, and has met it since it lost some",
                    holds=_covers(disk, own),
                )


def _covers(held: Ends, other: Ends) -> bool:
    return all(held.get(author, 0) >= sequence for author, sequence in other.items())
