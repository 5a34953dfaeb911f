"""A network that is bad in another way every moment: settings of a fault proxy, drawn from a seed."""

from __future__ import annotations

import asyncio
import random

from crdt_sync.testing.proxy import CLEAR, Cut, FaultProxy, Way

CLEAR_TIMES = 5
KINDS = (*("clear",) * CLEAR_TIMES, "slow", "late", "swallow", "half", "flips", "cut", "cut later", "refuse", "hold")
LASTS_S = 2.0


async def bad_weather(proxy: FaultProxy, *, dice: random.Random, lasts_s: float = LASTS_S) -> None:
    """Change the settings until cancelled.

    Args:
        proxy: whose.
        dice: draws them.
        lasts_s: the longest that anything lasts.
    """
    while True:
        change(proxy, dice=dice)
        await asyncio.sleep(lasts_s * dice.random())


def change(proxy: FaultProxy, *, dice: random.Random) -> str:
    """Set one kind of fault, and end the one before; says which."""
    kind = dice.choice(KINDS)
    proxy.counts[f"weather: {kind}"] += 1
    proxy.clear()
    match kind:
        case "slow":
            proxy.both(Way(bytes_per_s=dice.randrange(20_000, 500_000)))
        case "late":
            proxy.both(Way(delay_s=0.05 * dice.random(), jitter_s=0.05 * dice.random()))
        case "swallow":
            proxy.both(Way(swallow=True))
        case "half":
            proxy.up, proxy.down = dice.sample((CLEAR, Way(swallow=True)), 2)
        case "flips":
            proxy.both(Way(flip_every_bytes=dice.randrange(2_000, 50_000)))
        case "cut":
            proxy.cut(dice.choice(tuple(Cut)))
        case "cut later":
            way = Way(cut_after_bytes=dice.randrange(6_000), cut=dice.choice(tuple(Cut)))
            proxy.up, proxy.down = dice.sample((CLEAR, way), 2)
        case "refuse":
            proxy.refusing = True
            proxy.cut()
        case "hold":
            proxy.both(Way(hold=True))
        case _:
            return kind
    return kind
