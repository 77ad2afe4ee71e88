"""Claims: the limits on lifetimes and renewal, of the authority and of each provisioner, and what follows from them.

Invariants: in a ``Claims`` in hand, 0 < min ≤ default ≤ max. A ``StatedClaims`` is what a configuration says,
nothing filled in; ``merge`` lays it over the limits of the level above by step-ca's rules.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from online.strict_json import Fields, Json, JsonObject
from shared.clock import whole_seconds
from shared.durations import format_duration, parse_moment
from shared.errors import PolicyDenied, RequestRejected

_SSH = "remove it: the node issues X.509 certificates only"
UNSUPPORTED_CLAIMS = {
    "enableSSHCA": "set it to false: the node issues X.509 certificates only",
    "minUserSSHCertDuration": _SSH,
    "maxUserSSHCertDuration": _SSH,
    "defaultUserSSHCertDuration": _SSH,
    "minHostSSHCertDuration": _SSH,
    "maxHostSSHCertDuration": _SSH,
    "defaultHostSSHCertDuration": _SSH,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedClaims:
    """The claims that one level of the configuration states; ``None`` where it states nothing."""

    min_tls: timedelta | None = None
    max_tls: timedelta | None = None
    default_tls: timedelta | None = None
    disable_renewal: bool | None = None
    allow_renewal_after_expiry: bool | None = None
    disable_smallstep_extensions: bool | None = None

    def to_json(self) -> JsonObject:
        """Return the stated claims under step-ca's names, durations as Go prints them."""
        result: JsonObject = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                result[CLAIM_NAMES[field.name]] = format_duration(value) if isinstance(value, timedelta) else value
        return result


CLAIM_NAMES = {
    "min_tls": "minTLSCertDuration",
    "max_tls": "maxTLSCertDuration",
    "default_tls": "defaultTLSCertDuration",
    "disable_renewal": "disableRenewal",
    "allow_renewal_after_expiry": "allowRenewalAfterExpiry",
    "disable_smallstep_extensions": "disableSmallstepExtensions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The limits in force. Durations do not include the backdating of notBefore."""

    min_tls: timedelta = timedelta(minutes=5)
    max_tls: timedelta = timedelta(hours=24)
    default_tls: timedelta = timedelta(hours=24)
    disable_renewal: bool = False
    allow_renewal_after_expiry: bool = False
    disable_smallstep_extensions: bool = False

    def __post_init__(self) -> None:
        if not timedelta(0) < self.min_tls <= self.default_tls <= self.max_tls:
            raise RequestRejected(
                "claims.contradictory",
                f"the shortest lifetime ({format_duration(self.min_tls)}), the default"
                f" ({format_duration(self.default_tls)}) and the longest ({format_duration(self.max_tls)})"
                " do not follow each other",
                hint="state minTLSCertDuration, defaultTLSCertDuration and maxTLSCertDuration so that they do",
            )


def parse_claims(value: Json, *, path: str) -> StatedClaims:
    """Read a ``claims`` object of a ca.json.

    Args:
        value: the object; ``None`` when there is none.
        path: its dotted path.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-key`` for the claims of step-ca's SSH side.
    """
    if value is None:
        return StatedClaims()
    found = Fields(value, path=path, known=CLAIM_NAMES.values(), unsupported=UNSUPPORTED_CLAIMS)
    return StatedClaims(
        min_tls=found.duration("minTLSCertDuration"),
        max_tls=found.duration("maxTLSCertDuration"),
        default_tls=found.duration("defaultTLSCertDuration"),
        disable_renewal=found.flag("disableRenewal"),
        allow_renewal_after_expiry=found.flag("allowRenewalAfterExpiry"),
        disable_smallstep_extensions=found.flag("disableSmallstepExtensions"),
    )


def merge(above: Claims, stated: StatedClaims) -> Claims:
    """Lay the stated claims of a level over the limits of the level above it.

    As in step-ca, a stated default beyond an unstated limit moves that limit out to itself.

    Args:
        above: the authority's limits, or the built-in ones.
        stated: what the provisioner, or the authority, states.

    Raises:
        RequestRejected: ``claims.contradictory``.
    """
    default = stated.default_tls if stated.default_tls is not None else above.default_tls
    least, most = above.min_tls, above.max_tls
    if stated.default_tls is not None:
        least, most = min(least, default), max(most, default)
    return Claims(
        min_tls=stated.min_tls if stated.min_tls is not None else least,
        max_tls=stated.max_tls if stated.max_tls is not None else most,
        default_tls=default,
        disable_renewal=_either(stated.disable_renewal, above.disable_renewal),
        allow_renewal_after_expiry=_either(stated.allow_renewal_after_expiry, above.allow_renewal_after_expiry),
        disable_smallstep_extensions=_either(stated.disable_smallstep_extensions, above.disable_smallstep_extensions),
    )


def parse_validity(*, not_before: str, not_after: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Read the two wire fields of a sign request.

    Args:
        not_before: an RFC 3339 time, a duration counted from ``now``, or empty.
        not_after: the same, but a duration is counted from notBefore when that is given, as step-ca counts it.
        now: aware UTC.

    Raises:
        RequestRejected: ``time.malformed``.
    """
    start = parse_moment(not_before, now=now)
    return start, parse_moment(not_after, now=now if start is None else start)


def choose_validity(
    claims: Claims,
    *,
    now: datetime,
    backdate: timedelta,
    not_before: datetime | None,
    not_after: datetime | None,
    within: tuple[datetime, datetime] | None = None,
) -> tuple[datetime, datetime]:
    """Decide on the validity of a new certificate.

    1. Without a wish for notBefore, the certificate starts ``backdate`` before now.
    2. Without a wish for notAfter, it lasts the default duration, the backdating not counted, and no longer than the
       credential that it is asked for with. A wish that goes beyond that credential's validity is refused.
    3. It must not have ended already, nor end before it starts.
    4. Its duration must lie within the claims; the longest may be exceeded by the backdating.
    5. It must not start further ahead than the longest duration. step-ca has no such rule; without it, a
       moment's access to a provisioner is enough to stock up on certificates for years to come.

    Args:
        claims: the provisioner's limits.
        now: aware UTC.
        backdate: how far notBefore lies in the past by default, not negative.
        not_before: the caller's wish, aware UTC.
        not_after: the caller's wish, aware UTC.
        within: begin and end that the credential allows: those in a token, those of the certificate that signed it.

    Returns:
        notBefore and notAfter in whole seconds.

    Raises:
        RequestRejected: ``validity.in-the-past`` or ``validity.reversed``.
        PolicyDenied: ``validity.too-short``, ``validity.too-long``, ``validity.too-far-ahead`` or
            ``validity.beyond-credential``.
    """
    now = whole_seconds(now)
    # 1, 2
    anchor = whole_seconds(not_before) if not_before is not None else now
    start = anchor if not_before is not None else _earlier(now, backdate)
    try:
        end = whole_seconds(not_after) if not_after is not None else anchor + claims.default_tls
    except OverflowError:
        raise PolicyDenied("validity.too-far-ahead", "notBefore lies too far ahead") from None
    if within is not None:
        _check_within(not_before, not_after, within)
        end = min(end, within[1])
    # 3
    if end < now:
        raise RequestRejected("validity.in-the-past", f"notAfter cannot be in the past; na={go_time(end)}")
    if end < start:
        raise RequestRejected(
            "validity.reversed", f"notAfter cannot be before notBefore; na={go_time(end)}, nb={go_time(start)}"
        )
    # 4
    duration, most = end - start, claims.max_tls + backdate
    if duration < claims.min_tls:
        raise PolicyDenied(
            "validity.too-short",
            f"requested duration of {format_duration(duration)} is less than the authorized minimum certificate"
            f" duration of {format_duration(claims.min_tls)}",
        )
    if duration > most:
        raise PolicyDenied(
            "validity.too-long",
            f"requested duration of {format_duration(duration)} is more than the authorized maximum certificate"
            f" duration of {format_duration(most)}",
        )
    # 5
    if start - now > claims.max_tls:
        raise PolicyDenied("validity.too-far-ahead", "notBefore lies further ahead than the longest certificate lasts")
    return start, end


def go_time(moment: datetime) -> str:
    """Write a moment as Go prints it, for the texts that step-ca's clients know: ``2026-11-24 07:00:00 +0000 UTC``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")


def _check_within(not_before: datetime | None, not_after: datetime | None, within: tuple[datetime, datetime]) -> None:
    begin, end = within
    if not_before is not None and not_before < begin:
        raise PolicyDenied(
            "validity.beyond-credential",
            f"requested certificate notBefore ({go_time(not_before)}) is before the active validity window of the"
            f" provisioning credential ({go_time(begin)})",
        )
    if not_after is not None and not_after > end:
        raise PolicyDenied(
            "validity.beyond-credential",
            f"requested certificate notAfter ({go_time(not_after)}) is after the expiration of the provisioning"
            f" credential ({go_time(end)})",
        )


def _either(stated: bool | None, above: bool) -> bool:
    return above if stated is None else stated


def _earlier(moment: datetime, span: timedelta) -> datetime:
    return whole_seconds(moment - span)
