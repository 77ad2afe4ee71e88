"""The plan of a later day: what it can say, what it never can, and which plan it follows."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from fakes.day import DAY, day
from hypothesis import given
from hypothesis import strategies as st

from ceremony.plan import Plan, Roles, Standing, amend_plan, load_plan, next_day, previous_of
from shared.errors import RequestRejected

BEFORE = day()
STANDING = Standing(dealt_by="root", begun=frozenset(map(str, BEFORE.acts)))
NEXT = f"""\
version = 1
title = "Another day"
previous = "{BEFORE.digest.hex()}"
acts = ["intermediate:gamma", "crl:second", "cross:old", "rollover:third", "rotate:autumn"]

[roles]
administrator = "Grace Hopper"
auditor = "Barbara Liskov"
witnesses = ["Alan Turing", "Edsger Dijkstra", "Tony Hoare"]

[[intermediate]]
file = "gamma"
issuer = "next"
common_name = "Northwind Issuing CA Gamma"
years = 5

[[crl]]
name = "second"
number = 5
this_update = "2027-06-01T12:00:00Z"
next_update = "2027-09-01T12:00:00Z"
[[crl.revoked]]
file = "alpha"
reason = "superseded"
date = "2027-06-01T12:00:00Z"
[[crl.revoked]]
cross = "old"
reason = "superseded"
date = "2027-06-01T12:00:00Z"
[[crl.revoked]]
new_root = "next"
reason = "superseded"
date = "2027-06-01T12:00:00Z"

[[crl]]
name = "of-next"
issuer = "next"
number = 6
this_update = "2027-06-01T12:00:00Z"
next_update = "2027-09-01T12:00:00Z"
[[crl.revoked]]
file = "gamma"
reason = "superseded"
date = "2027-06-01T12:00:00Z"
[[crl.revoked]]
old_root = "next"
reason = "superseded"
date = "2027-06-01T12:00:00Z"

[[rollover]]
name = "third"
issuer = "next"
common_name = "Northwind Root CA 2"
key = "ec-p384"
label = "northwind-root-3"
years = 20

[[rotation]]
name = "autumn"
threshold = 2
custodians = ["Fritz", "Gottfried", "Heinz"]
"""

_LIST = """\
[[crl]]
name = "x"
issuer = "none"
number = 9
this_update = "2027-06-01T12:00:00Z"
next_update = "2027-09-01T12:00:00Z"
"""


def _amend(text: str, *, before: Plan = BEFORE, standing: Standing = STANDING) -> Plan:
    return amend_plan(before, text.encode(), standing)


def test_what_a_later_day_has() -> None:
    """Everything that was agreed on before stays known: a later day revokes and rotates what an earlier one made."""
    plan = _amend(NEXT)
    assert (plan.number, plan.previous, plan.digest) == (2, BEFORE.digest, hashlib.sha256(NEXT.encode()).digest())
    assert [str(act) for act in plan.acts][:3] == ["amend", "intermediate:gamma", "crl:second"]
    assert (plan.root, plan.organization, plan.backup) == (BEFORE.root, BEFORE.organization, BEFORE.backup)
    assert [each.file for each in plan.intermediates] == ["alpha", "beta", "gamma"]
    assert [each.file for each in plan.crls[-2].revoked] == ["alpha", "cross/old", "rollover/next/new-with-old"]
    assert [each.file for each in plan.crls[-1].revoked] == ["gamma", "rollover/next/old-with-new"]
    assert set(plan.roots) == {"", "next", "third"}
    assert plan.shares == BEFORE.shares
    assert plan.roles.least_witnesses == 2
    after = _amend(NEXT, standing=replace(STANDING, dealt_by="rotate:spring"))
    assert after.shares == BEFORE.rotations[0].shares
    third = _amend(f'version = 1\ntitle = "x"\nprevious = "{plan.digest.hex()}"\nacts = ["crl:of-next"]\n', before=plan)
    assert (third.number, third.roles) == (3, plan.roles)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (BEFORE.digest.hex(), "00" * 32, "follows another one"),
        (BEFORE.digest.hex(), "x", "64 hex digits"),
        ('title = "Another day"', 'title = "Another day"\norganization = "Mallory"', "organization: no later day"),
        ('title = "Another day"', 'title = "Another day"\nbackup = true', "backup: no later day"),
        ("[roles]", '[root]\ncommon_name = "Mallory"\n[roles]', "root: no later day"),
        ("[roles]", '[shares]\nthreshold = 1\ncustodians = ["Mallory"]\n[roles]', "shares: no later day"),
        ('acts = ["intermediate:gamma"', 'acts = ["root"', "the root was made on the first day"),
        ('acts = ["intermediate:gamma"', 'acts = ["amend"', "acts[0]: one of"),
        ('"cross:old"', '"cross:new"', "no cross of this name"),
        ('file = "gamma"', 'file = "alpha"', "cannot be described anew"),
        ('"Northwind Issuing CA Gamma"', '"Northwind Issuing CA Beta"', "file and common_name must be its own"),
        ('"Northwind Issuing CA Gamma"', '"Northwind Root CA 2"', "the root's own name"),
        ('issuer = "next"\ncommon_name = "Northwind Root', 'issuer = "none"\ncommon_name = "Northwind Root', "issuer"),
        ('label = "northwind-root-3"', 'label = "northwind-root"', "another key has this label"),
        ('name = "autumn"', 'name = "spring"', "cannot be described anew"),
        ("number = 5", "number = 4", "greater than every number of the lists before: 4"),
        ('cross = "old"', 'cross = "new"', "no cross-certificate of this name"),
        ('cross = "old"', 'file = "gamma"', "that root alone can revoke it"),
        ('cross = "old"', 'cross = "old"\nfile = "alpha"', "exactly one of"),
        ('file = "gamma"\nreason', 'file = "alpha"\nreason', "that root alone can revoke it"),
        ('"Tony Hoare"]', '"Tony Hoare"]\nmin_witnesses = 1', "no later day can have fewer"),
        ('"Tony Hoare"]', '"Tony Hoare"]\nadministrator_holds_share = true', "an earlier day ruled it out"),
        ('witnesses = ["Alan Turing", "Edsger Dijkstra", "Tony Hoare"]', "witnesses = []", "at least 2 witnesses"),
        ('administrator = "Grace Hopper"', 'administrator = "Ada"', "the administrator holds a share"),
        ('administrator = "Grace Hopper"', 'administrator = "Heinz"', "the administrator holds a share"),
        ('acts = ["intermediate:gamma", "crl:second", "cross:old", "rollover:third", "rotate:autumn"]', "", "acts"),
        ("[roles]", "colour = 1\n[roles]", "colour is not a known key"),
        ("version = 1", "version = 2", "version"),
    ],
)  # fmt: skip
def test_each_mistake_names_its_key(old: str, new: str, says: str) -> None:
    """A later day must not undo quietly what everybody agreed on the first."""
    assert NEXT.count(old) >= 1
    with pytest.raises(RequestRejected) as refused:
        _amend(NEXT.replace(old, new, 1))
    assert refused.value.code.startswith("plan.")
    assert says in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('[[intermediate]]\nfile = "x"\nissuer = "none"\ncommon_name = "X"\nyears = 1', "intermediate[0].issuer"),
        ('[[intermediate]]\nfile = "x"\ncommon_name = "X"\nyears = 21', "cannot outlive its root"),
        (f'[[cross]]\nname = "x"\nissuer = "none"\ncommon_name = "X"\nyears = 1\nfingerprint = "{"0" * 64}"', "none"),
        (f'[[cross]]\nname = "x"\npath_length = 3\ncommon_name = "X"\nyears = 1\nfingerprint = "{"0" * 64}"',
         "only a next root can have more"),
        (_LIST, "none"),
    ],
)  # fmt: skip
def test_what_no_root_can_sign(table: str, says: str) -> None:
    """What was made with the root holds for ever: a plan that needs another one is refused early."""
    text = f'version = 1\ntitle = "x"\nprevious = "{BEFORE.digest.hex()}"\nacts = ["crl:first"]\n{table}\n'
    with pytest.raises(RequestRejected) as refused:
        _amend(text)
    assert says in f"{refused.value.message} {refused.value.hint}"


def test_what_was_never_begun_may_be_described_anew() -> None:
    """A mistake in a plan, found before its act, must not take a name away for ever."""
    text = NEXT.replace('file = "gamma"\nissuer = "next"', 'file = "beta"', 1).replace(
        "intermediate:gamma", "crl:of-next"
    )
    text = text.replace('[[crl.revoked]]\nfile = "gamma"\nreason = "superseded"\ndate = "2027-06-01T12:00:00Z"\n', "")
    fresh = Standing(dealt_by="root", begun=frozenset({"root", "intermediate:alpha"}))
    plan = _amend(text, standing=fresh)
    assert [each.file for each in plan.intermediates] == ["alpha", "beta"]
    assert "Gamma" in str(plan.intermediates[1].subject)
    with pytest.raises(RequestRejected):
        _amend(text)


def test_a_later_plan_is_no_first_one() -> None:
    """A plan without its ceremony says nothing about root and shares: it must not pass for a whole one."""
    with pytest.raises(RequestRejected) as refused:
        load_plan(NEXT.encode())
    assert refused.value.code == "plan.later-day"
    assert previous_of(NEXT.encode()) == BEFORE.digest
    assert previous_of(DAY.encode()) is None


def test_the_plan_to_start_from_is_one() -> None:
    """What `plan new` prints must be accepted by `plan check`, and repeat what is revoked."""
    plan = _amend(next_day(BEFORE))
    assert [each.file for each in plan.crls[-1].revoked] == ["beta"]
    assert _amend(next_day(_amend(NEXT)).replace(BEFORE.digest.hex(), ""), before=_amend(NEXT)).number == 3


def test_a_first_day_without_rules_makes_none() -> None:
    """Who named nobody on the first day can still name people later."""
    before = replace(BEFORE, roles=Roles())
    assert _amend(NEXT, before=before).roles.least_witnesses == 0


@given(st.integers(0, len(NEXT) - 1), st.characters(codec="utf-8"))
def test_any_text_is_a_plan_or_refused(place: int, character: str) -> None:
    """A plan is read from a stick: whatever stands there must not crash the program on the day."""
    try:
        _amend(NEXT[:place] + character + NEXT[place + 1 :])
    except RequestRejected as refused:
        assert refused.code.startswith("plan.")  # noqa: PT017 (both outcomes are right)
