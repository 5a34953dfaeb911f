"""Reading what simulated hosts seal: whoever knows what one end drew can, for a diagram, or to lie in its place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from crdt_sync.security.channel import KEY_BYTES, Cipher, Ephemeral, channel_keys
from crdt_sync.security.handshake import HANDSHAKE_MESSAGES_MAX, transcript

DRAWS_MAX = 20_000
_SIGNED = 2
"""So many messages of each end are signed, and the last of them has its key."""
_KEY = slice(2, 2 + KEY_BYTES)
"""Where that key stands in it."""

Entropy = Callable[[int], bytes]


class Draws:
    """What hosts drew that may be the secret of a connection."""

    def __init__(self) -> None:
        self._drawn: deque[bytes] = deque(maxlen=DRAWS_MAX)

    def noting(self, entropy: Entropy) -> Entropy:
        """The same entropy, and what it gives is noted."""

        def draw(count: int) -> bytes:
            drawn = entropy(count)
            if count == KEY_BYTES:
                self._drawn.append(drawn)
            return drawn

        return draw

    def ephemeral(self, public_key: bytes) -> Ephemeral | None:
        """What somebody drew whose public key is this; the latest ones are looked at first."""
        return next((made for made in map(Ephemeral, reversed(self._drawn)) if made.public_key == public_key), None)


class Tap:
    """What somebody can read who sees the messages of a connection and knows the secret of one end.

    Args:
        draws: of all hosts.
    """

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._signed: tuple[list[bytes], list[bytes]] = ([], [])
        self._seen = [0, 0]
        self._keys: tuple[bytes, bytes] | None = None

    def see(self, side: int, data: bytes) -> int:
        """A message passes.

        Args:
            side: the end that sent it: 0 is the one that dialled.
            data: the message.

        Returns:
            How many messages this end had sealed before; negative while it seals none.
        """
        if len(self._signed[side]) < _SIGNED:
            self._signed[side].append(data)
        self._seen[side] += 1
        return self._seen[side] - 1 - HANDSHAKE_MESSAGES_MAX

    def opened(self, side: int, data: bytes, count: int) -> bytes:
        """What is in a message of this end, which had sealed so many before; as it is where it cannot be opened."""
        cipher = self.cipher(side, count) if count >= 0 else None
        message = None if cipher is None else cipher.open(data)
        return data if message is None else message

    def cipher(self, side: int, count: int = 0) -> Cipher | None:
        """What this end seals by, and the other opens by, behind so many messages; None where that cannot be known."""
        self._keys = self._keys or self._agreed()
        return None if self._keys is None else Cipher(self._keys[side], count=count)

    def _agreed(self) -> tuple[bytes, bytes] | None:
        if any(len(said) < _SIGNED for said in self._signed):
            return None
        for side in (0, 1):
            ours, theirs = (self._signed[at][-1][_KEY] for at in (side, 1 - side))
            ephemeral = self._draws.ephemeral(ours)
            shared = None if ephemeral is None or len(theirs) < KEY_BYTES else ephemeral.agree(theirs)
            if shared is not None:
                return channel_keys(shared, transcript=transcript(*self._signed))
        return None
