"""Schedules: what happens in a simulated history, as a list of steps that a seed draws and a text keeps."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from crdt_sync.errors import InputError
from crdt_sync.testing.arguments import whole

VERSION = 2
"""Of what a seed draws and a step means. A schedule of another version would be another history, so it is refused."""
STEPS = 20
EDITS_SHARE = 0.6
HOSTS_MAX = 16
STEPS_MAX = 10_000
PAUSE_MS = (0, 5, 40, 200, 900)
"""Virtual time that passes after a step; one of these, and a little."""
CHOICES = 1 << 16
"""Arguments are numbers below this; each stands for one of whatever there is, modulo how many there are."""
PAUSE_MAX_MS = 60_000
"""Of a schedule that is read; one that was drawn never has a tenth of it. Idle hosts cost time as well."""
_HEAD = ["seed", "replicas", "hubs"]
_PASTE = "Paste it as the failure printed it: a head, then lines of an action and four numbers, the last a pause in ms."


class Fault(str, Enum):
    """Kinds of faults that a simulation injects."""

    CUT = "cut"
    """Connections break, for both ends or for one that does not know; frames in the air are lost or still arrive."""
    PARTITION = "partition"
    """Hosts cannot reach each other, in both directions or in one."""
    SLOW = "slow"
    """A host takes long to read what it is sent."""
    KILL = "kill"
    """A process ends at once, or at one of its next writes."""
    POWER = "power"
    """A machine loses what was not synced."""
    FULL = "full"
    """A disk has no room."""
    CLOCK = "clock"
    """Clocks are wrong, jump, and everything sleeps for hours."""
    BACKUP = "backup"
    """A store is put back as it was."""
    CLONE = "clone"
    """A store is copied to another device."""
    WIPE = "wipe"
    """A device loses its store, and begins anew."""
    ROT = "rot"
    """What is derived from the log is not what it was."""
    BITS = "bits"
    """Bytes at rest are not what was written: of a row, or of SQLite's file."""
    REWIND = "rewind"
    """A machine is as it was, its fence with its store, and does not know it."""
    POISON = "poison"
    """A device cannot take an entry in: its process dies of it, or fails."""
    REVERT = "revert"
    """Users take back what they did."""
    BYZANTINE = "byzantine"
    """A device sends what no honest one would."""


ALL_FAULTS = frozenset(Fault)

_EDITS = {
    "create": 3, "title": 3, "due": 3, "vote": 3, "tag": 5, "untag": 2, "type": 3, "erase": 2, "delete": 2,
    "badge": 2, "together": 2, "resolve": 2,
}  # fmt: skip
_ALWAYS = {"wait": 2, "reopen": 1, "compact": 1}
_FAULTS: dict[Fault, dict[str, int]] = {
    Fault.CUT: {"cut": 3, "storm": 1},
    Fault.PARTITION: {"block": 2, "isolate": 1, "heal": 2},
    Fault.SLOW: {"slow": 1},
    Fault.KILL: {"kill": 1, "fuse": 2},
    Fault.POWER: {"power": 2},
    Fault.FULL: {"fill": 1},
    Fault.CLOCK: {"skew": 1, "jump": 1, "night": 1},
    Fault.BACKUP: {"backup": 1, "restore": 1},
    Fault.CLONE: {"clone": 1},
    Fault.WIPE: {"wipe": 1},
    Fault.ROT: {"rot": 1},
    Fault.BITS: {"bits": 1},
    Fault.REWIND: {"snapshot": 2, "rewind": 2},
    Fault.POISON: {"poison": 1},
    Fault.REVERT: {"undo": 2, "redo": 1, "revert": 1},
    Fault.BYZANTINE: {"provoke": 1},
}
_HARMLESS = {"heal", "backup", "snapshot"}
FAULT_STEPS = {step: fault for fault, steps in _FAULTS.items() for step in steps if step not in _HARMLESS}
"""Step → the fault that it injects."""
COUNTED_WHEN_DONE = frozenset(("rewind", "bits", "poison", "undo", "redo", "revert"))
"""Steps that come to nothing where there is nothing to do them to."""
ACTIONS = frozenset((*_EDITS, *_ALWAYS, *(step for steps in _FAULTS.values() for step in steps)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is done.

    Args:
        action: one of `ACTIONS`.
        host: which host it is done to, modulo how many there are.
        args: two numbers; what they stand for is up to the action.
        pause_ms: virtual time that passes afterwards.
    """

    action: str
    host: int
    args: tuple[int, int]
    pause_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A whole history.

    Args:
        seed: draws the delays of the network, keys and ids.
        replicas: devices that dial.
        hubs: replicas that only listen, in a row; without any, every device dials those before it.
        steps: what is done, in order.
    """

    seed: int
    replicas: int
    hubs: int
    steps: tuple[Step, ...]

    def with_steps(self, steps: Iterable[Step]) -> Schedule:
        """The same with other steps."""
        return replace(self, steps=tuple(steps))

    def as_text(self) -> str:
        """Lines of text from which `schedule_of` makes the same schedule."""
        head = f"crdt-sync simulation {VERSION} seed={self.seed} replicas={self.replicas} hubs={self.hubs}"
        lines = (f"{step.action} {step.host} {step.args[0]} {step.args[1]} {step.pause_ms}" for step in self.steps)
        return "\n".join((head, *lines, ""))


def schedule_of(text: str) -> Schedule:
    """Read a schedule that `Schedule.as_text` wrote.

    Raises:
        InputError: it was written for another version of the simulator, or is no schedule.
    """
    if not isinstance(text, str):
        raise InputError(f"a schedule is a Schedule or its text, not a {type(text).__name__}", hint=_PASTE)
    head, *lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")] or [""]
    words = head.split()
    if words[:2] != ["crdt-sync", "simulation"] or len(words) < 3:
        raise InputError("this is no schedule of a simulation", hint="It begins with: crdt-sync simulation VERSION.")
    refuse_version(words[2])
    try:
        named = [(name, int(value)) for name, value in (word.split("=") for word in words[3:])]
        if [name for name, _ in named] != _HEAD:
            raise ValueError(f"its head names {', '.join(_HEAD)}, in this order")
        seed, replicas, hubs = (value for _, value in named)
        made = Schedule(seed=seed, replicas=replicas, hubs=hubs, steps=tuple(_step_of(line) for line in lines))
    except ValueError as error:
        raise InputError(f"a schedule that cannot be read: {error}", hint=_PASTE) from None
    check_size(replicas=made.replicas, hubs=made.hubs, steps=len(made.steps))
    return made


def seed_of(text: str | int) -> int:
    """Read a seed: a number, or the number behind the version, as failures name it (``1:815``).

    Raises:
        InputError: it was drawn by another version of the simulator, or is no seed.
    """
    if not isinstance(text, str):
        return whole(text, what="a seed")
    version, colon, number = text.strip().rpartition(":")
    if colon:
        refuse_version(version)
    try:
        return int(number)
    except ValueError:
        raise InputError(f"{text[:20]!r} is no seed", hint="A seed is a number, or version:number.") from None


def refuse_version(version: str) -> None:
    """Refuse what another version of the simulator drew or wrote.

    Raises:
        InputError: it is not `VERSION`.
    """
    if version != str(VERSION):
        raise InputError(
            f"a simulation of version {version[:20]!r}; this is version {VERSION}",
            hint="The same seed gives another history here. Run it with the release that printed it.",
        )


def check_size(*, replicas: int, hubs: int, steps: int) -> None:
    """Refuse a simulation that cannot be.

    Raises:
        InputError: too few hosts to sync, or too many of anything.
    """
    for what, number in (("replicas", replicas), ("hubs", hubs), ("steps", steps)):
        whole(number, what=what)
    if replicas < 1 or hubs < 0 or not 2 <= replicas + hubs <= HOSTS_MAX:
        raise InputError(
            f"a simulation has 2 to {HOSTS_MAX} hosts, at least one of them a replica that is no hub",
            hint="Say replicas=2 and hubs=1, for example.",
        )
    if not 0 <= steps <= STEPS_MAX:
        raise InputError(f"a simulation has up to {STEPS_MAX} steps", hint="Run several seeds rather than longer ones.")


def draw(seed: int, *, faults: Collection[Fault], replicas: int, hubs: int, steps: int = STEPS) -> Schedule:
    """Draw a schedule: the same arguments give the same one in every process.

    Args:
        seed: any number.
        faults: the kinds that may happen.
        replicas: devices that dial.
        hubs: replicas that only listen.
        steps: how many.

    Raises:
        InputError: a simulation that cannot be.
    """
    check_size(replicas=replicas, hubs=hubs, steps=steps)
    random = Random(f"{VERSION}/{seed}")
    struck = {step: share for fault in Fault if fault in faults for step, share in _FAULTS[fault].items()}
    drawn = ["create"] * min(1, steps)
    while len(drawn) < steps:
        weights = _EDITS if random.random() < EDITS_SHARE else {**_ALWAYS, **struck}
        drawn += random.choices(list(weights), list(weights.values()))
    made = [
        Step(
            action=action,
            host=random.randrange(CHOICES),
            args=(random.randrange(CHOICES), random.randrange(CHOICES)),
            pause_ms=random.choice(PAUSE_MS) + random.randrange(10),
        )
        for action in drawn
    ]
    return Schedule(seed=seed, replicas=replicas, hubs=hubs, steps=tuple(made))


def _step_of(line: str) -> Step:
    action, *numbers = line.split()
    if action not in ACTIONS:
        raise ValueError(f"there is no action {action[:20]!r}")
    if len(numbers) != len(("host", "first", "second", "pause_ms")):
        raise ValueError(f"a step has four numbers, and {action} has {len(numbers)}")
    host, first, second, pause_ms = (int(number) for number in numbers)
    if not all(0 <= number < CHOICES for number in (host, first, second)):
        raise ValueError(f"the host and the arguments of a step are 0 to {CHOICES - 1}")
    if not 0 <= pause_ms <= PAUSE_MAX_MS:
        raise ValueError(f"the pause of a step is 0 to {PAUSE_MAX_MS} ms")
    return Step(action=action, host=host, args=(first, second), pause_ms=pause_ms)
