"""What must hold in every simulated history: cheap after each step, thorough when everything has come to rest.

The simulation knows what every disk holds, so it can compare what a replica says with what is so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator

from crdt_sync.core.conflict import Conflict
from crdt_sync.core.ids import device_id
from crdt_sync.errors import RecordError
from crdt_sync.protocol.durable import decode_durable
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.replica import Replica
from crdt_sync.replica.rows import unpack_operation_row
from crdt_sync.replica.state import EVIDENCE_MAX
from crdt_sync.storage.base import Table
from crdt_sync.testing.simulation.copies import Copies
from crdt_sync.testing.simulation.forks import Forks
from crdt_sync.testing.simulation.host import Host
from crdt_sync.testing.simulation.invariant import must
from crdt_sync.testing.simulation.network import LIMITS
from crdt_sync.testing.simulation.poison import Poison, resting_on
from crdt_sync.testing.simulation.story import Account, Badge, Note, wrong_traits
from crdt_sync.testing.simulation.world import World

ROUND_TIMEOUT_S = 20.0
ROUNDS_MAX = 8
POISONED_ROUNDS_MAX = 60
"""Most need a few; where two hosts cannot take in each other's entries, each end delays the other's next try."""
POISONED_TIMEOUT_S = 4.0
_WIRE = WireLimits()
_SIGNED = b"\0v"
"""How the keys of signed vectors begin in the table of holdings."""


class Truth:
    """Compares what replicas say with what is so.

    Args:
        world: in which they are.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._ever: dict[str, dict[int, int]] = {}
        """Device id → author → the last entry that it ever held durably."""
        self._forks = Forks(world)
        self._copies = Copies(world)
        world.on_sync = self._note

    def after_step(self) -> None:
        """What is cheap enough to look at after each step.

        Raises:
            BrokenInvariantError: it does not hold.
        """
        self._forks.look()
        vectors = {host.name: host.vector() for host in self._world.hosts}
        for host in self._world.hosts:
            if not host.disk.at_risk:
                self._keep(host, vectors[host.name])
        for host in self._world.hosts:
            self._nothing_told_before_durable(host, vectors)
            self._claims_are_true(host)
            if host.up and host.replica is not None:
                self._nothing_pending_means_held(host, host.replica, vectors[host.name])
                self._bounded(host)
        self._copies.look(vectors, self._ever)
        must(
            "bounded queues",
            f"{self._world.network.unread_max} frames were unread at one end",
            holds=self._world.network.unread_max <= LIMITS.queue_messages_max,
        )

    async def at_rest(self) -> None:
        """Have everybody sync without faults; then look at everything.

        Raises:
            BrokenInvariantError: it does not hold.
        """
        world = self._world
        await self._others_flow()
        await self._settle()
        if self._alike() and any(self._pending(host) for host in world.hosts):
            # An entry that a peer got from somebody else amid a session is known to be held from the next one on.
            world.note("reconnected for statuses", world.hosts[0].name)
            for wire in list(world.network.wires):
                wire.cut(2)
            await self._settle()
        self.after_step()
        if self._forks.apart():
            world.note("apart", world.hosts[0].name)
            self._forks.must_be_told()
            return
        self._converged()
        self._statuses()
        for host in world.hosts:
            self._signed_vectors_are_true(host)
        host, replica = next(self._replicas())  # all show the same
        self._nothing_lost(host, replica)
        await self._resolutions_hold()

    # ── after each step ──────────────────────────────────────────────────────────────────────────────────────────────

    def _nothing_told_before_durable(self, host: Host, vectors: dict[str, dict[int, int]]) -> None:
        """Nobody has an entry of a replica that this one could still lose."""
        own = set(host.authors())
        safe = self._ever.get(host.device, {})
        for name, vector in vectors.items():
            if name == host.name:
                continue
            for author in own & vector.keys():
                must(
                    "durable before sent",
                    f"{name} holds entry {vector[author]} of {host.name}, which is durable up to "
                    f"{safe.get(author, 0)} there",
                    holds=vector[author] <= safe.get(author, 0),
                )

    def _claims_are_true(self, host: Host) -> None:
        """Who is said to hold an entry has held it."""
        for device, ends in host.claims().items():
            if device not in self._ever:
                continue  # the liar's own business, or a device that is gone
            for author, sequence in ends.items():
                must(
                    "acknowledged means durable",
                    f"{host.name} was told that {device} holds entry {sequence} of author {author}, and it never had "
                    f"more than {self._ever[device].get(author, 0)}",
                    holds=self._ever[device].get(author, 0) >= sequence,
                )

    def _nothing_pending_means_held(self, host: Host, replica: Replica, vector: dict[int, int]) -> None:
        """A status of "nothing pending" is never said of an entry that nobody else holds."""
        if host.disk.rotten or replica.pending_count() or replica.operation_count(status="failed"):
            return
        if self._world.liar is not None:
            return
        author = host.author()
        end = min(vector.get(author, 0), _last_operation(host, author))
        others = (ends for device, ends in self._ever.items() if device != host.device)
        must(
            "truthful statuses",
            f"{host.name} says that nothing is pending, and nobody holds entry {end} of it",
            holds=end == 0 or any(ends.get(author, 0) >= end for ends in others),
        )

    def _bounded(self, host: Host) -> None:
        held = len(host.disk.tables[Table.EVIDENCE].keys)
        must("bounded queues", f"{host.name} keeps {held} runs as evidence", holds=held <= EVIDENCE_MAX)

    # ── beside what somebody cannot take in ──────────────────────────────────────────────────────────────────────────

    async def _others_flow(self) -> None:
        """What does not rest on such an entry gets through, the entry is set aside with a reason; then all is cured."""
        world, hosts = self._world, self._world.hosts
        sick = [(host, host.disk.poison) for host in hosts if host.disk.poison is not None]
        for _ in range(POISONED_ROUNDS_MAX if sick and not world.story.forked else 0):
            if self._flows() and all(self._is_told(host, poison) for host, poison in sick):
                break
            await asyncio.gather(*(host.sync(timeout_s=POISONED_TIMEOUT_S) for host in hosts))
            await world.go_on()
        else:
            must("poison stops nothing else", self._stuck(), holds=not sick or world.story.forked or self._flows())
            for host, poison in sick if not world.story.forked else ():
                must(
                    "poison is told of",
                    f"{host.name} met entry {poison.sequence} of {poison.author} {poison.met} times: nobody says so",
                    holds=self._is_told(host, poison),
                )
        for host in hosts:
            world.mishaps.cure(host)
        await world.go_on()
        if world.mishaps.cured:
            for _, replica in self._replicas():
                replica.retry()

    def _flows(self) -> bool:
        return not self._stuck()

    def _stuck(self) -> str:
        """What somebody lacks, and does not rest on poison; empty where there is nothing."""
        hosts = self._world.hosts
        sick = [host.disk.poison for host in hosts if host.disk.poison is not None]
        # A device that is cured is not sent what was set aside for it before users retry, nor what rests on that.
        sick += [poison for poison in self._world.mishaps.cured if self._is_named(poison, hosts)]
        first = resting_on(sick, (host.disk.tables[Table.LOG].rows.values() for host in hosts))
        vectors = {host.name: host.vector() for host in hosts}
        for author in {author for vector in vectors.values() for author in vector}:
            end = max(vector.get(author, 0) for vector in vectors.values())
            due = min(end, first.get(author, end + 1) - 1)
            for name, vector in vectors.items():
                if vector.get(author, 0) < due:
                    return f"{name} lacks entry {due} of {author}, which rests on nothing that anybody cannot take in"
        return ""

    def _is_told(self, host: Host, poison: Poison) -> bool:
        """Whether somebody names the entry, with a reason; or nobody has it, or it got through another way."""
        others = [other for other in self._world.hosts if other is not host]
        has = [other.vector().get(poison.author, 0) >= poison.sequence for other in others]
        if not poison.met or not any(has) or host.vector().get(poison.author, 0) >= poison.sequence:
            return True
        return self._is_named(poison, others)

    def _is_named(self, poison: Poison, by: list[Host]) -> bool:
        return any(
            (aside.author, aside.sequence) == (poison.author, poison.sequence) and aside.reason
            for host in by
            if host.replica is not None and host.up
            for aside in host.replica.set_aside()
        )

    # ── at rest ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _settle(self) -> None:
        """Rounds of sync until all is proven, held and told, or there were enough of them."""
        hosts = self._world.hosts
        for _ in range(ROUNDS_MAX):
            proven = await asyncio.gather(*(host.sync(timeout_s=ROUND_TIMEOUT_S) for host in hosts))
            if all(proven) and self._alike() and not any(self._pending(host) for host in hosts):
                return
            await asyncio.sleep(0.5)
            if self._world.mishaps.cured:
                await self._world.go_on()  # who met it just before may have given somebody up since

    def _alike(self) -> bool:
        """Whether all hold the same, also after what a repair changed behind a proof."""
        vectors = [host.vector() for host in self._world.hosts]
        return all(vector == vectors[0] for vector in vectors) and len(set(self._fingerprints())) == 1

    def _fingerprints(self) -> Iterator[bytes]:
        for _, replica in self._replicas():
            yield replica.port.fingerprint("")

    def _converged(self) -> None:
        """Laws 1, 2 and 7: equal vectors, versions, fingerprints, views and conflicts."""
        first, *others = self._world.hosts
        for host in others:
            must(
                "convergence",
                f"{first.name} holds {first.vector()}, {host.name} {host.vector()}",
                holds=host.vector() == first.vector(),
            )
        shown = [(host, _shown(host, replica)) for host, replica in self._replicas()]
        for host, facts in shown:
            for name, fact in facts.items():
                must(
                    "convergence",
                    f"{host.name} and {shown[0][0].name} have different {name} at equal vectors",
                    holds=fact == shown[0][1][name],
                )

    def _statuses(self) -> None:
        """What is over is called so."""
        for host, replica in self._replicas():
            must("truthful statuses", f"{host.name} still waits, and all is held", holds=not replica.pending_count())
            failed = sum(not item.error.startswith("reverted: ") for item in replica.operations(status="failed"))
            must(
                "no operation fails among honest devices",
                f"{host.name} has {failed} failed operations",
                holds=not failed or self._world.liar is not None,
            )
            if replica.safe_to_wipe():
                others = [other.vector() for other in self._world.hosts if other is not host]
                held = any(
                    all(vector.get(author, 0) >= end for author, end in host.vector().items()) for vector in others
                )
                must("truthful statuses", f"{host.name} calls itself safe to wipe, and nobody holds it all", holds=held)

    def _signed_vectors_are_true(self, host: Host) -> None:
        """What a device signed that it holds, it has held."""
        table = host.disk.tables[Table.HOLDING]
        first, last = table.span(_SIGNED, _SIGNED[:1] + b"w")
        for key in table.keys[first:last]:
            signed = decode_durable(table.rows[key], _WIRE)
            ever = self._ever.get(str(device_id(signed.public_key)))
            for ends in signed.vector.values() if ever is not None else ():
                for author, position in ends.items():
                    must(
                        "signed means durable",
                        f"{host.name} has it signed that entry {position.sequence} of {author} is held: it never was",
                        holds=ever is not None and ever.get(author, 0) >= position.sequence,
                    )

    def _nothing_lost(self, host: Host, replica: Replica) -> None:
        """Laws 3 and 5: what was acknowledged shows, unless something took it away or replaced it that had seen it."""
        asked: dict[str, list[object]] = {}
        for conflict in replica.conflicts():
            if conflict.field == "due":
                asked.setdefault(str(conflict.record_id), []).extend(item.value for item in conflict.candidates)
        for name, account in self._world.story.accounts.items():
            for problem in _problems(replica, name, account, asked=asked.get(name, ())):
                must("nothing lost", f"{host.name}, note {name}: {problem}", holds=False)
        for code, tags in self._world.story.badges.items():
            shown = {tag for badge in replica.find(Badge, code=code) for tag in badge.tags}
            lost = [tag for tag, trait in tags.items() if trait.must_be() and tag not in shown]
            must("nothing lost", f"{host.name}, badge {code}: tags {lost}", holds=not lost)

    async def _resolutions_hold(self) -> None:
        """Law 6: what two devices settle at once and alike is settled everywhere."""
        both = list(self._replicas())[:2]
        settled = {_place(conflict) for conflict in both[0][1].conflicts()}
        if not settled:
            return
        for host, replica in both:
            for conflict in list(replica.conflicts()):
                replica.resolve(conflict, take=conflict.candidates[0])
            self._world.note("resolve all", host.name)
        await self._settle()
        self._converged()
        for host, replica in self._replicas():
            left = settled & {_place(conflict) for conflict in replica.conflicts()}
            must("settled stays settled", f"{host.name} still has conflicts {sorted(left)}", holds=not left)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _replicas(self) -> Iterator[tuple[Host, Replica]]:
        for host in self._world.hosts:
            must("hosts come up", f"{host.name} is not up", holds=host.up)
            if host.replica is not None:
                yield host, host.replica

    def _pending(self, host: Host) -> int:
        return 0 if host.replica is None else host.replica.pending_count()

    def _note(self, host: Host) -> None:
        self._forks.look()
        self._keep(host, host.vector())

    def _keep(self, host: Host, vector: dict[int, int]) -> None:
        """What is on a host's disk now it holds durably."""
        if host.device and host is not self._world.liar:  # who lies may say of itself what it likes
            ever = self._ever.setdefault(host.device, {})
            for author, sequence in vector.items():
                if sequence > ever.get(author, 0):
                    ever[author] = sequence


def _last_operation(host: Host, author: int) -> int:
    """The entry of the last operation under an author; compaction writes entries behind it that no user waits for."""
    table = host.disk.tables[Table.OPERATION]
    row = unpack_operation_row(table.rows[table.keys[-1]]) if table.keys else None
    return row.sequence if row is not None and row.author == author else 0


def _place(conflict: Conflict) -> tuple[str, str, str]:
    """What a conflict is about, whoever is in it."""
    return str(conflict.record_id), conflict.register, conflict.kind.value


def _shown(host: Host, replica: Replica) -> dict[str, object]:
    """What two replicas that hold the same must have alike."""
    fingerprint = replica.port.fingerprint("")
    return {
        "fingerprints": fingerprint,
        "versions": host.disk.tables[Table.VERSION].rows,
        "views": host.disk.views,
        "conflicts": sorted(conflict.id for conflict in replica.conflicts()),
    }


def _problems(replica: Replica, name: str, account: Account, *, asked: Collection[object]) -> Iterator[str]:
    """What a note shows that it must not, or the other way round."""
    must = account.is_live()
    try:
        note = replica.get(Note, name)
    except RecordError:
        if must:
            yield "it is gone, and nobody deleted what it holds"
        return
    if must is False:
        yield "it is there, and all of it was deleted"
    yield from (f"title: {problem}" for problem in account.title.problems(note.title))
    yield from (f"due: {problem}" for problem in account.due.problems(note.due, beside=asked))
    if wrong := wrong_traits(account.tags, note.tags):
        yield f"tags {wrong}"
    if wrong := wrong_traits(account.characters, str(note.body)):
        yield f"characters {wrong}"
    expected = account.votes_sum()
    if expected is not None and int(note.votes) != expected:
        yield f"{int(note.votes)} votes instead of {expected}"
