"""Many devices through one hub process on a bad network, for long: memory and files must stop growing.

``python -m tests.e2e.soak --minutes 20 --devices 50``; Linux only, which tells what a process holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crdt_sync.testing.proxy import FaultProxy
from tests.e2e.crowd import Crowd
from tests.e2e.growth import Series, descriptors, files_mb, rss_mb, table
from tests.e2e.programs import EndedError, Program, command
from tests.e2e.weather import bad_weather

CROWD = 10
"""Devices of one process."""
SAMPLE_S = 5.0
SAMPLES_MIN = 20
WEATHER_S = 20.0
"""The longest that a fault of the network lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a soak is asked for.

    Args:
        minutes: from when everybody holds the records.
        devices: how many there are.
        records: how many they share.
        edits_per_s: of all devices together.
        seed: of edits and faults.
        sample_s: between two samples.
    """

    minutes: float = 20.0
    devices: int = 50
    records: int = 200
    edits_per_s: float = 5.0
    seed: int = 1
    sample_s: float = SAMPLE_S


class Soak:
    """One soak in an empty folder."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._hub = self._program("-m", "crdt_sync", "serve", str(folder / "hub.db"), "--json")
        self._crowds: list[Program] = []
        self.series = {
            "hub memory": Series(name="hub memory", unit="MB"),
            "hub files": Series(name="hub files", unit="MB"),
            "hub descriptors": Series(name="hub descriptors", unit="open"),
            "device memory": Series(name="memory a device", unit="MB"),
            "device files": Series(name="files a device", unit="MB"),
            "proxy": Series(name="memory of the proxy", unit="MB"),
        }

    async def run(self) -> dict[str, Any]:
        """Soak; the figures, and what went wrong."""
        settings, folder = self._settings, self._folder
        code, said = await command(
            "init", str(folder / "hub.db"), "--no-name", "--models", "tests.e2e.told", home=folder / "home"
        )
        if code:
            raise RuntimeError(said)
        ends: list[dict[str, Any]] = []
        async with AsyncExitStack() as stack:
            stack.callback(self._kill_all)
            port = (await self._hub.start())["port"]
            proxy = await stack.enter_async_context(FaultProxy(port, seed=settings.seed))
            await self._gather(proxy.url)
            weather = asyncio.create_task(bad_weather(proxy, dice=random.Random(settings.seed), lasts_s=WEATHER_S))
            began = time.monotonic()
            while (passed_s := time.monotonic() - began) < settings.minutes * 60:
                self._sample(passed_s)
                await asyncio.sleep(settings.sample_s)
            weather.cancel()
            await asyncio.gather(weather, return_exceptions=True)
            proxy.clear()
            network = dict(sorted(proxy.counts.items()))
            try:
                ends = await self._finish()
            except EndedError as error:  # what was sampled is told all the same
                return self._result(ends, checked=str(error), network=network)
        code, checked = await command("check", str(folder / "hub.db"), home=folder / "home")
        return self._result(ends, checked=checked if code else None, network=network)

    def _kill_all(self) -> None:
        for program in (self._hub, *self._crowds):
            program.abandon()

    async def _gather(self, url: str) -> None:
        """Start all devices, have them hold the records, and then, all at once, begin to write."""
        settings = self._settings
        for first in range(0, settings.devices, CROWD):
            crowd = Crowd(
                folder=str(self._folder),
                url=url,
                first=first,
                devices=min(CROWD, settings.devices - first),
                records=settings.records,
                pause_s=settings.devices / settings.edits_per_s,
                seed=settings.seed,
            )
            self._crowds.append(self._program("-m", "tests.e2e.crowd", json.dumps(asdict(crowd))))
            await self._crowds[-1].start()
            await self._crowds[-1].ask()
        await asyncio.gather(*(crowd.ask() for crowd in self._crowds))

    async def _finish(self) -> list[dict[str, Any]]:
        """Have everybody stop writing and catch up, twice; what each process says in the end."""
        answers: list[dict[str, Any]] = []
        for _ in range(3):
            answers = await asyncio.gather(*(crowd.ask() for crowd in self._crowds))
        return answers

    def _sample(self, at_s: float) -> None:
        crowds = [crowd.pid for crowd in self._crowds]
        devices = self._settings.devices
        for name, value in (
            ("hub memory", rss_mb(self._hub.pid)),
            ("hub files", files_mb(self._folder, "hub.db*")),
            ("hub descriptors", descriptors(self._hub.pid)),
            ("device memory", sum(map(rss_mb, crowds)) / devices),
            ("device files", files_mb(self._folder, "device-*.db*") / devices),
            ("proxy", rss_mb(os.getpid())),
        ):
            self.series[name].add(value, at_s=at_s)

    def _result(self, ends: Sequence[dict[str, Any]], *, checked: Any, network: dict[str, int]) -> dict[str, Any]:
        problems = [problem for end in ends for problem in end["problems"]]
        if len({fingerprint for end in ends for fingerprint in end["fingerprints"]}) != 1:
            problems.append("the devices differ")
        if pending := sum(end["pending"] for end in ends):
            problems.append(f"{pending} operations are pending")
        if checked is not None:
            problems.append(f"it did not end well: {checked}")
        problems += [f"{each.name} grows by {each.growth:.1%}" for each in self.series.values() if not each.is_flat]
        return {
            **asdict(self._settings),
            "edits": sum(end["edits"] for end in ends),
            "reconnects": sum(end["reconnects"] for end in ends),
            "given_up": sum(end["given_up"] for end in ends),
            "network": network,
            "problems": problems,
        }

    def _program(self, *arguments: str) -> Program:
        return Program(*arguments, home=self._folder / "home", log=self._folder / "log")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and print it; 1 where something grows or went wrong."""
    default = Settings()
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=default.minutes, help=f"default {default.minutes:g}")
    parser.add_argument("--devices", type=int, default=default.devices, help=f"default {default.devices}")
    parser.add_argument("--records", type=int, default=default.records, help=f"shared, default {default.records}")
    parser.add_argument("--edits-per-s", type=float, default=default.edits_per_s, help="of all devices together")
    parser.add_argument("--seed", type=int, default=default.seed, help="of edits and faults (default 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="an empty folder for stores and logs")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write everything that was sampled")
    asked = parser.parse_args(arguments)
    settings = Settings(
        minutes=asked.minutes,
        devices=asked.devices,
        records=asked.records,
        edits_per_s=asked.edits_per_s,
        seed=asked.seed,
        sample_s=min(SAMPLE_S, asked.minutes * 60 / SAMPLES_MIN),
    )
    with tempfile.TemporaryDirectory() as place:
        folder = asked.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(settings, folder)
        result = asyncio.run(soak.run())
    if asked.json:
        series = [asdict(each) for each in soak.series.values()]
        asked.json.write_text(json.dumps({**result, "series": series}, indent=1) + "\n", encoding="utf-8")
    told = "\n".join(f"{name}: {value}" for name, value in result.items())
    print(f"{told}\n\n{table(list(soak.series.values()))}")  # noqa: T201  a command prints
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
