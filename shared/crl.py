"""Certificate revocation lists: what goes in, the one path to a signature, and reading them back (RFC 5280 §5).

Invariants (the numbers return in the code; they are those of ``shared.issue``):

1. nothing is signed by a real key that was not first built under a stand-in for that key and linted without an
   error: only ``prepare_crl`` makes a ``PreparedCrl``;
2. a ``PreparedCrl`` is used once, and only with the key that it was prepared for;
3. what the real key signed is, byte for byte, the TBSCertList that was linted;
4. the signature verifies under the issuer's public key, otherwise the list never leaves this module.

Every list is a complete one of its scope. The list's DER is written here: the library's builder copies all entries
with each one that is added, which takes half an hour for a million of them. What was written is then judged by what
the library parses of it.

No clock, no randomness, no file, no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import CRLEntryExtensionOID

from shared import der
from shared.clock import whole_seconds
from shared.errors import Fatal, RequestRejected
from shared.issue import Issuer, Linted
from shared.keys import CaKind, CaPrivateKey, kind_of
from shared.lint.crl import CrlContext, lint_crl
from shared.serials import LARGEST_SERIAL
from shared.signing import algorithm_identifier, check_signature, sign_whole
from shared.stand_in import stand_in

PEM_LABEL = "X509 CRL"
YEAR = timedelta(days=366)
"""Twelve months, a leap day included: the longest that a root's list may stand (CA/B baseline §4.9.7)."""
_VERSION_2 = der.integer(1)


class Reason(IntEnum):
    """Why a certificate is revoked: CRLReason, RFC 5280 §5.3.1. The number 7 was never given a meaning."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    CA_COMPROMISE = 2
    AFFILIATION_CHANGED = 3
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5
    CERTIFICATE_HOLD = 6
    REMOVE_FROM_CRL = 8
    PRIVILEGE_WITHDRAWN = 9
    AA_COMPROMISE = 10

    @property
    def label(self) -> str:
        """The name in RFC 5280's spelling, such as ``keyCompromise``."""
        return _LABELS[self]

    @property
    def revokes(self) -> bool:
        """Whether it ends a certificate; removeFromCRL belongs into delta lists and ends a hold."""
        return self is not Reason.REMOVE_FROM_CRL


_LABELS = {
    Reason.UNSPECIFIED: "unspecified",
    Reason.KEY_COMPROMISE: "keyCompromise",
    Reason.CA_COMPROMISE: "cACompromise",
    Reason.AFFILIATION_CHANGED: "affiliationChanged",
    Reason.SUPERSEDED: "superseded",
    Reason.CESSATION_OF_OPERATION: "cessationOfOperation",
    Reason.CERTIFICATE_HOLD: "certificateHold",
    Reason.REMOVE_FROM_CRL: "removeFromCRL",
    Reason.PRIVILEGE_WITHDRAWN: "privilegeWithdrawn",
    Reason.AA_COMPROMISE: "aACompromise",
}


class Scope(StrEnum):
    """Which of its issuer's certificates a list speaks of (RFC 5280 §5.2.5)."""

    ALL = "all"
    CAS = "cas"
    """``onlyContainsCACerts``: for a root, which issues nothing else."""
    LEAVES = "leaves"
    """``onlyContainsUserCerts``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedEntry:
    """One revoked certificate, as a list names it."""

    serial: int
    revoked_at: datetime
    """Aware UTC; whole seconds reach the list."""
    reason: Reason = Reason.UNSPECIFIED
    """``UNSPECIFIED`` stays out of the list, as RFC 5280 §5.3.1 wants it."""

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            RequestRejected: ``crl.entry``.
        """
        if not 0 < self.serial <= LARGEST_SERIAL:
            raise RequestRejected("crl.entry", "a revoked serial is not positive or has over 20 octets")
        if self.reason is Reason.REMOVE_FROM_CRL:
            raise RequestRejected("crl.entry", "removeFromCRL revokes nothing and does not belong into a complete list")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlRequest:
    """What shall be published. Dates are aware UTC and lose their fraction of a second."""

    number: int
    """CRLNumber: strictly greater than that of every earlier list of the issuer (RFC 5280 §5.2.3)."""
    this_update: datetime
    next_update: datetime
    entries: Sequence[RevokedEntry] = ()
    """Each serial once, in any order; the list has them in the order of their serials."""
    scope: Scope = Scope.ALL
    url: str = ""
    """Where the list is published: the name in the certificates' distribution point, and here in the critical
    issuing distribution point, must be the same (RFC 5280 §6.3.3 b). Empty for a list without a place of its own."""
    longest: timedelta = YEAR
    """The longest time from ``this_update`` to ``next_update`` that the owner of the CA allows."""
    previous_number: int | None = None
    """The number of the list before, when it is known."""
    now: datetime | None = None
    """The moment for which the list must be the current one; ``None`` for a list that is signed in advance."""


@dataclass(slots=True, kw_only=True)
class PreparedCrl(Linted):
    """A linted TBSCertList, waiting for one real signature. Only ``prepare_crl`` makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCrl:
    """A list that left the signing path, in the two forms that its users want."""

    der: bytes = field(repr=False)
    crl: x509.CertificateRevocationList


def prepare_crl(request: CrlRequest, issuer: Issuer) -> PreparedCrl:
    """Build a list under a stand-in for the issuer's key and lint it (invariant 1).

    A hundred thousand entries take about a second of one core: do not call it where others wait for the event loop.

    Args:
        request: number, dates, entries, place.
        issuer: who will sign; its certificate, when it has one, must allow signing of lists.

    Raises:
        RequestRejected: ``crl.unencodable``.
        PolicyDenied: ``lint.<code>`` with the first error that lint found.
    """
    try:
        tbs = _tbs(request, issuer, kind_of(issuer.public_key))
        draft = x509.load_der_x509_crl(sign_whole(stand_in(issuer.public_key), tbs))
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as error:
        raise RequestRejected("crl.unencodable", f"the revocation list cannot be encoded: {error}") from None
    context = CrlContext(
        issuer_name=issuer.name,
        issuer=issuer.certificate,
        authority_key_identifier=issuer.authority_key_identifier(),
        number=request.number,
        previous_number=request.previous_number,
        this_update=whole_seconds(request.this_update),
        next_update=whole_seconds(request.next_update),
        longest=request.longest,
        now=request.now,
        distribution_point=_distribution_point(request),
        entries={each.serial: (whole_seconds(each.revoked_at), int(each.reason)) for each in request.entries},
        listed=len(request.entries),
    )
    return PreparedCrl(issuer=issuer, tbs=tbs, findings=lint_crl(draft, context))


def issue_crl(prepared: PreparedCrl, key: CaPrivateKey) -> SignedCrl:
    """Sign a prepared list with the issuer's real key, software or HSM.

    Args:
        prepared: from ``prepare_crl``; spent afterwards, whatever happens.
        key: the issuer's private key.

    Raises:
        Fatal: ``issue.spent``, ``issue.wrong-key``, ``issue.tbs-changed`` or ``issue.bad-signature``: the
            caller must stop signing. An HSM's own failure passes through as the ``PeerFailed`` that it raised.
    """
    # 2. Once, and only with the key that it was prepared for.
    prepared.spend(key)
    encoded = sign_whole(key, prepared.tbs)
    crl = x509.load_der_x509_crl(encoded)
    # 3. What was signed is what was linted.
    if crl.tbs_certlist_bytes != prepared.tbs:
        raise Fatal("issue.tbs-changed", "the signed revocation list differs from the linted one")
    # 4. The signature verifies.
    verify_crl_signature(crl, prepared.issuer)
    return SignedCrl(der=encoded, crl=crl)


def verify_crl_signature(crl: x509.CertificateRevocationList, issuer: Issuer) -> None:
    """Verify a list's signature under its issuer's key, and that it names that issuer; nothing else is checked.

    Raises:
        Fatal: ``issue.bad-signature``.
    """
    try:
        algorithm = crl.signature_hash_algorithm
    except UnsupportedAlgorithm:
        raise Fatal("issue.bad-signature", "the list is signed with an unknown algorithm") from None
    if crl.issuer != issuer.name:
        raise Fatal("issue.bad-signature", "the list names another issuer")
    check_signature(issuer.public_key, signature=crl.signature, data=crl.tbs_certlist_bytes, algorithm=algorithm)


def _tbs(request: CrlRequest, issuer: Issuer, kind: CaKind) -> bytes:
    """Write the TBSCertList of RFC 5280 §5.1; ``revokedCertificates`` is absent when nothing is revoked."""
    entries = [_entry(each) for each in sorted(request.entries, key=lambda each: each.serial)]
    extensions = [
        (x509.AuthorityKeyIdentifier.oid, False, issuer.authority_key_identifier().public_bytes()),
        (x509.CRLNumber.oid, False, x509.CRLNumber(request.number).public_bytes()),
    ]
    point = _distribution_point(request)
    if point is not None:
        extensions.append((point.oid, True, point.public_bytes()))
    return der.tlv(
        der.SEQUENCE,
        _VERSION_2,
        algorithm_identifier(kind),
        issuer.name.public_bytes(),
        der.time(request.this_update),
        der.time(request.next_update),
        der.tlv(der.SEQUENCE, *entries) if entries else b"",
        der.tlv(der.EXPLICIT_0, der.tlv(der.SEQUENCE, *(_extension(*each) for each in extensions))),
    )


def _distribution_point(request: CrlRequest) -> x509.IssuingDistributionPoint | None:
    if not request.url and request.scope is Scope.ALL:
        # The extension must not be empty (RFC 5280 §5.2.5): a list of everything, to be had anywhere, has none.
        return None
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(request.url)] if request.url else None,
        relative_name=None,
        only_contains_user_certs=request.scope is Scope.LEAVES,
        only_contains_ca_certs=request.scope is Scope.CAS,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )


def _extension(oid: x509.ObjectIdentifier, critical: bool, value: bytes) -> bytes:
    # DER leaves out what is the default: critical FALSE.
    return der.tlv(
        der.SEQUENCE,
        der.object_identifier(oid.dotted_string),
        der.BOOLEAN_TRUE if critical else b"",
        der.tlv(der.OCTET_STRING, value),
    )


def _reason_extensions(reason: Reason) -> bytes:
    """Write ``crlEntryExtensions`` for a reason; nothing for ``unspecified``."""
    if reason is Reason.UNSPECIFIED:
        return b""
    value = der.integer(int(reason), tag=der.ENUMERATED)
    return der.tlv(der.SEQUENCE, _extension(CRLEntryExtensionOID.CRL_REASON, False, value))


# There are ten: a list of a hundred thousand repeats them.
_REASON_EXTENSIONS = {reason: _reason_extensions(reason) for reason in Reason}


def _entry(entry: RevokedEntry) -> bytes:
    return der.tlv(
        der.SEQUENCE, der.integer(entry.serial), der.time(entry.revoked_at), _REASON_EXTENSIONS[entry.reason]
    )
