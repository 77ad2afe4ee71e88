"""The rules: RFC 5280's demands, the CA/B baseline's where a private CA shares its reason, and the profile.

A rule takes what a parser makes of the *encoded* certificate, so that it judges what is signed and not what was meant,
and the ``Context``, and yields findings. All rules read the certificate from one ``Reading``: it is parsed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID, NameOID

from shared import names
from shared.errors import RequestRejected
from shared.keys import CaPublicKey, ca_key, kind_of, subject_key_identifier
from shared.lint.finding import Finding, Severity
from shared.profile import Profile, Role
from shared.serials import LARGEST_SERIAL

# CA/B baseline §7.1: at least 64 bits from a CSPRNG; a serial this short cannot hold them.
_LEAST_SERIAL_BITS = 64
_STANDARD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a certificate is held against."""

    profile: Profile
    issuer_name: x509.Name
    issuer_key: CaPublicKey
    issuer: x509.Certificate | None
    """``None`` when a root signs itself."""
    subject_key_identifier: bytes | None = None
    """The one that the key has in another CA's certificate already; ``None`` for the usual one."""


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the parser makes of an encoded certificate."""

    certificate: x509.Certificate
    subject: tuple[x509.NameAttribute[str | bytes], ...]
    """The attributes of the subject, in their order."""
    key: CaPublicKey | RequestRejected
    """The subject's key, or why it is not accepted."""
    extensions: Mapping[type[x509.ExtensionType], x509.Extension[x509.ExtensionType]]
    """By class. Those that the parser does not know are not told apart here."""

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Reading:
        """Read a certificate.

        Raises:
            ValueError: for extensions that cannot be parsed.
            DuplicateExtension: for two of one kind.
        """
        extensions = {type(each.value): each for each in certificate.extensions}
        try:
            key: CaPublicKey | RequestRejected = ca_key(certificate)
        except RequestRejected as refusal:
            key = refusal
        return cls(certificate=certificate, subject=tuple(certificate.subject), key=key, extensions=extensions)

    def extension(self, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
        """Return the extension of a class, if there is one."""
        return cast("x509.Extension[_Extension] | None", self.extensions.get(kind))

    def common_names(self) -> list[str | bytes]:
        """Return the values of all common names in the subject."""
        return [each.value for each in self.subject if each.oid == NameOID.COMMON_NAME]


Rule = Callable[[Reading, Context], Iterable[Finding]]


def _error(code: str, message: str, citation: str) -> Finding:
    return Finding(code=code, severity=Severity.ERROR, message=message, citation=citation)


def serial(read: Reading, context: Context) -> Iterator[Finding]:
    """Positive, at most 20 octets, and long enough to have been drawn at random."""
    del context
    number = read.certificate.serial_number
    if not 0 < number <= LARGEST_SERIAL:
        yield _error("serial.out-of-range", "the serial is not positive or has over 20 octets", "RFC 5280 §4.1.2.2")
    elif number.bit_length() < _LEAST_SERIAL_BITS:
        yield _error("serial.too-short", "the serial has fewer than 64 bits", "CA/B BR §7.1")


def validity(read: Reading, context: Context) -> Iterator[Finding]:
    """In order, no longer than the profile allows, and inside the issuer's own."""
    begin, end = read.certificate.not_valid_before_utc, read.certificate.not_valid_after_utc
    if end <= begin:
        yield _error("validity.order", "notAfter is not after notBefore", "RFC 5280 §4.1.2.5")
    if end - begin > context.profile.longest:
        yield _error("validity.too-long", "the validity is longer than the profile allows", "profile")
    if context.issuer is not None:
        if end > context.issuer.not_valid_after_utc:
            yield _error("validity.outlives-issuer", "the certificate would outlive its issuer", "RFC 5280 §6.1.3")
        if begin < context.issuer.not_valid_before_utc:
            yield _error("validity.before-issuer", "the certificate would begin before its issuer", "RFC 5280 §6.1.3")


def issuer_link(read: Reading, context: Context) -> Iterator[Finding]:
    """The issuer's name and key identifier are the issuer's; a root's are its own."""
    if read.certificate.issuer != context.issuer_name:
        yield _error("issuer.name", "the issuer name is not the issuer's subject", "RFC 5280 §4.1.2.4")
    if context.profile.role is Role.ROOT and read.certificate.subject != read.certificate.issuer:
        yield _error("issuer.not-self-issued", "a root's subject and issuer differ", "RFC 5280 §3.2")
    found = read.extension(x509.AuthorityKeyIdentifier)
    if found is None:
        if context.profile.role is not Role.ROOT:
            yield _error("aki.missing", "the authority key identifier is missing", "RFC 5280 §4.2.1.1")
    elif found.value.key_identifier != _issuer_identifier(context):
        yield _error("aki.mismatch", "the authority key identifier is not the issuer's", "RFC 5280 §4.2.1.1")


def basic_constraints(read: Reading, context: Context) -> Iterator[Finding]:
    """Critical with the profile's path length on a CA, never CA:TRUE on a leaf."""
    found = read.extension(x509.BasicConstraints)
    if not context.profile.is_ca:
        if found is not None and found.value.ca:
            yield _error("basic-constraints.leaf-is-ca", "a leaf claims to be a CA", "RFC 5280 §4.2.1.9")
        return
    if found is None or not found.critical or not found.value.ca:
        yield _error("basic-constraints.missing", "a CA lacks critical basic constraints", "RFC 5280 §4.2.1.9")
    elif found.value.path_length != context.profile.path_length:
        yield _error("basic-constraints.path-length", "the path length is not the profile's", "RFC 5280 §4.2.1.9")


def key_usage(read: Reading, context: Context) -> Iterator[Finding]:
    """Exactly the profile's, critical; extended key usage likewise, non-critical."""
    found = read.extension(x509.KeyUsage)
    if isinstance(read.key, RequestRejected):
        return  # subject_key says so
    wanted = context.profile.key_usage(kind_of(read.key))
    if found is None or not found.critical or found.value != wanted:
        yield _error("key-usage.mismatch", "the key usage is not the profile's, or not critical", "RFC 5280 §4.2.1.3")
    extended = read.extension(x509.ExtendedKeyUsage)
    present = tuple(extended.value) if extended is not None else ()
    if present != context.profile.extended_key_usage:
        yield _error("extended-key-usage.mismatch", "the extended key usage is not the profile's", "RFC 5280 §4.2.1.12")


def subject_key(read: Reading, context: Context) -> Iterator[Finding]:
    """Of an accepted kind and strength, with its identifier; never the issuer's own key below a root."""
    key = read.key
    if isinstance(key, RequestRejected):
        yield _error(key.code, key.message, "NIST SP 800-57 part 1")
        return
    if kind_of(key) not in context.profile.key_kinds:
        yield _error("key.kind", f"the profile does not accept keys of the kind {kind_of(key)}", "profile")
    if context.profile.role is not Role.ROOT and key == context.issuer_key:
        yield _error("key.is-issuers", "the subject key is the issuer's own key", "RFC 5280 §3.2")
    if context.profile.role is Role.ROOT and key != context.issuer_key:
        yield _error("key.not-issuers", "a root's subject key is not the key that signs it", "RFC 5280 §3.2")
    found = read.extension(x509.SubjectKeyIdentifier)
    if (
        found is None
        or found.critical
        or found.value.digest != (context.subject_key_identifier or subject_key_identifier(key))
    ):
        yield _error("ski.mismatch", "the subject key identifier is missing or not the key's", "RFC 5280 §4.2.1.2")


def subject(read: Reading, context: Context) -> Iterator[Finding]:
    """A CA is named; a leaf's only common name is one of its alternative names."""
    if context.profile.is_ca and not read.subject:
        yield _error("subject.empty", "a CA has no subject", "RFC 5280 §4.1.2.6")
    for attribute in read.subject:
        if not isinstance(attribute.value, str) or names.printable(attribute.value, limit=200) != attribute.value:
            yield _error("subject.unprintable", "the subject holds characters that do not show", "RFC 5280 §4.1.2.6")
    if any(len(list(relative)) > 1 for relative in read.certificate.subject.rdns):
        yield _error("subject.multi-valued", "the subject has a multi-valued component", "CA/B BR §7.1.4.1")
    common = read.common_names()
    if len(common) > 1:
        yield _error("subject.common-names", "the subject has several common names", "CA/B BR §7.1.4.2")


def alternative_names(read: Reading, context: Context) -> Iterator[Finding]:
    """Present where the profile asks, canonical, critical exactly when the subject is empty."""
    found = read.extension(x509.SubjectAlternativeName)
    if found is None:
        if context.profile.needs_san:
            yield _error("san.missing", "the subject alternative name is missing", "RFC 9525 §2")
        return
    if context.profile.is_ca:
        yield _error("san.on-ca", "a CA certificate carries alternative names", "profile")
    if found.critical != (not read.subject):
        yield _error("san.criticality", "it is critical exactly when the subject is empty", "RFC 5280 §4.2.1.6")
    try:
        canonical = names.canonical_sans(found.value)
    except RequestRejected as refusal:
        yield _error("san.malformed", refusal.message, "RFC 5280 §4.2.1.6")
        return
    if not canonical or canonical.values() != tuple(each.value for each in found.value):
        yield _error(
            "san.not-canonical",
            "the names are empty, repeated, or not in canonical form",
            "RFC 5280 §4.2.1.6",
        )
    common = read.common_names()
    if len(common) == 1 and str(common[0]).lower() not in {text.lower() for text in canonical.texts()}:
        yield _error("san.common-name", "the common name is not among the alternative names", "CA/B BR §7.1.4.3")


def extensions(read: Reading, context: Context) -> Iterator[Finding]:
    """Nothing but what the standard needs and the profile allows, critical exactly where RFC 5280 says so."""
    for extension in read.certificate.extensions:
        if extension.oid in _STANDARD:
            continue
        if extension.oid not in context.profile.allowed_extensions:
            yield _error("extension.foreign", f"the profile does not allow {extension.oid.dotted_string}", "profile")
        elif extension.oid == ExtensionOID.NAME_CONSTRAINTS:
            if not extension.critical or not context.profile.is_ca:
                message = "name constraints are critical, and on a CA only"
                yield _error("extension.name-constraints", message, "RFC 5280 §4.2.1.10")
        elif extension.critical:
            yield _error("extension.critical", f"{extension.oid.dotted_string} must not be critical", "profile")


def signature_algorithm(read: Reading, context: Context) -> Iterator[Finding]:
    """No hash that is broken."""
    del context
    algorithm = read.certificate.signature_hash_algorithm
    if algorithm is not None and not isinstance(algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        yield _error("signature.weak-hash", f"it would be signed with {algorithm.name}", "NIST SP 800-131A")


RULES: tuple[Rule, ...] = (
    serial,
    validity,
    issuer_link,
    basic_constraints,
    key_usage,
    subject_key,
    subject,
    alternative_names,
    extensions,
    signature_algorithm,
)


def lint_certificate(certificate: x509.Certificate, context: Context) -> tuple[Finding, ...]:
    """Hold a certificate against every rule.

    A certificate whose extensions cannot even be parsed (two of one kind, broken DER) gets a single finding.
    """
    try:
        read = Reading.of(certificate)
    except (ValueError, x509.DuplicateExtension):
        return (_error("extension.malformed", "the extensions cannot be parsed or repeat", "RFC 5280 §4.2"),)
    return tuple(finding for rule in RULES for finding in rule(read, context))


def _issuer_identifier(context: Context) -> bytes:
    """The issuer's own identifier extension, which may not be SHA-1 of its key when another CA made it."""
    if context.issuer is not None:
        try:
            return context.issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        except x509.ExtensionNotFound:
            pass
    return subject_key_identifier(context.issuer_key)
