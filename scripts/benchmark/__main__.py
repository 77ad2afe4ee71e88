"""The program behind ``scripts/bench``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The tests know how to make a node's home and how to start a database.
sys.path[1:1] = [str(ROOT / "tests"), str(ROOT)]

import budget  # noqa: E402
import report  # noqa: E402
from campaign import Campaign, say  # noqa: E402
from goals import GOALS  # noqa: E402
from measure import build  # noqa: E402
from nodes import products  # noqa: E402
from picture import draw  # noqa: E402
from programs import Failed, end_on_signals  # noqa: E402
from works import DATABASES, KINDS, Outcome  # noqa: E402

from online.workers import default_workers  # noqa: E402

DOCUMENT = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance.svg"


def main() -> None:
    """Measure what was asked for, print the tables, and keep those of a whole run."""
    options = _options()
    end_on_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="coldroot-bench-") as directory:
            path = Path(directory)
            path.chmod(0o711)  # the database servers run as other users
            campaign = Campaign(
                program=build(path),
                directory=path,
                products=products(only_ours=options.only_ours),
                rounds=1 if options.quick else options.rounds,
                workers=options.workers,
                quick=options.quick,
            )
            if options.grown:
                _grown(campaign)
            elif options.profile:
                _profile(campaign)
            elif options.renewals:
                _renewals(campaign)
            else:
                _matrix(campaign, options)
    except Failed as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure this node beside step-ca, in the same run.")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians count (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a fifth of everything, one round; nothing is kept")
    parser.add_argument("--modes", type=_some(KINDS), default=KINDS, metavar="LIST", help=f"some of {','.join(KINDS)}")
    known = ",".join(DATABASES)
    parser.add_argument(
        "--databases", type=_some(DATABASES), default=(*DATABASES,), metavar="LIST", help=f"some of {known}"
    )
    parser.add_argument("--only-ours", action="store_true", help="without step-ca")
    parser.add_argument("--workers", type=int, default=default_workers(), help="of our node (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every reading of the matrix in this file")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--grown", action="store_true", help="instead: an empty database beside one that has grown")
    instead.add_argument("--renewals", action="store_true", help="instead: as many renewals as a busy day brings")
    instead.add_argument("--profile", action="store_true", help="instead: where one worker spends its time")
    options = parser.parse_args()
    if options.rounds < 1 or options.workers < 1:
        parser.error("--rounds and --workers are at least 1")
    return options


def _some(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        chosen = text.split(",")
        if not set(chosen) <= set(known):
            raise argparse.ArgumentTypeError(f"choose from {','.join(known)}")
        return tuple(each for each in known if each in chosen)

    return parse


def _matrix(campaign: Campaign, options: argparse.Namespace) -> None:
    alone = len(campaign.products) == 1
    if alone and not options.only_ours:
        say("step-ca is not on PATH: there is nothing to compare with")
    outcome = campaign.matrix(options.databases, options.modes)
    where = report.machine(campaign.workers, rounds=campaign.rounds)
    tables = "\n\n".join([where, report.verdicts(outcome), report.matrix(outcome)])
    print(tables)
    if options.json:
        _keep(options.json, outcome)
    if campaign.quick or alone or (options.modes, options.databases) != (KINDS, (*DATABASES,)):
        return
    report.put(DOCUMENT, "figures", tables)
    PICTURE.write_text(draw(outcome, GOALS, heading=where))
    core = budget.core()
    parts = [
        budget.shares(outcome, core),
        "The core by itself, step by step:",
        core.text,
        budget.limits(campaign.directory),
    ]
    report.put(DOCUMENT, "budget", "\n\n".join(parts))
    say(f"kept in {DOCUMENT.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")


def _grown(campaign: Campaign) -> None:
    _publish(campaign, "growth", report.growth(campaign.grown()), rounds=campaign.rounds)


def _renewals(campaign: Campaign) -> None:
    _publish(campaign, "renewals", report.endurance(campaign.renewals()))


def _profile(campaign: Campaign) -> None:
    parts = [
        f"{work.name[0].upper()}{work.name[1:]}, C={work.connections}; {seen.own.total()} looks.\n\n"
        + report.profile(seen.own, seen.below)
        for work, seen in campaign.profile().items()
    ]
    _publish(campaign, "profile", "\n\n".join(parts), workers=1)


def _publish(
    campaign: Campaign, name: str, text: str, *, workers: int | None = None, rounds: int | None = None
) -> None:
    text = f"{report.machine(workers or campaign.workers, rounds=rounds)}\n\n{text}"
    print(text)
    if not campaign.quick:
        report.put(DOCUMENT, name, text)
        say(f"kept in {DOCUMENT.relative_to(ROOT)}")


def _keep(file: Path, outcome: Outcome) -> None:
    document = {
        "starts": outcome.starts,
        "readings": [
            {"product": product, **dataclasses.asdict(work), "rounds": [dataclasses.asdict(each) for each in many]}
            for (product, work), many in outcome.readings.items()
        ],
    }
    file.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
