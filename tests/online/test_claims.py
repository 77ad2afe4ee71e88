"""Lifetimes: how limits are laid over each other, and which validity a certificate gets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online.claims import Claims, StatedClaims, choose_validity, go_time, merge, parse_claims, parse_validity
from shared.errors import ColdrootError, PolicyDenied, RequestRejected, Unsupported

NOW = datetime(2026, 11, 24, 7, 0, 0, 123456, tzinfo=UTC)
WHOLE = NOW.replace(microsecond=0)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def choose(
    claims: Claims | None = None,
    *,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    backdate: timedelta = MINUTE,
) -> tuple[datetime, datetime]:
    """Choose with step-ca's defaults."""
    return choose_validity(claims or Claims(), now=NOW, backdate=backdate, not_before=not_before, not_after=not_after)


def test_defaults_are_steps() -> None:
    """A certificate of a day with a minute of backdating is what every client expects: 24h01m in all."""
    assert choose() == (WHOLE - MINUTE, WHOLE + 24 * HOUR)


def test_a_wish_for_the_end() -> None:
    """``--not-after 2h`` counts from now, and the backdating comes on top."""
    assert choose(not_after=NOW + 2 * HOUR) == (WHOLE - MINUTE, WHOLE + 2 * HOUR)


def test_a_wish_for_the_beginning_is_not_backdated() -> None:
    """Who states notBefore means it; the default duration counts from there."""
    assert choose(not_before=NOW + HOUR) == (WHOLE + HOUR, WHOLE + 25 * HOUR)


def test_the_longest_may_be_exceeded_by_the_backdating_only() -> None:
    """24h asked from now makes 24h01m, which step-ca accepts; a second more it does not."""
    assert choose(not_after=NOW + 24 * HOUR)[1] == WHOLE + 24 * HOUR
    with pytest.raises(PolicyDenied) as caught:
        choose(not_after=NOW + 24 * HOUR + timedelta(seconds=1))
    assert caught.value.code == "validity.too-long"


def test_the_text_of_step_ca_for_a_lifetime_beyond_the_maximum() -> None:
    """The step CLI prints it and scripts compare it."""
    with pytest.raises(PolicyDenied) as caught:
        choose(not_after=NOW + 720 * HOUR)
    assert caught.value.message == (
        "requested duration of 720h1m0s is more than the authorized maximum certificate duration of 24h1m0s"
    )


@pytest.mark.parametrize(
    ("not_before", "not_after", "family", "code"),
    [
        (None, NOW - HOUR, RequestRejected, "validity.in-the-past"),
        (NOW - 3 * HOUR, NOW - HOUR, RequestRejected, "validity.in-the-past"),
        (NOW + 2 * HOUR, NOW + HOUR, RequestRejected, "validity.reversed"),
        (NOW, NOW + timedelta(minutes=4), PolicyDenied, "validity.too-short"),
        (NOW, NOW, PolicyDenied, "validity.too-short"),
        (NOW - 48 * HOUR, NOW + HOUR, PolicyDenied, "validity.too-long"),
        (NOW + 25 * HOUR, None, PolicyDenied, "validity.too-far-ahead"),
        (datetime(9999, 12, 31, 23, tzinfo=UTC), None, PolicyDenied, "validity.too-far-ahead"),
        (NOW, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), PolicyDenied, "validity.too-long"),
    ],
)
def test_wishes_that_are_refused(
    not_before: datetime | None, not_after: datetime | None, family: type[ColdrootError], code: str
) -> None:
    """Each rule of the order, with the family that decides between 400 and 403."""
    with pytest.raises(family) as caught:
        choose(not_before=not_before, not_after=not_after)
    assert caught.value.code == code


@given(
    st.timedeltas(-timedelta(days=3), timedelta(days=3)),
    st.timedeltas(-timedelta(days=3), timedelta(days=3)),
    st.timedeltas(timedelta(0), timedelta(hours=2)),
)
def test_what_is_chosen_keeps_the_limits(start: timedelta, end: timedelta, backdate: timedelta) -> None:
    """Whatever is asked, nothing outside the claims comes out, and whole seconds always."""
    try:
        chosen, until = choose(not_before=NOW + start, not_after=NOW + end, backdate=backdate)
    except ColdrootError:
        return
    assert timedelta(minutes=5) <= until - chosen <= 24 * HOUR + backdate
    assert until >= WHOLE
    assert chosen.microsecond == until.microsecond == 0


def test_wire_fields_are_read_as_step_ca_reads_them() -> None:
    """A duration for notAfter counts from notBefore when that is given: ``1h`` and ``2h`` make two hours."""
    assert parse_validity(not_before="", not_after="", now=NOW) == (None, None)
    assert parse_validity(not_before="1h", not_after="2h", now=NOW) == (NOW + HOUR, NOW + 3 * HOUR)
    assert parse_validity(not_before="", not_after="2h", now=NOW) == (None, NOW + 2 * HOUR)
    start, end = parse_validity(not_before="2026-11-24T08:00:00Z", not_after="2026-11-24T10:00:00+01:00", now=NOW)
    assert (start, end) == (WHOLE + HOUR, WHOLE + 2 * HOUR)


def test_nonsense_in_wire_fields() -> None:
    """A time that is none is a 400."""
    with pytest.raises(RequestRejected):
        parse_validity(not_before="", not_after="tomorrow", now=NOW)


def test_times_in_gos_form() -> None:
    """Texts of step-ca show times as Go prints them."""
    assert go_time(NOW) == "2026-11-24 07:00:00 +0000 UTC"


def test_nothing_stated_changes_nothing() -> None:
    """A provisioner without claims has the authority's."""
    above = Claims(max_tls=48 * HOUR, disable_renewal=True)
    assert merge(above, StatedClaims()) == above


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"default_tls": 48 * HOUR}, (timedelta(minutes=5), 48 * HOUR, 48 * HOUR)),
        ({"default_tls": MINUTE}, (MINUTE, MINUTE, 24 * HOUR)),
        ({"max_tls": 48 * HOUR}, (timedelta(minutes=5), 24 * HOUR, 48 * HOUR)),
        ({"min_tls": HOUR}, (HOUR, 24 * HOUR, 24 * HOUR)),
        ({"max_tls": HOUR, "default_tls": HOUR}, (timedelta(minutes=5), HOUR, HOUR)),
    ],
)
def test_limits_are_laid_over_each_other(stated: dict[str, Any], expected: tuple[timedelta, ...]) -> None:
    """As in step-ca: a stated default beyond an unstated limit moves the limit, nothing else does."""
    merged = merge(Claims(), StatedClaims(**stated))
    assert (merged.min_tls, merged.default_tls, merged.max_tls) == expected


@pytest.mark.parametrize(
    "stated",
    [
        {"max_tls": HOUR},
        {"min_tls": 48 * HOUR},
        {"min_tls": timedelta(0)},
        {"min_tls": -HOUR},
        {"default_tls": timedelta(0)},
        {"default_tls": 2 * HOUR, "max_tls": HOUR},
    ],
)
def test_limits_that_contradict_each_other(stated: dict[str, Any]) -> None:
    """A CA that starts with them refuses every request, or none."""
    with pytest.raises(RequestRejected) as caught:
        merge(Claims(), StatedClaims(**stated))
    assert caught.value.code == "claims.contradictory"


def test_flags_can_be_switched_back() -> None:
    """A provisioner may allow what the authority denies by default, and the reverse: stated false is not unstated."""
    above = Claims(disable_renewal=True, allow_renewal_after_expiry=True, disable_smallstep_extensions=True)
    merged = merge(
        above,
        StatedClaims(disable_renewal=False, allow_renewal_after_expiry=False, disable_smallstep_extensions=False),
    )
    assert merged == Claims()


def test_reading_and_writing_claims() -> None:
    """What ``/provisioners`` shows must be what the file says, durations as Go writes them."""
    document: dict[str, Any] = {"maxTLSCertDuration": "48h", "disableRenewal": False, "enableSSHCA": False}
    stated = parse_claims(document, path="authority.claims")
    assert stated == StatedClaims(max_tls=48 * HOUR, disable_renewal=False)
    assert stated.to_json() == {"maxTLSCertDuration": "48h0m0s", "disableRenewal": False}
    assert parse_claims(None, path="authority.claims") == StatedClaims()


@pytest.mark.parametrize("key", ["enableSSHCA", "maxUserSSHCertDuration", "defaultHostSSHCertDuration"])
def test_claims_of_the_ssh_side(key: str) -> None:
    """An operator who limits SSH certificates must learn that there are none."""
    with pytest.raises(Unsupported) as caught:
        parse_claims({key: True if key == "enableSSHCA" else "1h"}, path="authority.claims")
    assert f"authority.claims.{key}" in caught.value.message
