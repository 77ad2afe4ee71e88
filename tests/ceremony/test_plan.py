"""The plan: strict, complete, and contradictions refused with the dotted key."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceremony.plan import EXAMPLE, end_of_validity, load_plan
from shared import names
from shared.errors import RequestRejected


def test_the_example_is_a_plan() -> None:
    """``ceremony plan new`` must hand out something that works."""
    plan = load_plan(EXAMPLE.encode())
    assert plan.digest == hashlib.sha256(EXAMPLE.encode()).digest()
    assert plan.shares.describe() == "3 of 5 custodians"
    assert [str(act) for act in plan.acts] == ["root", "intermediate:intermediate"]
    assert len(plan.shares.custodians) == 5
    assert plan.root.profile().path_length == 1
    assert plan.intermediate_for(plan.intermediates[0].subject) is plan.intermediates[0]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("version = 1", "version = 2", "version"),
        ("version = 1", "version = true", "version"),
        ('title = "Example root key ceremony"', 'title = ""', "title"),
        ('title = "Example root key ceremony"', 'titel = "x"', "titel is not a known key"),
        ("[root]", "[root]\ncolour = 1", "root.colour"),
        ('common_name = "Example Root CA"', 'common_name = "a\\nb"', "root.common_name"),
        ('key = "ec-p384"', 'key = "dsa"', "root.key"),
        ('label = "example-root"', 'label = " x"', "root.label"),
        ("years = 10", "years = 26", "root.years"),
        ("years = 10", 'years = "10"', "root.years"),
        ("years = 10", "years = 4", "intermediate[0].years"),
        ("years = 5", "years = 0", "intermediate[0].years"),
        ('file = "intermediate"', 'file = "../x"', "intermediate[0].file"),
        ('file = "intermediate"', 'file = "root"', "intermediate[0].file"),
        ('common_name = "Example Intermediate CA"', 'common_name = "Example Root CA"', "intermediate[0].common_name"),
        ("threshold = 3", "threshold = 1", "shares.threshold"),
        ("threshold = 3", "threshold = 6", "shares.threshold"),
        ('["Ada", "Blaise", "Carl", "Dorothy", "Emmy"]', '["Ada"]', "shares.custodians"),
        ('"Blaise"', '"Ada"', "shares.custodians"),
        ('"Blaise"', '"ADA"', "shares.custodians"),
        ('"Blaise"', '"Ada "', "shares.custodians[1]"),
        ('"Blaise"', '""', "shares.custodians[1]"),
        ('"Blaise"', "7", "shares.custodians[1]"),
        ("[shares]", "[share]", "share is not a known key"),
        (
            "[shares]",
            "[[intermediate]]\nfile='x'\ncommon_name='X'\nyears=1\nnot_before='1949-12-31T00:00:00Z'\n[shares]",
            "intermediate[1].not_before",
        ),
        ("years = 10", 'years = 10\nnot_before = "9990-01-01T00:00:00Z"', "root.not_before"),
        ("years = 10", 'years = 10\nnot_before = "0001-01-01T00:00:00+14:00"', "root.not_before"),
    ],
)
def test_each_mistake_names_its_key(old: str, new: str, named: str) -> None:
    """A tired administrator must be led to the line."""
    assert old in EXAMPLE
    with pytest.raises(RequestRejected) as refused:
        load_plan(EXAMPLE.replace(old, new, 1).encode())
    assert named in refused.value.message


def test_two_intermediates_with_one_file() -> None:
    """The second certificate would collide with the first on the day."""
    again = EXAMPLE + '[[intermediate]]\nfile = "intermediate"\ncommon_name = "Other CA"\nyears = 5\n'
    with pytest.raises(RequestRejected) as refused:
        load_plan(again.encode())
    assert "intermediate[1]" in refused.value.message


def test_unplanned_subjects() -> None:
    """A request that nobody agreed on must not be signed because it is well-formed."""
    plan = load_plan(EXAMPLE.encode())
    with pytest.raises(RequestRejected) as refused:
        plan.intermediate_for(names.subject(common="Example Intermediate CA"))
    assert refused.value.code == "plan.unplanned-intermediate"
    assert "Example Intermediate CA" in (refused.value.hint or "")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_plan_or_refused(data: bytes) -> None:
    """The parser's own exceptions must not reach a person."""
    with pytest.raises(RequestRejected):
        load_plan(data)


def test_deep_nesting() -> None:
    """A file made to exhaust the parser's stack is refused like any other."""
    with pytest.raises(RequestRejected):
        load_plan(b"a = " + b"[" * 100_000)


def test_validity_is_inclusive() -> None:
    """Both ends belong to a validity: ten years and one second were once a misissuance in the millions."""
    begin = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
    assert end_of_validity(begin, 1) == datetime(2025, 2, 28, 11, 59, 59, tzinfo=UTC)
    assert end_of_validity(begin, 4) == datetime(2028, 2, 29, 11, 59, 59, tzinfo=UTC)


FULL = """\
version = 1
title = "Full"
organization = "Example"
backup = true
acts = ["root", "backup", "restore-test", "intermediate:alpha", "crl:lists", "cross:other",
        "rollover:next", "rotate:two"]

[roles]
administrator = "Alan"
auditor = "Grace"
witnesses = ["Edsger", "Barbara"]
min_witnesses = 2

[root]
common_name = "Example Root CA"
key = "ec-p384"
label = "root"
years = 10
serial = "0x4000000000000000000000000000000a"
not_before = "2026-12-01T10:00:00+01:00"
policies = ["1.3.6.1.4.1.99999.1"]

[[intermediate]]
file = "alpha"
common_name = "Alpha CA"
years = 5
serial = "0x4000000000000000000000000000000b"
permitted = ["dns:example.com", "ip:10.0.0.0/8", "email:example.com", "uri:.example.com"]
excluded = ["dns:secret.example.com"]
crl_urls = ["http://pki.example.com/root.crl"]
issuer_urls = ["http://pki.example.com/root.crt"]

[[crl]]
name = "lists"
number = 1
this_update = "2026-12-01T10:00:00Z"
next_update = "2027-06-01T10:00:00Z"
count = 4
period_days = 150

[[crl.revoked]]
file = "alpha"
reason = "superseded"
date = "2026-12-02T00:00:00Z"

[[cross]]
name = "other"
common_name = "Other Root CA"
organization = "Other"
fingerprint = "AA:%s"
years = 3

[[rollover]]
name = "next"
common_name = "Example Root CA 2"
key = "ed25519"
label = "root-2"
years = 10

[shares]
group_threshold = 2

[[shares.group]]
name = "officers"
threshold = 2
custodians = ["Ada", "Blaise", "Carl"]

[[shares.group]]
name = "recovery"
threshold = 1
custodians = ["Dorothy", "Emmy"]

[[rotation]]
name = "two"
threshold = 2
custodians = ["Ada", "Frances", "Carl"]
""".replace("%s", ":".join(["BB"] * 31))


def test_a_plan_of_everything() -> None:
    """Every table that the plan knows, read with its meaning."""
    plan = load_plan(FULL.encode())
    assert plan.root.fixed.serial == 0x4000000000000000000000000000000A
    assert plan.root.fixed.not_before == datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
    assert [each.oid.dotted_string for each in plan.intermediates[0].extensions.extensions()] == [
        "2.5.29.30", "2.5.29.31", "1.3.6.1.5.5.7.1.1",
    ]  # fmt: skip
    assert plan.crls[0].period == timedelta(days=150)
    assert plan.crosses[0].fingerprint == "aa" + "bb" * 31
    assert plan.shares.describe() == "2 of 2 groups (2 of 3 officers, 1 of 2 recovery)"
    assert plan.rotations[0].shares.custodians == ("Ada", "Frances", "Carl")
    assert plan.roles.witnesses == ("Edsger", "Barbara")
    assert len(plan.acts) == 8


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"root", "backup"', '"backup", "root"', "acts[1]: the root comes first"),
        ('"backup", "restore-test"', '"restore-test", "backup"', "acts[1]: there is no backup before it"),
        ('"intermediate:alpha"', '"intermediate:beta"', "acts[3]"),
        ('"root", "backup"', '"root", "root"', "acts[1]"),
        ('"root", "backup"', '"destroy", "backup"', "acts[0]: nothing can follow"),
        ('"cross:other"', '"dance"', "acts[5]"),
        ('"cross:other"', '"destroy:x"', "acts[5]"),
        ("backup = true", "backup = false", "acts[1]"),
        ("min_witnesses = 2", "min_witnesses = 3", "roles.witnesses"),
        ('"Edsger", "Barbara"', '"Edsger", "Edsger"', "roles.witnesses"),
        ('"Edsger", "Barbara"', '"Edsger", "edsger"', "roles.witnesses"),
        ('"Edsger", "Barbara"', '"Edsger", "GRACE"', "roles.auditor"),
        ('administrator = "Alan"', 'administrator = "ada"', "roles.administrator"),
        ('"Edsger", "Barbara"', '"Edsger", "Grace"', "roles.auditor"),
        ('administrator = "Alan"', 'administrator = "Ada"', "roles.administrator"),
        ('auditor = "Grace"', 'auditor = "Alan"', "roles.auditor"),
        (
            "[shares]\n",
            '[[rotation]]\nname = "three"\nthreshold = 2\ncustodians = ["Alan", "Zeno"]\n[shares]\n',
            "roles.administrator",
        ),
        ("0x4000000000000000000000000000000b", "0x4000000000000000000000000000000a", "intermediate[0].serial"),
        ('serial = "0x4000000000000000000000000000000b"', 'serial = "zz"', "intermediate[0].serial"),
        ("2026-12-01T10:00:00+01:00", "2026-12-01T10:00:00", "root.not_before"),
        ("1.3.6.1.4.1.99999.1", "x", "root.policies[0]"),
        ("dns:example.com", "dns:*.example.com", "intermediate[0].permitted[0]"),
        ("ip:10.0.0.0/8", "ip:10.0.0.1/8", "intermediate[0].permitted[1]"),
        ("dns:secret.example.com", "name:x", "intermediate[0].excluded[0]"),
        ("http://pki.example.com/root.crl", "https://pki.example.com/root.crl", "intermediate[0].crl_urls[0]"),
        ("2027-06-01T10:00:00Z", "2028-06-01T10:00:00Z", "crl[0].next_update"),
        ("period_days = 150", "period_days = 300", "crl[0].period_days"),
        ("period_days = 150", "period_days = 9999999999999", "crl[0].period_days"),
        ("period_days = 150", "", "crl[0].period_days"),
        ("count = 4", "count = 0", "crl[0]"),
        ("number = 1", "number = 0", "crl[0].number"),
        ('reason = "superseded"', 'reason = "removeFromCRL"', "crl[0].revoked[0].reason"),
        ('fingerprint = "AA:', 'fingerprint = "ZZ:', "cross[0].fingerprint"),
        ("group_threshold = 2", "group_threshold = 3", "shares.group_threshold"),
        ('name = "recovery"', 'name = "officers"', "shares.group"),
        ('"Dorothy", "Emmy"', '"Dorothy", "Ada"', "shares.group"),
        ('threshold = 2\ncustodians = ["Ada", "Frances"', 'threshold = 9\ncustodians = ["Ada", "Frances"',
         "rotation[0].threshold"),
    ],
)  # fmt: skip
def test_each_contradiction_names_its_key(old: str, new: str, named: str) -> None:
    """What cannot happen on the day must not be agreed on before it."""
    assert old in FULL
    with pytest.raises(RequestRejected) as refused:
        load_plan(FULL.replace(old, new, 1).encode())
    assert named in refused.value.message
