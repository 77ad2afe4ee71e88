"""The rules for revocation lists: RFC 5280 §5, and the CA/B baseline's where a private CA shares its reason.

Like the rules for certificates, they read what a parser makes of the *encoded* list, and they compare every single
entry with what was asked for: a list that forgot some of its entries once stood at a public CA for weeks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from shared import der
from shared.errors import RequestRejected
from shared.lint.finding import Finding, Severity

# RFC 5280 §5.2.3: at most 20 octets.
_LARGEST_NUMBER = (1 << 159) - 1
_UNSPECIFIED = 0
# TBSCertList: version, signature, issuer, thisUpdate, nextUpdate, revokedCertificates if any, extensions.
_WITHOUT_ENTRIES = 6
_KNOWN = frozenset({x509.AuthorityKeyIdentifier.oid, x509.CRLNumber.oid, x509.IssuingDistributionPoint.oid})
_FIRST_GENERALIZED_YEAR = 2050


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlContext:
    """What a list is held against."""

    issuer_name: x509.Name
    issuer: x509.Certificate | None
    authority_key_identifier: x509.AuthorityKeyIdentifier
    number: int
    previous_number: int | None
    this_update: datetime
    next_update: datetime
    longest: timedelta
    now: datetime | None
    """``None`` when the list is signed in advance."""
    distribution_point: x509.IssuingDistributionPoint | None
    entries: Mapping[int, tuple[datetime, int]]
    """By serial: when, and the number of the reason."""
    listed: int
    """How many entries were asked for, before equal serials fell together."""


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
Rule = Callable[[x509.CertificateRevocationList, CrlContext], Iterable[Finding]]


def _error(code: str, message: str, citation: str) -> Finding:
    return Finding(code=code, severity=Severity.ERROR, message=message, citation=citation)


def issuer(crl: x509.CertificateRevocationList, context: CrlContext) -> Iterator[Finding]:
    """The issuer is the issuer's subject, and its certificate allows it to sign lists."""
    if crl.issuer != context.issuer_name or not list(crl.issuer):
        yield _error("crl.issuer", "the issuer name is empty or not the issuer's subject", "RFC 5280 §5.1.2.3")
    if context.issuer is None:
        return
    try:
        usage = context.issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        # Without the extension a key may do anything (RFC 5280 §4.2.1.3).
        return
    if not usage.crl_sign:
        yield _error("crl.issuer-usage", "the issuer's certificate does not allow signing lists", "RFC 5280 §4.2.1.3")


def dates(crl: x509.CertificateRevocationList, context: CrlContext) -> Iterator[Finding]:
    """As asked for, in order, current where they should be, no longer than allowed, inside the issuer's own."""
    begin, end = crl.last_update_utc, crl.next_update_utc
    if begin != context.this_update or end != context.next_update:
        yield _error("crl.dates", "the dates are not those that were asked for", "RFC 5280 §5.1.2")
    if end is None:
        yield _error("crl.no-next-update", "nextUpdate is missing", "RFC 5280 §5.1.2.5")
        return
    if end <= begin:
        yield _error("crl.order", "nextUpdate is not after thisUpdate", "RFC 5280 §5.1.2.5")
    if end - begin > context.longest:
        yield _error("crl.too-long", "the list would stand longer than is allowed", "CA/B BR §4.9.7")
    if context.now is not None and not begin <= context.now < end:
        yield _error("crl.not-current", "the list is not current at the time of signing", "RFC 5280 §5.1.2.4")
    if context.issuer is None:
        return
    if not context.issuer.not_valid_before_utc <= begin <= context.issuer.not_valid_after_utc:
        yield _error("crl.outside-issuer", "the list begins outside its issuer's validity", "RFC 5280 §6.3.3")
    if end > context.issuer.not_valid_after_utc:
        yield Finding(
            code="crl.outlives-issuer",
            severity=Severity.NOTICE,
            message="nextUpdate is after the issuer's end",
            citation="RFC 5280 §6.3.3",
        )


def identity(crl: x509.CertificateRevocationList, context: CrlContext) -> Iterator[Finding]:
    """The authority key identifier and the number are there, not critical, and the right ones."""
    found = _extension(crl, x509.AuthorityKeyIdentifier)
    if found is None or found.critical or found.value != context.authority_key_identifier:
        yield _error("crl.aki", "the authority key identifier is missing or not the issuer's", "RFC 5280 §5.2.1")
    number = _extension(crl, x509.CRLNumber)
    if number is None or number.critical or number.value.crl_number != context.number:
        yield _error("crl.number", "the CRL number is missing or not the one asked for", "RFC 5280 §5.2.3")
    elif not 0 <= number.value.crl_number <= _LARGEST_NUMBER:
        yield _error("crl.number-range", "the CRL number is negative or has over 20 octets", "RFC 5280 §5.2.3")
    elif context.previous_number is not None and number.value.crl_number <= context.previous_number:
        yield _error("crl.number-order", "the CRL number is not above that of the list before", "RFC 5280 §5.2.3")


def scope(crl: x509.CertificateRevocationList, context: CrlContext) -> Iterator[Finding]:
    """The issuing distribution point is critical and as asked for; the list is complete, not a delta, not indirect."""
    found = _extension(crl, x509.IssuingDistributionPoint)
    if found is None:
        if context.distribution_point is not None:
            yield _error("crl.idp-missing", "the issuing distribution point is missing", "RFC 5280 §5.2.5")
    else:
        if not found.critical:
            yield _error("crl.idp-criticality", "the issuing distribution point is not critical", "RFC 5280 §5.2.5")
        if found.value != context.distribution_point:
            yield _error("crl.idp", "the issuing distribution point is not the one asked for", "RFC 5280 §5.2.5")
    for extension in crl.extensions:
        if extension.oid not in _KNOWN:
            yield _error("crl.extension", f"{extension.oid.dotted_string} has no place in the list", "RFC 5280 §5.2")


def encoding(crl: x509.CertificateRevocationList, context: CrlContext) -> Iterator[Finding]:
    """No empty list of revoked certificates, and times in the form of their century."""
    parts = der.outline(crl.tbs_certlist_bytes)
    if not context.listed and len(parts) != _WITHOUT_ENTRIES:
        yield _error("crl.empty-list", "nothing is revoked, yet the list of entries is there", "RFC 5280 §5.1.2.6")
    for (tag, _), moment in zip(parts[3:5], (context.this_update, context.next_update), strict=False):
        wanted = der.UTC_TIME if moment.year < _FIRST_GENERALIZED_YEAR else der.GENERALIZED_TIME
        if tag != wanted:
            yield _error("crl.time-form", "a date is not in the form of its century", "RFC 5280 §5.1.2.4")


def entries(crl: x509.CertificateRevocationList, context: CrlContext) -> Iterator[Finding]:
    """Every entry that was asked for and no other; none from the future; a reason only where there is one."""
    if context.listed != len(context.entries):
        yield _error("crl.duplicate", "a certificate is to be listed twice", "RFC 5280 §5.1.2.6")
    found = 0
    for entry in crl:
        found += 1
        revoked_at = entry.revocation_date_utc
        if context.entries.get(entry.serial_number) != (revoked_at, _reason(entry)):
            yield _error("crl.entry", "an entry is not as it was asked for", "RFC 5280 §5.1.2.6")
            return
        if revoked_at > context.this_update:
            yield _error("crl.entry-date", "an entry is dated after the list", "RFC 5280 §5.1.2.6")
            return
    if found != len(context.entries):
        yield _error("crl.incomplete", "the list lacks entries that were asked for", "RFC 5280 §5")


def signature_algorithm(crl: x509.CertificateRevocationList, context: CrlContext) -> Iterator[Finding]:
    """No hash that is broken."""
    del context
    algorithm = crl.signature_hash_algorithm
    if algorithm is not None and not isinstance(algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        yield _error("signature.weak-hash", f"it would be signed with {algorithm.name}", "NIST SP 800-131A")


CRL_RULES: tuple[Rule, ...] = (issuer, dates, identity, scope, encoding, entries, signature_algorithm)


def lint_crl(crl: x509.CertificateRevocationList, context: CrlContext) -> tuple[Finding, ...]:
    """Hold a list against every rule.

    A list of which parts cannot even be parsed (an extension twice, broken DER) gets a single finding.
    """
    try:
        list(crl.extensions)
        return tuple(finding for rule in CRL_RULES for finding in rule(crl, context))
    except (ValueError, x509.DuplicateExtension, RequestRejected):
        return (_error("crl.malformed", "the list or an entry of it cannot be parsed", "RFC 5280 §5"),)


def _reason(entry: x509.RevokedCertificate) -> int | None:
    """Return the reason's number; ``None``, which nobody asks for, for an entry that says what it must not."""
    extensions = list(entry.extensions)
    if not extensions:
        return _UNSPECIFIED
    if len(extensions) > 1 or extensions[0].critical or not isinstance(extensions[0].value, x509.CRLReason):
        return None
    number = _NUMBERS[extensions[0].value.reason]
    return None if number == _UNSPECIFIED else number


# The order of x509.ReasonFlags is not that of the numbers.
_NUMBERS = {
    x509.ReasonFlags.unspecified: 0,
    x509.ReasonFlags.key_compromise: 1,
    x509.ReasonFlags.ca_compromise: 2,
    x509.ReasonFlags.affiliation_changed: 3,
    x509.ReasonFlags.superseded: 4,
    x509.ReasonFlags.cessation_of_operation: 5,
    x509.ReasonFlags.certificate_hold: 6,
    x509.ReasonFlags.remove_from_crl: 8,
    x509.ReasonFlags.privilege_withdrawn: 9,
    x509.ReasonFlags.aa_compromise: 10,
}


def _extension(crl: x509.CertificateRevocationList, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
    try:
        return crl.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None
