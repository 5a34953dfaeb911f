"""What happened in a simulated history, in order: its hash proves that two runs are the same, its end is drawn."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from blake3 import blake3

from crdt_sync.protocol.codes import MessageType, PeerError
from crdt_sync.protocol.limits import WireLimits
from crdt_sync.protocol.wire import FrameDecoder, split_packet
from crdt_sync.testing.simulation.tapping import Tap

KEPT_MAX = 20_000
"""Happenings that are kept for the diagram; the hash is over all of them."""
DRAWN_MAX = 80
_LIMITS = WireLimits()
Seal = tuple[Tap, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened.

    Args:
        at_s: virtual seconds since the history began.
        what: ``sent``, ``lost``, a step's or a fault's name.
        who: the host it happened to, or that sent.
        to: the host that it was sent to, or empty.
        data: the message, or what there is to say.
        seal: whoever can open the message, the end that sealed it, and how many it had sealed before.
    """

    at_s: float
    what: str
    who: str
    to: str = ""
    data: bytes = b""
    seal: Seal | None = None


class Trace:
    """Collects what happens."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """What → how often."""
        self._kept: deque[Happening] = deque(maxlen=KEPT_MAX)
        self._hash = blake3()

    def note(
        self, at_s: float, what: str, who: str, *, to: str = "", data: bytes = b"", seal: Seal | None = None
    ) -> None:
        """Something happened at virtual time ``at_s``."""
        self.counts[what] += 1
        self._kept.append(Happening(at_s=at_s, what=what, who=who, to=to, data=data, seal=seal))
        self._hash.update(f"{at_s:.6f} {what} {who} {to} {len(data)} ".encode())
        self._hash.update(data)

    def keep(self, last: int) -> None:
        """Keep no more than so many happenings for the diagram."""
        self._kept = deque(self._kept, maxlen=last)

    @property
    def digest(self) -> str:
        """A hash over everything that happened, as hex digits."""
        return str(self._hash.hexdigest(16))

    def diagram(self, *, last: int = DRAWN_MAX) -> str:
        """The end of the history as a mermaid sequence diagram.

        Args:
            last: at most so many happenings.
        """
        return "\n".join(("sequenceDiagram", *self._lines(last)))

    def _lines(self, last: int) -> Iterator[str]:
        left_out = max(0, len(self._kept) - last)
        if left_out:
            yield f"    Note over {self._kept[0].who}: {left_out} earlier happenings are left out"
        for item in islice(self._kept, left_out, None):
            if item.what in {"sent", "lost"}:
                arrow = "->>" if item.what == "sent" else "--x"
                yield f"    {item.who}{arrow}{item.to}: {item.at_s:.3f} s {_names(item)}"
            else:
                told = item.data.decode("utf-8", "replace").replace("\n", " ").replace(";", ",")
                yield f"    Note over {item.who}: {item.at_s:.3f} s {item.what} {told}".rstrip()


def _names(item: Happening) -> str:
    """The messages in a frame, as far as it can be read by itself."""
    size = f"{len(item.data)} bytes"
    try:
        packet = FrameDecoder(_LIMITS).feed(_opened(item))
        if packet is None:
            return f"part of a packet, {size}"
        kinds = [MessageType(kind).name for kind, _ in split_packet(packet, _LIMITS)]
    except (PeerError, ValueError):
        return size
    return f"{' '.join(kinds)}, {size}"


def _opened(item: Happening) -> bytes:
    if item.seal is None:
        return item.data
    tap, side, count = item.seal
    return tap.opened(side, item.data, count)
