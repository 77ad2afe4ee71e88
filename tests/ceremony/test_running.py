"""A whole day by one command: it asks for what it needs, goes on where it stopped, and does nothing twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from fakes.later_acts import make_partner
from fakes.later_days import Years
from fakes.rehearsal import no_hardening, request_bundle
from fakes.softhsm import needs_softhsm

from ceremony.transcript import verify_chain
from shared import keys, names
from shared.clock import rfc3339

pytestmark = needs_softhsm

FIRST = """\
version = 1
title = "A day in one run"
organization = "Example"
acts = ["root", "intermediate:alpha", "cross:partner", "crl:yearly", "rollover:next", "rotate:spring", "backup",
        "restore-test"]
backup = true

[root]
common_name = "Example Root CA"
key = "ec-p256"
label = "root"
years = 10
not_before = "{begin}"

[[intermediate]]
file = "alpha"
common_name = "Alpha CA"
years = 5

[[cross]]
name = "partner"
common_name = "Partner Root CA"
organization = "Partner"
fingerprint = "{fingerprint}"
years = 3

[[crl]]
name = "yearly"
number = 1
this_update = "{begin}"
next_update = "{end}"

[[rollover]]
name = "next"
common_name = "Example Root CA"
key = "ec-p256"
label = "root-2"
years = 10

[shares]
threshold = 2
custodians = ["Ada", "Blaise", "Carl"]

[[rotation]]
name = "spring"
threshold = 2
custodians = ["Fritz", "Gottfried"]
"""
SECOND = """\
version = 1
title = "The end"
previous = "{previous}"
acts = ["rotate:autumn", "destroy"]

[[rotation]]
name = "autumn"
threshold = 2
custodians = ["Ada", "Blaise", "Carl"]
"""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)


def _run(years: Years, *more: str | Path) -> Result:
    return years.run(
        "rehearse", "run", "--dir", years.directory, "--hsm", years.base / "hsm.toml", "--words-file", years.words,
        "--out", years.base / "replies", *more,
    )  # fmt: skip


def _states(years: Years) -> dict[str, str]:
    told = json.loads(years.run("status", "--dir", years.directory, "--json").stdout)
    return {each["act"]: each["state"] for each in told["acts"]}


def _killed(years: Years, *more: str | Path, at: str) -> None:
    """Run the day in a process of its own, which is killed right after a record of a kind."""
    program = (
        "import os\nfrom ceremony.cli import cli\nfrom ceremony.transcript import Transcript\n"
        "append = Transcript.append\n"
        "def killed(self, kind, body):\n    record = append(self, kind, body)\n"
        f"    if kind == {at!r}:\n        os.kill(os.getpid(), 9)\n    return record\n"
        "Transcript.append = killed\ncli()\n"
    )
    line = [
        sys.executable, "-c", program, "rehearse", "run", "--dir", years.directory, "--hsm", years.base / "hsm.toml",
        "--words-file", years.words, "--out", years.base / "replies", *more,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    gone = subprocess.run([str(each) for each in line], capture_output=True, check=False, env=environment)
    assert gone.returncode == -9, gone.stderr


def test_two_days_by_one_command_each(tmp_path: Path) -> None:
    """Who must remember ten commands forgets one; and a run that was stopped must not sign anything again."""
    partner = make_partner()
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    years = Years(tmp_path / "years")
    years.base.mkdir()
    plan = FIRST.format(
        begin=rfc3339(begin), end=rfc3339(begin + timedelta(days=90)), fingerprint=keys.fingerprint(partner.root)
    )
    years.prepare(plan)
    given = ("--plan", years.base / "plan.toml")
    # The machine loses its power while the root key is made, and while the intermediate is signed.
    _killed(years, *given, at="key-generated")
    assert _states(years)["root"] == "open"
    wants = _run(years, *given)
    assert (wants.exit_code, "run.no-input" in wants.stderr, "--input alpha=FILE" in wants.stderr) == (1, True, True)
    assert "done  root" in wants.stdout
    assert _states(years)["intermediate:alpha"] == "to do"
    subject = names.subject(common="Alpha CA", organization="Example")
    request, *_ = years.request(request_bundle(keys.generate(keys.KeyKind.EC_P256), subject=subject))
    alpha = f"alpha={request}"
    _killed(years, *given, "--input", alpha, at="certificate-issued")
    # It was signed: the reply is delivered from the record, and the day goes on until the next thing is missing.
    wants = _run(years, "--input", alpha)
    assert "partner is needed" in wants.stderr
    assert "done  intermediate:alpha" in wants.stdout
    other = years.base / "partner.crt"
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 (only here)

    other.write_bytes(partner.root.public_bytes(Encoding.DER))
    done = _run(years, "--input", f"partner={other}")
    assert done.exit_code == 0, done.stderr
    assert set(_states(years).values()) == {"done"}
    assert "nothing is left" in years.run("status", "--dir", years.directory).stdout
    again = _run(years)
    assert (again.exit_code, again.stdout) == (0, "")
    refused = _run(years, "--plan", years.base / "hsm.toml")
    assert refused.exit_code == 1
    years.verify()
    second = years.base / "plan-2.toml"
    second.write_text(SECOND.format(previous=hashlib.sha256(plan.encode()).hexdigest()))
    _killed(years, "--plan", second, at="plan-amended")
    assert _states(years) == {"amend": "open", "rotate:autumn": "to do", "destroy": "to do"}
    done = _run(years, "--plan", second)
    assert done.exit_code == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("done")] == [
        "done  amend", "done  rotate:autumn", "done  destroy",
    ]  # fmt: skip
    years.verify()
    kinds = [record.kind for record in verify_chain((years.directory / "transcript.jsonl").read_bytes())]
    assert kinds.count("certificate-issued") == 2
    assert kinds.count("pins-replaced") == 2
