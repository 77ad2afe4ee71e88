"""What a revocation list says, for people and for ``jq``; and whether to believe it.

The JSON has the names that ``step crl inspect --format json`` prints, and beside them what operators ask for first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from cryptography import x509

from online import inspect as describing
from shared.clock import rfc3339
from shared.crl import Reason, verify_crl_signature
from shared.errors import Fatal, PeerFailed
from shared.issue import Issuer
from shared.names import printable

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_UNKNOWN_REASON = "unknown"


def verify(crl: x509.CertificateRevocationList, issuers: Sequence[x509.Certificate], *, now: datetime) -> Issuer:
    """Insist that a list was signed by one of these issuers and is in force.

    Args:
        crl: as parsed.
        issuers: CA certificates that are trusted.
        now: aware UTC.

    Returns:
        Who signed it.

    Raises:
        RequestRejected: ``key.*`` for an issuer with a key of no accepted kind.
        PeerFailed: ``crl.untrusted`` or ``crl.not-in-force``.
    """
    for issuer in map(Issuer.from_certificate, issuers):
        try:
            verify_crl_signature(crl, issuer)
        except Fatal:
            continue
        if state(crl, now=now) != "in force":
            raise PeerFailed(
                "crl.not-in-force",
                f"the list was in force from {rfc3339(crl.last_update_utc)} to {_end(crl)}",
                hint="check the clock; if it is right, the CA does not renew its list",
            )
        return issuer
    raise PeerFailed(
        "crl.untrusted",
        "the list is signed by none of the known issuers",
        hint="give the issuing CA's certificate with --issuer",
    )


def state(crl: x509.CertificateRevocationList, *, now: datetime) -> str:
    """Return ``in force``, ``ended`` or ``not yet``."""
    if now < crl.last_update_utc:
        return "not yet"
    end = crl.next_update_utc
    return "in force" if end is None or now < end else "ended"


def describe(crl: x509.CertificateRevocationList, *, issuer: Issuer | None, now: datetime) -> dict[str, object]:
    """Return everything for JSON.

    Args:
        crl: as parsed.
        issuer: who was found to have signed it; ``None`` when that was not checked.
        now: aware UTC.
    """
    number = _value(crl, x509.CRLNumber)
    point = _value(crl, x509.IssuingDistributionPoint)
    return {
        "version": 2,
        "signature_algorithm": {
            "name": describing.signature_name(crl.signature_algorithm_oid),
            "oid": crl.signature_algorithm_oid.dotted_string,
        },
        "issuer": describing.name_parts(crl.issuer),
        "this_update": rfc3339(crl.last_update_utc),
        "next_update": _end(crl),
        "number": None if number is None else number.crl_number,
        "distribution_points": list(_urls(point)),
        "scope": _scope(point),
        "state": state(crl, now=now),
        "signature": {"valid": None if issuer is None else True},
        "revoked_certificates": [
            {
                "serial_number": str(entry.serial_number),
                "revocation_time": rfc3339(entry.revocation_date_utc),
                "reason": reason_of(entry),
            }
            for entry in crl
        ],
    }


def text(crl: x509.CertificateRevocationList, *, issuer: Issuer | None, now: datetime, most: int) -> str:
    """Return the main facts and the entries for people.

    Args:
        crl: as parsed.
        issuer: as for ``describe``.
        now: aware UTC.
        most: how many entries are shown.
    """
    number = _value(crl, x509.CRLNumber)
    point = _value(crl, x509.IssuingDistributionPoint)
    lines = [
        f"Issuer:       {describing.distinguished_name(crl.issuer)}",
        f"Signature:    {'not checked' if issuer is None else 'valid'}",
        f"Number:       {'none' if number is None else number.crl_number}",
        f"This update:  {rfc3339(crl.last_update_utc)}",
        f"Next update:  {_end(crl)}  ({state(crl, now=now)})",
        f"Covers:       {_scope(point)}",
        *(f"Published at: {url}" for url in _urls(point)),
        f"Revoked:      {len(crl)}",
    ]
    for index, entry in enumerate(crl):
        if index == most:
            lines.append(f"  … and {len(crl) - most} more; --all shows them")
            break
        lines.append(f"  {entry.serial_number}  {rfc3339(entry.revocation_date_utc)}  {reason_of(entry)}")
    return "\n".join(lines)


def reason_of(entry: x509.RevokedCertificate) -> str:
    """Return the name of an entry's reason in RFC 5280's spelling; ``unspecified`` when it has none."""
    try:
        flag = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return Reason.UNSPECIFIED.label
    return next((each.label for each in Reason if each.label == flag.value), _UNKNOWN_REASON)


def _end(crl: x509.CertificateRevocationList) -> str:
    return "never" if crl.next_update_utc is None else rfc3339(crl.next_update_utc)


def _scope(point: x509.IssuingDistributionPoint | None) -> str:
    if point is None:
        return "all certificates"
    parts = {
        "CA certificates": point.only_contains_ca_certs,
        "leaves": point.only_contains_user_certs,
        "attribute certificates": point.only_contains_attribute_certs,
    }
    covered = next((name for name, only in parts.items() if only), "all certificates")
    return f"{covered}, of several issuers" if point.indirect_crl else covered


def _urls(point: x509.IssuingDistributionPoint | None) -> Iterator[str]:
    for name in (point.full_name if point is not None else None) or ():
        if isinstance(name, x509.UniformResourceIdentifier):
            yield printable(name.value, limit=400)


def _value(crl: x509.CertificateRevocationList, kind: type[_Extension]) -> _Extension | None:
    try:
        return crl.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
