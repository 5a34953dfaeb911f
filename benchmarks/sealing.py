"""What a private channel costs: `python -m benchmarks.sealing` prints the time of the quickest of many tries."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from crdt_sync.security.channel import Cipher
from crdt_sync.security.handshake import Handshake
from crdt_sync.security.identity import DeviceKey

TRIES = 300
FRAMES_BYTES = (200, 256 * 1024, 1024 * 1024)
KEYS = tuple(DeviceKey.generate(bytes([number]) * 32) for number in range(2))


def handshake() -> None:
    """Both ends of one connection."""
    one, other = (
        Handshake(initiator=initiator, key=key, space=bytes(32), secret=os.urandom(32))
        for initiator, key in zip((True, False), KEYS, strict=True)
    )
    to_other, to_one = one.start(), other.start()
    while to_other or to_one:
        to_one, to_other = (
            [answer for data in to_other for answer in other.receive(data)],
            [answer for data in to_one for answer in one.receive(data)],
        )


def seal_us(frame: bytes) -> float:
    """Sealing one frame, in microseconds."""
    cipher = Cipher(bytes(32))
    return least_us(lambda: cipher.seal(frame))


def open_us(frame: bytes) -> float:
    """Opening it, with what it takes to be ready for the first message."""
    sealed = Cipher(bytes(32)).seal(frame)
    return least_us(lambda: Cipher(bytes(32)).open(sealed))


def least_us(work: Callable[[], object]) -> float:
    """The quickest of many tries, in microseconds."""
    best_ns = min(_timed_ns(work) for _ in range(TRIES))
    return best_ns / 1000


def _timed_ns(work: Callable[[], object]) -> int:
    began_ns = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - began_ns


def main() -> None:
    """Print the table."""
    print(f"handshake, both ends: {least_us(handshake):,.0f} us")
    for size in FRAMES_BYTES:
        frame = os.urandom(size)
        sealing, opening = seal_us(frame), open_us(frame)
        print(f"frame of {size:,} bytes: sealed in {sealing:,.1f} us, opened in {opening:,.1f} us")


if __name__ == "__main__":
    main()
