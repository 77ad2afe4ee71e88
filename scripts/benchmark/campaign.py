"""What is done with the load: the whole matrix, a database that has grown, many renewals."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from databases import database as server
from databases import missing
from growth import CERTIFICATES, TOKENS, grow
from measure import run
from nodes import House, Node, make_house, node
from works import CROWDED, EMBEDDED, MATRIX, OURS, OURS_CROWDED, Outcome, Reading, Work

_QUICK = 0.2
HOURS, RENEWALS = 24, 10_000
_RENEWAL = Work(database=EMBEDDED, kind="renew", connections=8, requests=RENEWALS)
_PROFILED = tuple(Work(database=EMBEDDED, kind=kind, connections=8, requests=6000) for kind in ("sign", "renew"))
_GROWN = tuple(
    each for each in MATRIX if each.database == EMBEDDED and not each.kind.startswith("health") and each.connections > 1
)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How often a function was found at work."""

    own: Counter[str]
    """Itself, or C code that it called."""
    below: Counter[str]
    """Itself, or anything that it called."""


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """How it is measured."""

    program: Path
    """The load generator."""
    directory: Path
    products: tuple[str, ...]
    rounds: int
    workers: int
    quick: bool = False

    def matrix(self, databases: Sequence[str], kinds: Sequence[str]) -> Outcome:
        """Measure each cell, all products side by side, round by round."""
        readings: dict[tuple[str, Work], list[Reading]] = {}
        starts: dict[str, list[float]] = {}
        for database in databases:
            absent = missing(database)
            if absent is not None:
                say(f"{absent}: not measured")
                continue
            works = [each for each in MATRIX if each.database == database and each.kind in kinds]
            house = make_house(self.directory / database)
            with ExitStack() as stack:
                if database == EMBEDDED:
                    self._starts(house, starts)
                nodes = []
                for product in self.products:
                    own = stack.enter_context(server(database))
                    nodes.append(stack.enter_context(node(product, house, database=own, workers=self.workers)))
                self._rounds(house, nodes, works, readings)
            if CROWDED in works:
                self._crowded(readings)
        return Outcome(readings=readings, starts=starts)

    def grown(self) -> Outcome:
        """Measure our node with an empty database beside the same with one that has grown; names tell which."""
        readings: dict[tuple[str, Work], list[Reading]] = {}
        fresh, full = make_house(self.directory / "fresh"), make_house(self.directory / "full")
        say(f"filling a database with {CERTIFICATES:,} certificates and {TOKENS:,} used tokens …")
        taken = asyncio.run(grow(full.home, share=_QUICK if self.quick else 1.0))
        say(f"filled in {taken:.0f} s")
        with (
            node(OURS, fresh, workers=self.workers) as first,
            node(OURS, full, workers=self.workers) as second,
        ):
            for _ in range(self.rounds):
                for work in _GROWN:
                    for name, house, each in (("empty", fresh, first), ("grown", full, second)):
                        readings.setdefault((name, work), []).append(self._one(name, each, house, work))
        return Outcome(readings=readings, starts={})

    def renewals(self) -> list[Reading]:
        """Let 24 times 10,000 certificates be renewed, as fast as it goes, and look at the node after each of them."""
        house = make_house(self.directory / "renewals")
        with node(OURS, house, workers=self.workers) as each:
            return [self._one(f"{hour + 1} of {HOURS}", each, house, _RENEWAL) for hour in range(HOURS)]

    def profile(self) -> dict[Work, Profile]:
        """Note where one worker of ours spends its processor time."""
        house, seen = make_house(self.directory / "profile"), {}
        for work in _PROFILED:
            file = self.directory / f"profile-{work.kind}"
            with node(OURS, house, sampled=file) as each:
                self._one(OURS, each, house, work)
            profile = Profile(own=Counter(), below=Counter())
            for part in self.directory.glob(f"{file.name}.*"):
                counts = json.loads(part.read_text())
                profile.own.update(counts["own"])
                profile.below.update(counts["below"])
            seen[work] = profile
        return seen

    def _crowded(self, readings: dict[tuple[str, Work], list[Reading]]) -> None:
        cores = os.cpu_count() or 1
        if cores <= self.workers:
            return
        house = make_house(self.directory / "crowded")
        with node(OURS, house, workers=cores) as each:
            readings[OURS_CROWDED, CROWDED] = [
                self._one(OURS_CROWDED, each, house, CROWDED) for _ in range(self.rounds)
            ]

    def _starts(self, house: House, starts: dict[str, list[float]]) -> None:
        for _ in range(self.rounds):
            for product in self.products:
                with node(product, house, workers=self.workers) as started:
                    starts.setdefault(product, []).append(started.seconds)

    def _rounds(
        self,
        house: House,
        nodes: Sequence[Node],
        works: Sequence[Work],
        readings: dict[tuple[str, Work], list[Reading]],
    ) -> None:
        for _ in range(self.rounds):
            for work in works:
                # In turn, so that what else the machine does falls on all of them.
                for each in nodes:
                    readings.setdefault((each.product, work), []).append(self._one(each.product, each, house, work))

    def _one(self, name: str, each: Node, house: House, work: Work) -> Reading:
        asked = int(work.requests * (_QUICK if self.quick else 1))
        reading = run(self.program, house, each, replace(work, requests=max(4 * work.connections, asked)))
        say(
            f"{work.database}, {work.name}, C={work.connections}, {name}: "
            f"{reading.rate:.0f}/s, {reading.cost:.3f} CPU s/1000, {reading.node_memory:.0f} MiB"
        )
        return reading


def say(text: str) -> None:
    """Say how far it is; stdout is left to the tables."""
    print(text, file=sys.stderr, flush=True)
