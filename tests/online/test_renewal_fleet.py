"""The simulation of a fleet: its own arithmetic, and what docs/renewal.md claims, on a small scale."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
COUNT = 2000


@pytest.fixture(name="figures", scope="module")
def _figures(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """Run the program as the script does, on a fleet of 2,000 for ten days."""
    directory = tmp_path_factory.mktemp("pictures")
    options = ("--count", str(COUNT), "--days", "10", "--json", "--draw", str(directory))
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "fleet"), *options],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    for name in ("renewal-outages.svg", "renewal-deployment.svg"):
        # Our own file, parsed to see that it is one.
        assert ET.parse(directory / name).getroot().tag.endswith("svg")  # noqa: S314
    return {(each["scenario"], each["policy"]): each for each in json.loads(done.stdout)}


def test_nothing_expires_while_a_third_of_life_is_enough(figures: dict[tuple[str, str], dict[str, Any]]) -> None:
    """The reason for renewing at two thirds: outages of hours, wrong clocks and sleeping laptops harm nobody."""
    for (scenario, policy), each in figures.items():
        if policy == "coldroot":
            assert each["expired"] == (COUNT if scenario == "24 h away" else 0), scenario


def test_a_returning_ca_is_not_overrun(figures: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Retries in step make an outage of an hour into an overload of the CA; spread ones must stay far below."""
    for scenario in ("1 h away", "8 h away", "24 h away"):
        ours, theirs = figures[scenario, "coldroot"], figures[scenario, "step"]
        assert ours["waited"] > 0
        assert ours["recovery_peak"] * 8 < theirs["recovery_peak"]
        assert ours["recovery_hours"] < 8


def test_renewals_are_as_many_as_lives_allow(figures: dict[tuple[str, str], dict[str, Any]]) -> None:
    """A model that loses certificates would find no crowds."""
    wanted = COUNT * 10 / (2 / 3 - 1 / 40)
    assert figures["no outage", "coldroot"]["renewals"] == pytest.approx(wanted, rel=0.05)
    # Laptops whose timers stand still fall behind.
    assert figures["laptops that sleep at night and over lunch", "step"]["expired"] > COUNT
