"""What people confirm stands in the record: two days of a real ceremony, guided, and held against their rehearsal."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.forgery import rewrite
from fakes.keyboard import typed, types
from fakes.later_days import Years
from fakes.rehearsal import fit_host, no_hardening
from fakes.softhsm import needs_softhsm

from ceremony import shares
from ceremony.compare import Watch, compare
from ceremony.conduct.amend import amend
from ceremony.conduct.crl import sign_lists
from ceremony.conduct.day import Inputs, run_day
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.inventory import look
from ceremony.conduct.root import create_root
from ceremony.conduct.setting import Setting
from ceremony.hsm import load_hsm_settings
from ceremony.plan import load_plan
from ceremony.records import Mode
from ceremony.terminal import AtTerminal
from ceremony.transcript import Record, verify_chain
from ceremony.verify import Claim, verify
from shared import terminal
from shared.clock import SystemClock, rfc3339
from shared.crossing.words import digest_words
from shared.errors import ColdrootError, PolicyDenied

pytestmark = needs_softhsm

FIRST = """\
version = 1
title = "The first day"
organization = "Example"
acts = ["root"]

[roles]
administrator = "Alan"
auditor = "Grace"
witnesses = ["Edsger"]

[root]
common_name = "Example Root CA"
key = "ec-p256"
label = "root"
years = 10
not_before = "{begin}"

[shares]
threshold = 2
custodians = ["Ada", "Blaise", "Carl"]
"""
SECOND = """\
version = 1
title = "The second day"
previous = "{previous}"
acts = ["crl:yearly"]

[[crl]]
name = "yearly"
number = 1
this_update = "{begin}"
next_update = "{end}"
"""


@dataclass
class Room:
    """The people: what they are asked, and what they answer."""

    words: tuple[str, ...] = ()
    reader: str = "Edsger"
    stops_at: str = "never"

    def answer(self, question: str) -> str:
        if self.stops_at in question:
            return "stop"
        if "digest words" in question:
            return " ".join((*self.words[:2], *self.words[-2:]))
        if "Who read" in question:
            return self.reader
        return "yes"


@dataclass
class Real:
    """The real ceremony."""

    base: Path
    dealt: list[shares.ShareSet]
    rehearsed: tuple[Record, ...]

    @property
    def directory(self) -> Path:
        return self.base / "ceremony"

    def setting(self) -> Setting:
        # One share after the other, again and again: read back, then quorums of the first two.
        order = [0, 1, 2, *[0, 1] * 5]
        start = 0 if not self.dealt else 3

        def custodian(time: int) -> str:
            return typed(self.dealt[0].shares[order[start + time - 1]].words)

        return Setting(
            directory=CeremonyDirectory(path=self.directory),
            hsm=load_hsm_settings(self.base / "hsm.toml"),
            people=AtTerminal(keyboard=types(custodian), guided=True),
            clock=SystemClock(),
            rng=os.urandom,
            mode=Mode.REAL,
            watch=Watch(self.rehearsed),
        )

    def records(self) -> tuple[Record, ...]:
        return verify_chain((self.directory / "transcript.jsonl").read_bytes())

    def claims(self) -> dict[str, list[Claim]]:
        found: dict[str, list[Claim]] = {}
        verify(self.directory, report=lambda claim: found.setdefault(claim.code, []).append(claim))
        return found


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)
    fit_host(monkeypatch, fit=True)


@pytest.fixture(scope="module")
def plans() -> tuple[str, Callable[[str], str]]:
    """The plan of the first day; and of the second, behind the first's digest."""
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    first = FIRST.format(begin=rfc3339(begin))

    def second(previous: str) -> str:
        return SECOND.format(previous=previous, begin=rfc3339(begin), end=rfc3339(begin + timedelta(days=90)))

    return first, second


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    people = Room()
    monkeypatch.setattr(terminal, "ask_line", people.answer)
    return people


@pytest.fixture
def real(tmp_path: Path, plans: tuple[str, Callable[[str], str]], room: Room, monkeypatch: pytest.MonkeyPatch) -> Real:
    """Both days rehearsed; of the real ceremony the first day."""
    assert room.reader
    practice = Years(tmp_path / "practice")
    practice.base.mkdir()
    practice.prepare(plans[0])
    assert practice.root().exit_code == 0
    plan = practice.base / "plan-2.toml"
    plan.write_text(plans[1](load_plan(plans[0].encode()).digest.hex()))
    assert practice.amend(plan).exit_code == 0
    practice.act("crl", "yearly")
    dealt: list[shares.ShareSet] = []
    split = shares.split

    def overheard(*arguments: object, **options: object) -> shares.ShareSet:
        dealt.append(split(*arguments, **options))  # type: ignore[arg-type]
        return dealt[-1]

    monkeypatch.setattr(shares, "split", overheard)
    rehearsed = verify_chain((practice.directory / "transcript.jsonl").read_bytes())
    there = Real(base=tmp_path / "real", dealt=[], rehearsed=rehearsed)
    there.base.mkdir()
    (there.base / "hsm.toml").write_text((practice.base / "hsm.toml").read_text())
    there_setting = there.setting()
    there.dealt = dealt
    create_root(there_setting, load_plan(plans[0].encode()), plans[0].encode())
    return there


def _second(real: Real, plans: tuple[str, Callable[[str], str]]) -> bytes:
    return plans[1](load_plan((real.directory / "plan.toml").read_bytes()).digest.hex()).encode()


def test_a_guided_day_is_in_the_record(real: Real, room: Room, plans: tuple[str, Callable[[str], str]]) -> None:
    """Who read the words, and which steps were ticked, is otherwise on paper alone."""
    data = _second(real, plans)
    # Years later somebody looked into the HSM, which nobody rehearsed: days are compared each for itself.
    look(replace(real.setting(), watch=None))
    room.words = digest_words(bytes(32))
    with pytest.raises(PolicyDenied) as denied:
        amend(real.setting(), data)
    assert denied.value.code == "digest.not-confirmed"
    room.words = digest_words(hashlib.sha256(data).digest())
    before = len(real.records())
    amend(real.setting(), data)
    sign_lists(real.setting(), "yearly")
    claims = real.claims()
    assert "read aloud by Edsger (witness) and typed" in claims["digest-confirmed"][0].text
    assert "confirmed at the machine by Alan" in claims["steps-confirmed"][0].text
    told = [record for record in real.records()[before:] if record.kind == "step-confirmed"]
    assert [record.body["step"] for record in told] == [
        "host.checked", "plan.amended", "host.checked", "hsm.unlocked", "list.signed", "list.signed",
    ]  # fmt: skip
    assert all(record.body["typed_by"] == "Alan" for record in told)
    asked = [record.body["what"] for record in real.records() if record.kind == "fact-confirmed"]
    assert any("clock that is not this machine's" in str(what) for what in asked)
    differences = compare(real.rehearsed, real.records())
    looked = {"act-opened", "host-checked", "quorum-unlocked", "inventory-taken", "act-closed"}
    assert {each.real for each in differences} <= looked


def test_nobody_is_said_to_have_read_who_did_not(
    real: Real, room: Room, plans: tuple[str, Callable[[str], str]]
) -> None:
    """In a real ceremony a digest that was only shown was compared by nobody."""
    data = _second(real, plans)
    room.words, room.reader = digest_words(hashlib.sha256(data).digest()), "Mallory"
    amend(real.setting(), data)
    assert "Mallory (whom the plan does not name)" in real.claims()["digest-confirmed"][0].text

    def shown_only(records: list[dict[str, object]]) -> None:
        body = next(record["body"] for record in records if record["kind"] == "digest-confirmed")
        assert isinstance(body, dict)
        body["how"] = "rehearsed"

    rewrite(real.directory, shown_only)
    with pytest.raises(ColdrootError) as refused:
        real.claims()
    assert refused.value.code == "verify.confirmed.digest"


def test_a_guided_run_of_a_day(real: Real, room: Room, plans: tuple[str, Callable[[str], str]]) -> None:
    """From act to act people go on together; what they confirm in between belongs to the record, too."""
    data = _second(real, plans)
    room.words = digest_words(hashlib.sha256(data).digest())
    told: list[str] = []
    inputs = Inputs(files=lambda _: ())
    before = len(real.records())
    room.stops_at = "everybody agrees to go on"
    with pytest.raises(PolicyDenied):
        run_day(real.setting(), inputs, plan=data, tell=lambda done: told.append(done.act))
    assert told == ["amend"]
    room.stops_at = "never"
    run_day(real.setting(), inputs, plan=data, tell=lambda done: told.append(done.act))
    run_day(real.setting(), inputs, plan=None, tell=lambda done: told.append(done.act))
    assert told == ["amend", "crl:yearly"]
    added = real.records()[before:]
    asked = [record.body["what"] for record in added if record.kind == "fact-confirmed"]
    assert "Everybody is ready for the act crl:yearly" in asked
    ticked = [record.body["number"] for record in added if record.kind == "step-confirmed"]
    assert "2.3" in ticked, "the last step of an act is ticked when the next one begins"
    assert real.claims()["crl"]


def test_no_act_on_an_unfit_host_verifies(real: Real) -> None:
    """A machine with a network must not be passed off as one without, by whoever rewrites the record."""
    assert "and nothing failed" in real.claims()["host"][0].text

    def unfit(records: list[dict[str, object]]) -> None:
        body = next(record["body"] for record in records if record["kind"] == "host-checked")
        assert isinstance(body, dict)
        body["findings"] = [{"check": "interfaces", "status": "unknown", "detail": ""}]

    rewrite(real.directory, unfit)
    with pytest.raises(ColdrootError) as refused:
        real.claims()
    assert (refused.value.code, "interfaces" in refused.value.message) == ("verify.host", True)


def test_who_stops_is_heard(real: Real, room: Room, plans: tuple[str, Callable[[str], str]]) -> None:
    """A person who says stop must find the act stopped, and the record saying so, with the HSM untouched."""
    data = _second(real, plans)
    room.words = digest_words(hashlib.sha256(data).digest())
    amend(real.setting(), data)
    room.stops_at = "everybody agrees to go on"
    with pytest.raises(PolicyDenied) as stopped:
        sign_lists(real.setting(), "yearly")
    assert stopped.value.code == "people.stopped"
    assert not [record for record in real.records() if record.kind == "list-prepared"]
    room.stops_at = "never"
    sign_lists(real.setting(), "yearly")
    assert real.claims()["crl"]
