"""The program behind ``scripts/simulate-fleet``."""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from model import HOUR, MINUTE, RETRIES, Result, Scenario, simulate
from picture import Panel, draw

SCENARIOS = (
    Scenario(name="no outage"),
    Scenario(name="1 h away", outage=1),
    Scenario(name="8 h away", outage=8),
    Scenario(name="24 h away", outage=24),
    Scenario(name="7 h away, clocks wrong by up to 15 min", outage=7, skew=900),
    Scenario(name="laptops that sleep at night and over lunch", sleepers=1.0),
    Scenario(name="issued in the same minute", together=True),
    Scenario(name="issued in the same minute, 8 h away", outage=8, together=True),
)
LABELS = ("coldroot", "step: again every minute")


def main() -> None:
    """Simulate every scenario under both policies, print the table, draw the pictures."""
    parser = argparse.ArgumentParser(prog="simulate-fleet", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="certificates (default: %(default)s)")
    parser.add_argument("--days", type=int, default=30, help="at least 10 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of chance (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="draw renewal-outages.svg and renewal-deployment.svg")
    options = parser.parse_args()
    if options.count < 1 or options.days < 10:  # noqa: PLR2004 (the outage is on the eighth day)
        parser.error("--count is at least 1 and --days at least 10")
    with ProcessPoolExecutor() as pool:
        futures = [
            pool.submit(simulate, scenario, policy, count=options.count, days=options.days, seed=options.seed)
            for scenario in SCENARIOS
            for policy in RETRIES
        ]
        results = []
        for number, future in enumerate(futures, 1):
            results.append(future.result())
            print(f"\r{number}/{len(futures)}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    print(json.dumps([_figures(each) for each in results], indent=2) if options.json else _table(results))
    if options.draw is not None:
        _draw(results, options.draw)


def _figures(result: Result) -> dict[str, object]:
    recovery = result.recovery()
    return {
        "scenario": result.scenario.name,
        "policy": result.policy,
        "renewals": sum(result.minutes),
        "expired": result.expired,
        "mean": round(result.mean, 3),
        "peak": round(result.peak, 2),
        "waited": len(result.waited),
        "recovery_peak": None if recovery is None else round(recovery[0], 2),
        "recovery_mean": None if recovery is None else round(recovery[1], 2),
        "recovery_hours": None if recovery is None else round(recovery[2], 2),
    }


def _table(results: list[Result]) -> str:
    lines = [
        "| scenario | agent | expired | mean/s | peak/s | after return: peak/s | mean/s | peak:mean | 90% back after |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for result in results:
        recovery = result.recovery()
        told = " | | | "
        if recovery is not None:
            peak, mean, hours = recovery
            told = f"{peak:.1f} | {mean:.1f} | {peak / mean:.1f} | {hours:.1f} h"
        lines.append(
            f"| {result.scenario.name} | {result.policy} | {result.expired:,} | {result.mean:.2f} | {result.peak:.1f} "
            f"| {told} |"
        )
    return "\n".join(lines)


def _draw(results: list[Result], directory: Path) -> None:
    found = {(each.scenario.name, each.policy): each for each in results}

    def panel(name: str, title: str, start: float, hours: float, zero: float) -> Panel:
        first = int(start // MINUTE)
        lines = [
            [seen / MINUTE for seen in found[name, policy].minutes[first : first + int(hours * 60)]]
            for policy in RETRIES
        ]
        return Panel(title=title, lines=lines, first_hour=(start - zero) / HOUR)

    outages = []
    for name in ("1 h away", "8 h away", "24 h away"):
        back = next(each for each in SCENARIOS if each.name == name).away[1]
        outages.append(panel(name, f"the CA was away for {name.removesuffix(' away')}", back - 2 * HOUR, 12, back))
    count = f"{results[0].count:,} certificates of 24 h"
    heading = f"Requests a second after the CA's return, {count}"
    (directory / "renewal-outages.svg").write_text(
        draw(outages, LABELS, heading=heading, hours="hours since its return")
    )
    together = [
        panel("issued in the same minute", "without an outage", 0.0, 72, 0.0),
        panel("issued in the same minute, 8 h away", "8 h away on the eighth day", 7 * 24 * HOUR, 72, 0.0),
    ]
    (directory / "renewal-deployment.svg").write_text(
        draw(together, LABELS, heading=f"All issued in the same minute, {count}", hours="hours since they were issued")
    )


if __name__ == "__main__":
    main()
