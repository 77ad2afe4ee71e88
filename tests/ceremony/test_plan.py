"""The plan: strict, complete, and contradictions refused with the dotted key."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

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
    assert plan.shares.threshold == 3
    assert len(plan.shares.custodians) == 5
    assert plan.root.profile().path_length == 1
    assert plan.intermediate_for(plan.intermediates[0].subject) is plan.intermediates[0]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("version = 1", "version = 2", "version"),
        ("version = 1", "version = true", "version"),
        ('title = "Example root key ceremony"', 'title = ""', "title"),
        ('title = "Example root key ceremony"', 'titel = "x"', "title"),
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
        ('"Blaise"', '""', "shares.custodians[1]"),
        ('"Blaise"', "7", "shares.custodians[1]"),
        ("[shares]", "[share]", "shares is missing"),
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
