"""Ceremonies of earlier programs: a root lives for decades, and whatever is there then must verify its record."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest
from fakes.rehearsal import Rehearsal, no_hardening

from ceremony.plan import load_plan
from ceremony.verify import Claim, verify
from shared.clock import rfc3339

EARLIER = Path(__file__).parents[1] / "vectors" / "ceremony-format-1"
"""A rehearsal from before there were later days and records of what people confirmed."""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)
    # Papers are drawn again by the very versions that drew them, and left out by others.
    monkeypatch.setattr(metadata, "version", lambda _: "a later one")


def _claims(directory: Path) -> list[Claim]:
    found: list[Claim] = []
    verify(directory, report=found.append)
    return found


def test_an_earlier_ceremony_still_verifies() -> None:
    """A verifier that forgets how records looked makes every earlier root worthless."""
    claims = _claims(EARLIER)
    assert [claim.code for claim in claims if claim.code in {"plan", "crl", "cross", "rollover", "backup"}] == [
        "plan", "crl", "crl", "crl", "crl", "cross", "rollover", "backup",
    ]  # fmt: skip
    assert not [claim for claim in claims if claim.code == "digest-confirmed"]
    assert claims[-1].text.startswith("8 acts are signed")


def test_an_earlier_ceremony_goes_on(tmp_path: Path) -> None:
    """The roots that exist already are those that need a later day."""
    copy = shutil.copytree(EARLIER, tmp_path / "copy")
    before = load_plan((copy / "plan.toml").read_bytes())
    begin = datetime.now(UTC).replace(microsecond=0)
    plan = tmp_path / "plan-2.toml"
    plan.write_text(
        f'version = 1\ntitle = "Later"\nprevious = "{before.digest.hex()}"\nacts = ["crl:later"]\n'
        f'[[crl]]\nname = "later"\nnumber = 20\nthis_update = "{rfc3339(begin)}"\n'
        f'next_update = "{rfc3339(begin + timedelta(days=9))}"\n'
    )
    here = Rehearsal(tmp_path)
    forgets = here.run("rehearse", "amend", "--dir", copy, plan)
    assert (forgets.exit_code, "crl.forgets" in forgets.stderr) == (1, True)
    revoked = before.crls[1].revoked[0]
    with plan.open("a") as file:
        file.write(f'[[crl.revoked]]\nfile = "alpha"\nreason = "superseded"\ndate = "{rfc3339(revoked.date)}"\n')
    done = here.run("rehearse", "amend", "--dir", copy, plan)
    assert done.exit_code == 0, done.stderr
    assert [claim.code for claim in _claims(copy)].count("plan") == 2
