"""The one signing path: request and profile, a draft for the lint, then the real signature.

Invariants (the numbers return in the code):

1. nothing is signed by a real key that was not first built under a stand-in for that key and linted without an
   error: only ``prepare`` makes a ``Prepared``;
2. a ``Prepared`` is used once, and only with the key that it was prepared for;
3. what the real key signed is, byte for byte, the TBSCertificate that was linted;
4. the signature verifies under the issuer's public key, otherwise the certificate never leaves this module.

No clock, no randomness, no file, no network. ECDSA nonces are the signer's affair.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from shared.clock import whole_seconds
from shared.errors import Fatal, PolicyDenied, RequestRejected
from shared.keys import (
    CaPrivateKey,
    CaPublicKey,
    ca_key,
    check_ca_key,
    kind_of,
    signature_hash,
    subject_key_identifier,
)
from shared.lint import Finding, Severity, lint_certificate
from shared.lint.rules import Context
from shared.names import SanSet
from shared.profile import Profile, Role
from shared.serials import LARGEST_SERIAL
from shared.signing import check_signature, sign_whole
from shared.stand_in import stand_in

# X.509 writes no earlier ones (RFC 5280 §4.1.2.5.1).
_FIRST_MOMENT = datetime(1950, 1, 1)  # noqa: DTZ001 (UTC without saying so, as the library's builder has it)
_CRITICAL = frozenset({ExtensionOID.KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Who signs: a name and a public key, with the certificate that binds them (none for a new root)."""

    name: x509.Name
    public_key: CaPublicKey
    certificate: x509.Certificate | None
    _identifier: x509.AuthorityKeyIdentifier = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Made once: each certificate and list of this issuer has it.
        object.__setattr__(self, "_identifier", _identifier(self.public_key, self.certificate))

    @classmethod
    def from_certificate(cls, certificate: x509.Certificate) -> Issuer:
        """Take the issuer from its certificate.

        Raises:
            RequestRejected: ``key.*`` when its key is of no accepted kind.
        """
        return cls(name=certificate.subject, public_key=ca_key(certificate), certificate=certificate)

    @classmethod
    def new_root(cls, name: x509.Name, public_key: CaPublicKey) -> Issuer:
        """Take the issuer of a self-signed root that does not exist yet."""
        return cls(name=name, public_key=public_key, certificate=None)

    def authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """Return the extension that points at this issuer: key identifier only (RFC 5280 §4.2.1.1)."""
        return self._identifier


def _identifier(public_key: CaPublicKey, certificate: x509.Certificate | None) -> x509.AuthorityKeyIdentifier:
    if certificate is not None:
        try:
            identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        except x509.ExtensionNotFound:
            pass
    return x509.AuthorityKeyIdentifier(subject_key_identifier(public_key), None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuanceRequest:
    """What shall be certified. Dates are aware UTC and lose their fraction of a second."""

    subject: x509.Name
    public_key: CaPublicKey
    serial: int
    not_before: datetime
    not_after: datetime
    sans: SanSet = field(default_factory=SanSet)
    extra: tuple[x509.Extension[x509.ExtensionType], ...] = ()
    """Extensions that the issuer adds at the end; the profile must allow them. Authority information access goes before
    the alternative names, where step-ca has it. In a renewal, each takes the place of an old one of its kind."""
    subject_key_identifier: bytes | None = None
    """The identifier that the key has already, in a certificate of its own; ``None`` for the usual one. What other
    certificates point at must not change when a further CA certifies the key."""
    renewed_from: x509.Certificate | None = None
    """The certificate that this one renews: its extensions are taken over in their order, after a fresh
    authority key identifier, with a fresh subject key identifier."""


@dataclass(slots=True, kw_only=True)
class Linted:
    """What waits for one real signature, a certificate or a revocation list. No error that lint found gets this far."""

    issuer: Issuer
    tbs: bytes = field(repr=False)
    """The DER that will be signed."""
    findings: tuple[Finding, ...]
    """What lint found: notices only."""
    _used: bool = False

    def __post_init__(self) -> None:
        for finding in self.findings:
            if finding.severity is Severity.ERROR:
                raise PolicyDenied(f"lint.{finding.code}", f"{finding.message} ({finding.citation})")

    @property
    def tbs_digest(self) -> str:
        """SHA-256 of ``tbs`` in lower-case hex."""
        return hashlib.sha256(self.tbs).hexdigest()

    def spend(self, key: CaPrivateKey) -> None:
        """Take the one use (invariant 2), whatever happens afterwards.

        Raises:
            Fatal: ``issue.spent`` or ``issue.wrong-key``.
        """
        if self._used:
            raise Fatal("issue.spent", "what was prepared once was to be signed twice")
        self._used = True
        if key.public_key() != self.issuer.public_key:
            raise Fatal("issue.wrong-key", "the signing key is not the issuer's key")


@dataclass(slots=True, kw_only=True)
class Prepared(Linted):
    """A linted TBSCertificate, waiting for one real signature. Only ``prepare`` makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCertificate:
    """A certificate that left the signing path, in the two forms that its users want."""

    der: bytes = field(repr=False)
    certificate: x509.Certificate


def prepare(profile: Profile, request: IssuanceRequest, issuer: Issuer) -> Prepared:
    """Build under a stand-in for the issuer's key and lint (invariant 1).

    Args:
        profile: decides every extension.
        request: subject, key, serial, dates, names.
        issuer: who will sign.

    Raises:
        RequestRejected: ``key.*`` for an unacceptable subject key.
        PolicyDenied: ``lint.<code>`` with the first error that lint found.
    """
    check_ca_key(request.public_key)
    algorithm = signature_hash(kind_of(issuer.public_key))
    try:
        draft = _builder(profile, request, issuer).sign(stand_in(issuer.public_key), algorithm)
    except (ValueError, TypeError) as error:
        raise RequestRejected("issue.unencodable", f"the certificate cannot be encoded: {error}") from None
    context = Context(
        profile=profile,
        issuer_name=issuer.name,
        issuer_key=issuer.public_key,
        issuer=issuer.certificate,
        subject_key_identifier=request.subject_key_identifier,
    )
    findings = lint_certificate(draft, context)
    return Prepared(issuer=issuer, tbs=draft.tbs_certificate_bytes, findings=findings)


def issue(prepared: Prepared, key: CaPrivateKey) -> x509.Certificate:
    """Sign a prepared certificate: ``issue_encoded``, for those who want no more than the certificate.

    Raises:
        Fatal: as ``issue_encoded``.
    """
    return issue_encoded(prepared, key).certificate


def issue_encoded(prepared: Prepared, key: CaPrivateKey) -> SignedCertificate:
    """Sign a prepared certificate with the issuer's real key, software or HSM.

    Args:
        prepared: from ``prepare``; spent afterwards, whatever happens.
        key: the issuer's private key.

    Raises:
        Fatal: ``issue.spent``, ``issue.wrong-key``, ``issue.tbs-changed`` or ``issue.bad-signature``: the
            caller must stop signing. An HSM's own failure passes through as the ``PeerFailed`` that it raised.
    """
    # 2. Once, and only with the key that it was prepared for.
    prepared.spend(key)
    # 3. What is signed is what was linted: its very bytes.
    encoded = sign_whole(key, prepared.tbs)
    certificate = x509.load_der_x509_certificate(encoded)
    if certificate.tbs_certificate_bytes != prepared.tbs:
        raise Fatal("issue.tbs-changed", "the signed certificate differs from the linted one")
    # 4. The signature verifies.
    check_signature(
        prepared.issuer.public_key,
        signature=certificate.signature,
        data=prepared.tbs,
        algorithm=certificate.signature_hash_algorithm,
    )
    return SignedCertificate(der=encoded, certificate=certificate)


def verify_signature(certificate: x509.Certificate, issuer_key: CaPublicKey) -> None:
    """Verify a certificate's signature under a public key; nothing else is checked.

    Raises:
        Fatal: ``issue.bad-signature``.
    """
    check_signature(
        issuer_key,
        signature=certificate.signature,
        data=certificate.tbs_certificate_bytes,
        algorithm=certificate.signature_hash_algorithm,
    )


def clip_to_issuer(not_after: datetime, issuer: Issuer) -> datetime:
    """Return the end of a validity, moved forward to the issuer's own end when it lies behind it."""
    if issuer.certificate is None:
        return not_after
    return min(not_after, issuer.certificate.not_valid_after_utc)


def _builder(profile: Profile, request: IssuanceRequest, issuer: Issuer) -> x509.CertificateBuilder:
    """Put the parts together at once: the builder's setters copy it with each part, at half the cost of a signature.

    Raises:
        ValueError: for what the setters would refuse.
    """
    begin, end = (
        whole_seconds(each.astimezone(UTC)).replace(tzinfo=None) for each in (request.not_before, request.not_after)
    )
    extensions = (
        _renewed(profile, request, issuer) if request.renewed_from is not None else _fresh(profile, request, issuer)
    )
    if not _FIRST_MOMENT <= begin <= end:
        raise ValueError("its end lies before its begin, or its begin before 1950")
    if not 0 < request.serial <= LARGEST_SERIAL:
        raise ValueError("its serial is not positive, or longer than 20 octets")
    if len({each.oid for each in extensions}) != len(extensions):
        raise ValueError("it has an extension twice")
    return x509.CertificateBuilder(
        issuer_name=issuer.name,
        subject_name=request.subject,
        public_key=request.public_key,
        serial_number=request.serial,
        not_valid_before=begin,
        not_valid_after=end,
        extensions=extensions,
    )


def _fresh(profile: Profile, request: IssuanceRequest, issuer: Issuer) -> list[x509.Extension[x509.ExtensionType]]:
    """The profile's extensions in step-ca's order, KU, EKU, BC, SKI, AKI, AIA, SAN, and the rest of the issuer's."""
    found: list[x509.ExtensionType] = [profile.key_usage(kind_of(request.public_key))]
    if profile.extended_key_usage:
        found.append(_extended(profile.extended_key_usage))
    if profile.is_ca:
        found.append(x509.BasicConstraints(ca=True, path_length=profile.path_length))
    identifier = request.subject_key_identifier or subject_key_identifier(request.public_key)
    found.append(x509.SubjectKeyIdentifier(identifier))
    if profile.role is not Role.ROOT:
        found.append(issuer.authority_key_identifier())
    result = [x509.Extension(each.oid, each.oid in _CRITICAL, each) for each in found]
    result += [each for each in request.extra if each.oid == ExtensionOID.AUTHORITY_INFORMATION_ACCESS]
    if request.sans:
        names: x509.ExtensionType = x509.SubjectAlternativeName(request.sans.general_names())
        result.append(x509.Extension(names.oid, not list(request.subject), names))
    return result + [each for each in request.extra if each.oid != ExtensionOID.AUTHORITY_INFORMATION_ACCESS]


@functools.lru_cache(maxsize=64)
def _extended(usages: tuple[x509.ObjectIdentifier, ...]) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage(usages)


def _renewed(profile: Profile, request: IssuanceRequest, issuer: Issuer) -> list[x509.Extension[x509.ExtensionType]]:
    """The old certificate's extensions in their order, behind a fresh authority key identifier, and the issuer's.

    Key usage is the profile's again: a rekey to another kind of key needs another one.
    """
    old = request.renewed_from
    assert old is not None
    extra = {each.oid: each for each in request.extra}
    authority = issuer.authority_key_identifier()
    found: list[x509.Extension[x509.ExtensionType]] = [x509.Extension(authority.oid, False, authority)]
    for extension in old.extensions:
        if extension.oid == ExtensionOID.AUTHORITY_KEY_IDENTIFIER:
            continue
        if extension.oid == ExtensionOID.SUBJECT_KEY_IDENTIFIER:
            fresh: x509.ExtensionType = x509.SubjectKeyIdentifier.from_public_key(request.public_key)
            found.append(x509.Extension(extension.oid, False, fresh))
        elif extension.oid == ExtensionOID.KEY_USAGE:
            found.append(x509.Extension(extension.oid, True, profile.key_usage(kind_of(request.public_key))))
        else:
            found.append(extra.pop(extension.oid, extension))
    return [*found, *extra.values()]


def lifetime(certificate: x509.Certificate) -> timedelta:
    """Return notAfter minus notBefore."""
    return certificate.not_valid_after_utc - certificate.not_valid_before_utc
