"""Many devices through one hub process on a bad network, for long: memory and files must stop growing.

``python -m tests.e2e.soak --minutes 20 --devices 50 --into DIR``; Linux only, which tells what a process holds. What is
sampled is in a file at once, and drawn at the end, which the extra ``plot`` is for. Where a run was ended before that,
``--draw DIR`` tells and draws what it had.
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
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crdt_sync import Replica
from crdt_sync.testing.growth import Series
from crdt_sync.testing.proxy import FaultProxy
from tests.e2e.accounts import Account, disagreements
from tests.e2e.crowd import Crowd
from tests.e2e.growth import descriptors, files_mb, named, read_samples, rss_mb, table
from tests.e2e.programs import EndedError, Program, command
from tests.e2e.steady import MODELS
from tests.e2e.weather import bad_weather

PROCESSES = 3
"""That the devices are in: many in one are lighter, and a hub needs time too."""
SAMPLE_S = 5.0
SAMPLES_MIN = 20
TOLD_S = 60.0
FIGURES = (
    ("hub memory", "MB"),
    ("hub files", "MB"),
    ("hub descriptors", "open"),
    ("memory a device", "MB"),
    ("files a device", "MB"),
    ("memory of the proxy", "MB"),
)
SAMPLES, RESULT, TABLE, PLOT = "samples.jsonl", "result.json", "table.txt", "growth.svg"
Tell = Callable[[str], None]
WEATHER_S = 20.0
"""The longest that a fault of the network lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a soak is asked for.

    Args:
        minutes: from when everybody holds the records.
        devices: how many there are.
        records: how many readings, and tallies, they share.
        edits_per_s: of all devices together, as far as the machine has time for them.
        seed: of edits and faults.
        sample_s: between two samples.
    """

    minutes: float = 20.0
    devices: int = 50
    records: int = 20
    edits_per_s: float = 12.0
    seed: int = 1
    sample_s: float = SAMPLE_S


class Soak:
    """One soak.

    Args:
        settings: what it is asked for.
        folder: empty; stores and logs stay in it.
        samples: a file, to which each sample is added at once.
        tell: called with a line now and then.
    """

    def __init__(self, settings: Settings, folder: Path, *, samples: Path, tell: Tell) -> None:
        self._settings = settings
        self._folder = folder
        self._samples = samples
        self._tell = tell
        self._hub = self._program("-m", "crdt_sync", "serve", str(folder / "hub.db"), "--json")
        self._crowds: list[Program] = []
        self.series = [named(name, unit) for name, unit in FIGURES]

    async def run(self) -> dict[str, Any]:
        """Soak; the figures, and what went wrong."""
        settings, folder = self._settings, self._folder
        code, said = await command(
            "init", str(folder / "hub.db"), "--no-name", "--models", "tests.e2e.steady", home=folder / "home"
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
            await self._watch()
            weather.cancel()
            await asyncio.gather(weather, return_exceptions=True)
            proxy.clear()
            network = dict(sorted(proxy.counts.items()))
            try:
                ends = await self._finish()
            except EndedError as error:  # what was sampled is told all the same
                return self._result(ends, checked=str(error), network=network)
        differing = compared(folder / "hub.db", ends)
        code, checked = await command("check", str(folder / "hub.db"), home=folder / "home")
        return self._result(ends, checked=checked if code else None, network=network, differing=differing)

    async def _watch(self) -> None:
        began, told_s = time.monotonic(), 0.0
        self._note(FIGURES)
        while (passed_s := time.monotonic() - began) < self._settings.minutes * 60:
            values = self._sample()
            self._note((passed_s, *values))
            for each, value in zip(self.series, values, strict=True):
                each.add(value, at_s=passed_s)
            if passed_s >= told_s:
                told_s += TOLD_S
                figures = ", ".join(f"{each.name} {each.values[-1]:.1f}" for each in self.series)
                self._tell(f"minute {passed_s / 60:.0f}: {figures}")
            await asyncio.sleep(self._settings.sample_s)

    def _note(self, what: object) -> None:
        with self._samples.open("a", encoding="utf-8") as file:
            file.write(json.dumps(what) + "\n")

    def _kill_all(self) -> None:
        for program in (self._hub, *self._crowds):
            program.abandon()

    async def _gather(self, url: str) -> None:
        """Start all devices, have them hold the records, and then, all at once, begin to write."""
        settings = self._settings
        most = -(-settings.devices // PROCESSES)
        for first in range(0, settings.devices, most):
            crowd = Crowd(
                folder=str(self._folder),
                url=url,
                first=first,
                devices=min(most, settings.devices - first),
                records=settings.records,
                pause_s=settings.devices / settings.edits_per_s,
                seed=settings.seed,
            )
            self._crowds.append(self._program("-m", "tests.e2e.crowd", json.dumps(asdict(crowd))))
            await self._crowds[-1].start()
            await self._crowds[-1].ask()
            self._tell(f"{first + crowd.devices} devices have caught up")
        await asyncio.gather(*(crowd.ask() for crowd in self._crowds))

    async def _finish(self) -> list[dict[str, Any]]:
        """Have everybody stop writing and catch up, twice; what each process says in the end."""
        answers: list[dict[str, Any]] = []
        for _ in range(3):
            answers = await asyncio.gather(*(crowd.ask() for crowd in self._crowds))
        return answers

    def _sample(self) -> tuple[float, ...]:
        crowds = [crowd.pid for crowd in self._crowds]
        devices = self._settings.devices
        return (
            rss_mb(self._hub.pid),
            files_mb(self._folder, "hub.db*"),
            descriptors(self._hub.pid),
            sum(map(rss_mb, crowds)) / devices,
            files_mb(self._folder, "device-*.db*") / devices,
            rss_mb(os.getpid()),
        )

    def _result(
        self,
        ends: Sequence[dict[str, Any]],
        *,
        checked: Any,
        network: dict[str, int],
        differing: Sequence[str] = (),
    ) -> dict[str, Any]:
        problems = [*(problem for end in ends for problem in end["problems"]), *differing]
        if pending := sum(end["pending"] for end in ends):
            problems.append(f"{pending} operations are pending")
        if checked is not None:
            problems.append(f"it did not end well: {checked}")
        problems += [f"{each.name} grows by {each.growth:.1%}" for each in self.series if not each.is_flat]
        return {
            **asdict(self._settings),
            "edits": sum(end["edits"] for end in ends),
            "votes": sum(sum(account["votes"].values()) for end in ends for account in end["accounts"]),
            "reconnects": sum(end["reconnects"] for end in ends),
            "given_up": sum(end["given_up"] for end in ends),
            "left_out": sum(end["left_out"] for end in ends),
            "notes_at_the_end": max((end["notes"] for end in ends), default=0),
            "network": network,
            "problems": problems,
        }

    def _program(self, *arguments: str) -> Program:
        return Program(*arguments, home=self._folder / "home", log=self._folder / "log")


def compared(hub: Path, ends: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the devices differ from the hub, and the hub from what they were told.

    Args:
        hub: the store that it left.
        ends: what each process of devices said in the end.
    """
    accounts = [Account(**account) for end in ends for account in end["accounts"]]
    with Replica.open(hub, MODELS, read_only=True) as replica:
        problems = disagreements(replica, accounts)
        fingerprint = replica.port.fingerprint("").hex()
    if {each for end in ends for each in end["fingerprints"]} != {fingerprint}:
        problems.append("the devices and the hub differ")
    return problems


def shown(result: Mapping[str, Any], series: Sequence[Series]) -> str:
    """What came of a soak, as text."""
    told = "\n".join(f"{name}: {value}" for name, value in result.items())
    return f"{told}\n\n{table(series)}\n"


def draw(folder: Path, *, title: str) -> None:
    """Draw the samples of a folder, which may be those of a soak that was ended."""
    from tests.e2e.plotting import plot  # an extra, without which everything else works

    plot(read_samples(folder / SAMPLES), folder / PLOT, title=title)


def tell(line: str) -> None:
    """Say how far it is."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201  a command prints


def settings_of(arguments: Sequence[str] | None) -> tuple[Settings, argparse.Namespace]:
    """What the command line asks for."""
    default = Settings()
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=default.minutes, help=f"default {default.minutes:g}")
    parser.add_argument("--devices", type=int, default=default.devices, help=f"default {default.devices}")
    parser.add_argument("--records", type=int, default=default.records, help=f"shared, default {default.records}")
    parser.add_argument("--edits-per-s", type=float, default=default.edits_per_s, help="of all devices together")
    parser.add_argument("--seed", type=int, default=default.seed, help="of edits and faults (default 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="an empty folder for stores and logs")
    parser.add_argument("--into", type=Path, metavar="DIR", default=Path("soak"), help="for what came of it")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="only tell and draw what a soak left there")
    asked = parser.parse_args(arguments)
    settings = Settings(
        minutes=asked.minutes,
        devices=asked.devices,
        records=asked.records,
        edits_per_s=asked.edits_per_s,
        seed=asked.seed,
        sample_s=min(SAMPLE_S, asked.minutes * 60 / SAMPLES_MIN),
    )
    return settings, asked


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and print it; 1 where something grows or went wrong."""
    settings, asked = settings_of(arguments)
    if asked.draw:
        series = read_samples(asked.draw / SAMPLES)
        draw(asked.draw, title=f"{settings.devices} devices through one hub")
        print(table(series))  # noqa: T201  a command prints
        return 0 if all(each.is_flat for each in series) else 1
    asked.into.mkdir(parents=True, exist_ok=True)
    (asked.into / SAMPLES).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = (asked.keep or Path(place)).resolve()  # a user's directories are absolute, or not used
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(settings, folder, samples=asked.into / SAMPLES, tell=tell)
        result = asyncio.run(soak.run())
    (asked.into / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (asked.into / TABLE).write_text(shown(result, soak.series), encoding="utf-8")
    print(shown(result, soak.series))  # noqa: T201  a command prints
    draw(asked.into, title=f"{settings.devices} devices through one hub, {result['edits']:,} edits")
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
