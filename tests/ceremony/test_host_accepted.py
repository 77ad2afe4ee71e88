"""A finding that no hand can mend, accepted by the plan: that one, word for word, by two people, and in the record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.rehearsal import Rehearsal, no_hardening
from fakes.softhsm import needs_softhsm

from ceremony import host
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.setting import Scene, check_host, host_facts
from ceremony.host import Check, HostFinding, Status
from ceremony.host_evidence import host_claims
from ceremony.plan import EXAMPLE, Plan, Standing, amend_plan, load_plan, not_accepted
from ceremony.plan_history import PlanDay, PlanHistory
from ceremony.records import Kind, Mode
from ceremony.terminal import Rehearsing
from ceremony.transcript import Transcript
from shared.clock import SystemClock
from shared.errors import PolicyDenied, RequestRejected

FINDING = "radios can transmit (phy0): take them out, or run rfkill block all"
ROLES = '[roles]\nadministrator = "Grace"\nauditor = "Barbara"\nwitnesses = ["Alan"]\n'
EXCEPTION = f"""
[[host_exception]]
check = "radios"
finding = "{FINDING}"
reason = "It is soldered in; jumper J4 cuts its supply, as Barbara measured."
accepted_by = ["Barbara", "Alan"]
"""
RADIO = HostFinding(check=Check.RADIOS, status=Status.FAIL, detail=FINDING)
GOOD = HostFinding(check=Check.SWAP, status=Status.PASS, detail="no swap")


def _plan(exception: str = EXCEPTION, roles: str = ROLES) -> Plan:
    return load_plan((EXAMPLE + roles + exception).encode())


class _Asked(Rehearsing):
    """People who remember what they were asked."""

    def __init__(self, *, agree: bool = True) -> None:
        super().__init__(Path("none"))
        self.asked: list[str] = []
        self._agree = agree

    def confirm(self, what: str) -> None:
        """Answer as the test wants it."""
        self.asked.append(what)
        if not self._agree:
            raise PolicyDenied("people.refused", what)


def _scene(tmp_path: Path, people: _Asked, mode: Mode = Mode.REAL) -> Scene:
    return Scene(directory=CeremonyDirectory(path=tmp_path / "c"), people=people, clock=SystemClock(), mode=mode)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[HostFinding]:
    """Let the machine have these findings."""
    findings = [RADIO, GOOD]
    no_hardening(monkeypatch)
    monkeypatch.setattr(host, "check_host", lambda **_: tuple(findings))
    return findings


def test_what_is_accepted_stops_nothing_and_is_asked_about(tmp_path: Path, found: list[HostFinding]) -> None:
    """A good machine with a soldered radio must not make people drop the whole check."""
    people = _Asked()
    assert check_host(_scene(tmp_path, people), _plan()) == tuple(found)
    assert len(people.asked) == 1
    assert FINDING in people.asked[0]
    assert "Barbara and Alan" in people.asked[0]
    with pytest.raises(PolicyDenied) as denied:
        check_host(_scene(tmp_path, _Asked()), _plan("", ""))
    assert denied.value.code == "host.not-fit"


def test_people_who_see_that_it_is_not_so_any_more_stop(tmp_path: Path, found: list[HostFinding]) -> None:
    """The jumper may have been put back since the plan was written."""
    del found
    with pytest.raises(PolicyDenied) as denied:
        check_host(_scene(tmp_path, _Asked(agree=False)), _plan())
    assert denied.value.code == "people.refused"


@pytest.mark.parametrize(
    "other",
    [
        replace(RADIO, detail=FINDING.replace("phy0", "phy0, phy1")),
        replace(RADIO, detail="cannot be found out on this system (OSError)", status=Status.UNKNOWN),
        replace(RADIO, check=Check.USB),
        HostFinding(check=Check.SWAP, status=Status.FAIL, detail=FINDING),
    ],
)
def test_anything_else_is_not_accepted(tmp_path: Path, found: list[HostFinding], other: HostFinding) -> None:
    """An exception for one radio must not let a second one in, nor anything that merely looks alike."""
    found[0] = other
    people = _Asked()
    with pytest.raises(PolicyDenied) as denied:
        check_host(_scene(tmp_path, people), _plan())
    assert denied.value.code == "host.not-fit"
    assert people.asked == []
    assert not_accepted(found, _plan().accepted) == (other,)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('check = "radios"', 'check = "swap"', "check"),
        ('check = "radios"', 'check = "installation"', "check"),
        (FINDING, "", "finding"),
        (FINDING, "a\\u202eb", "finding"),
        ('reason = "It', 'why = "It', "reason"),
        ('["Barbara", "Alan"]', '["Barbara"]', "accepted_by"),
        ('["Barbara", "Alan"]', '["Barbara", "Barbara"]', "accepted_by"),
        ('["Barbara", "Alan"]', '["Barbara", "Grace"]', "accepted_by[1]"),
        ('["Barbara", "Alan"]', '["Barbara", "Mallory"]', "accepted_by[1]"),
        ("[[host_exception]]", "[[host_exceptions]]", "host_exceptions"),
    ],
)
def test_each_mistake_names_its_key(old: str, new: str, named: str) -> None:
    """What can be mended is mended, and nobody accepts alone, or for the administrator."""
    assert old in EXCEPTION
    with pytest.raises(RequestRejected) as refused:
        _plan(EXCEPTION.replace(old, new))
    assert named in refused.value.message
    with pytest.raises(RequestRejected):
        _plan(EXCEPTION + EXCEPTION)


def test_the_command_says_whether_that_is_all(tmp_path: Path, found: list[HostFinding]) -> None:
    """Before the day, people must be able to see that nothing but the accepted finding is left."""
    (tmp_path / "plan.toml").write_text(EXAMPLE + ROLES + EXCEPTION)
    rehearsal = Rehearsal(tmp_path)
    assert rehearsal.run("host", "check").exit_code == 1
    assert rehearsal.run("host", "check", "--plan", tmp_path / "plan.toml").exit_code == 0
    found.append(HostFinding(check=Check.SWAP, status=Status.FAIL, detail="swap is on"))
    refused = rehearsal.run("host", "check", "--plan", tmp_path / "plan.toml")
    assert (refused.exit_code, "not fit for a ceremony: swap" in refused.stderr) == (1, True)


def test_what_one_day_accepted_the_next_does_not() -> None:
    """The machine of another year is another one: people must agree anew."""
    first = _plan()
    assert first.accepted
    later = f"""version = 1
previous = "{first.digest.hex()}"
title = "Next"
acts = ["crl:next"]
[[crl]]
name = "next"
number = 1
this_update = "2027-01-01T00:00:00Z"
next_update = "2027-12-01T00:00:00Z"
"""
    standing = Standing(dealt_by="root", begun=frozenset(map(str, first.acts)))
    assert amend_plan(first, later.encode(), standing).accepted == ()
    assert amend_plan(first, (later + EXCEPTION).encode(), standing).accepted == first.accepted


def _claims(tmp_path: Path, plan: Plan, findings: list[HostFinding], mode: Mode = Mode.REAL) -> list[str]:
    path = tmp_path / "transcript.jsonl"
    path.unlink(missing_ok=True)
    transcript = Transcript.create(path, {"mode": mode.value}, SystemClock())
    transcript.append(Kind.HOST_CHECKED, host_facts(findings, plan))
    return [text for text, _ in host_claims(_history(plan), transcript.records, mode)]


def _history(plan: Plan) -> PlanHistory:
    return PlanHistory(days=(PlanDay(plan=plan, file="plan.toml", since=0),))


def test_the_record_is_held_against_the_plan(tmp_path: Path) -> None:
    """Whoever verifies must see what was accepted, and that nothing else was."""
    plan, without = _plan(), _plan("", "")
    shown = _claims(tmp_path, plan, [RADIO, GOOD])
    assert "nothing failed" in shown[0]
    assert FINDING in shown[1]
    assert len(_claims(tmp_path, without, [GOOD])) == 1
    assert len(_claims(tmp_path, without, [RADIO], Mode.REHEARSAL)) == 1
    for given, findings in ((without, [RADIO]), (plan, [replace(RADIO, detail="another radio")])):
        with pytest.raises(RequestRejected) as refused:
            _claims(tmp_path, given, findings)
        assert refused.value.code == "verify.host"


def test_a_record_that_does_not_say_so_accepted_nothing(tmp_path: Path) -> None:
    """A plan that was never looked at by the program of the day accepts nothing on its behalf."""
    path = tmp_path / "transcript.jsonl"
    transcript = Transcript.create(path, {"mode": Mode.REAL.value}, SystemClock())
    transcript.append(Kind.HOST_CHECKED, {"findings": [RADIO.to_json()]})
    with pytest.raises(RequestRejected) as refused:
        list(host_claims(_history(_plan()), transcript.records, Mode.REAL))
    assert refused.value.code == "verify.host"


@needs_softhsm
def test_a_ceremony_with_an_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan, script, record and verdict must all tell of it, in a rehearsal too."""
    no_hardening(monkeypatch)
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(EXAMPLE + ROLES + EXCEPTION)
    made = rehearsal.root()
    assert made.exit_code == 0, made.stderr
    lines = (rehearsal.directory / "transcript.jsonl").read_text().splitlines()
    recorded = next(each["body"] for each in map(json.loads, lines) if each["kind"] == Kind.HOST_CHECKED)
    assert recorded["accepted"][0]["accepted_by"] == ["Barbara", "Alan"]
    page = tmp_path / "script.html"
    drawn = rehearsal.run("script", "render", "--plan", tmp_path / "plan.toml", "--html", page)
    assert drawn.exit_code == 0, drawn.stderr
    assert FINDING in page.read_text()
    assert rehearsal.run("verify", rehearsal.directory).exit_code == 0
