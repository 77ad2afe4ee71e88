"""The act of a cross-certificate, pure: another CA's root, certified by this one for those who trust only this one.

What the other root's own certificates point at must stay what it is: its subject byte for byte, its key, and its key
identifier, however that was made. Everything else is ours: the profile, the path length, the name constraints.

Invariants: which root it is was agreed on by the fingerprint in the plan; it signed itself, is a CA, and limits its
key's use no further than we would say; the certificate ends no later than either root.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509

from ceremony.plan import CrossPlan, end_of_validity
from shared import der
from shared.ca_extensions import ALLOWED_ON_CA
from shared.clock import whole_seconds
from shared.errors import Fatal, PolicyDenied, RequestRejected, Unsupported
from shared.issue import IssuanceRequest, Issuer, Prepared, clip_to_issuer, prepare, verify_signature
from shared.keys import CA_KINDS, ca_key, fingerprint, subject_key_identifier
from shared.names import format_name
from shared.pem import load_certificate
from shared.profile import Profile, Role

FOLDER = "cross"
# TBSCertificate, RFC 5280 §4.1: serial, signature, issuer, validity, subject, key; a version may stand before them.
_SUBJECT, _KEY = 4, 5

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


def cross_file(name: str) -> str:
    """Return where a cross-certificate lies in the ceremony's directory."""
    return f"{FOLDER}/{name}.crt"


def read_other_root(planned: CrossPlan, data: bytes) -> x509.Certificate:
    """Check that a certificate is the root that the plan agreed on, and one that can be certified.

    Args:
        planned: with its fingerprint.
        data: the file, PEM or DER.

    Raises:
        RequestRejected: ``pem.*``, ``certificate.malformed``, ``key.*``, ``cross.other-certificate`` or
            ``cross.not-a-root``.
        Unsupported: ``cross.extended-key-usage``.
    """
    other = load_certificate(data, what="other root's certificate")
    if fingerprint(other) != planned.fingerprint:
        raise RequestRejected(
            "cross.other-certificate",
            f"this is {format_name(other.subject)} with the fingerprint {fingerprint(other)}, not the planned one",
            hint=f"planned: {planned.fingerprint}",
        )
    if _common_names(other.subject) != _common_names(planned.subject):
        raise RequestRejected(
            "cross.other-certificate",
            f"the subject is {format_name(other.subject)}, the plan says {format_name(planned.subject)}",
        )
    constraints, usage = extension_of(other, x509.BasicConstraints), extension_of(other, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        raise RequestRejected("cross.not-a-root", "the other certificate is not one of a CA")
    if other.subject != other.issuer:
        raise RequestRejected("cross.not-a-root", "the other certificate is not self-signed: it is no root")
    try:
        verify_signature(other, ca_key(other))
    except Fatal:
        raise RequestRejected("cross.not-a-root", "the other root's own signature does not verify") from None
    if extension_of(other, x509.ExtendedKeyUsage) is not None:
        raise Unsupported(
            "cross.extended-key-usage",
            "the other root limits its purposes (extended key usage), which our certificate would not repeat",
        )
    return other


def prepare_cross(
    planned: CrossPlan, other: x509.Certificate, *, root: x509.Certificate, serial: int, now: datetime
) -> Prepared:
    """Build and lint the certificate that the plan describes for the other root.

    Args:
        planned: validity, path length, constraints.
        other: from ``read_other_root``.
        root: our root, the issuer.
        serial: drawn in the HSM; used unless the plan fixes one.
        now: aware UTC, the first second of the validity unless the plan fixes one.

    Raises:
        PolicyDenied: ``cross.path-length`` or ``lint.*``.
        Fatal: ``cross.changed``.
    """
    issuer = Issuer.from_certificate(root)
    begin = planned.fixed.not_before or whole_seconds(now)
    end = min(clip_to_issuer(end_of_validity(begin, planned.years), issuer), other.not_valid_after_utc)
    request = IssuanceRequest(
        subject=other.subject,
        public_key=ca_key(other),
        serial=planned.fixed.serial or serial,
        not_before=begin,
        not_after=end,
        subject_key_identifier=key_identifier_of(other),
        extra=planned.extensions.extensions(),
    )
    prepared = prepare(cross_profile(planned, other, root), request, issuer)
    check_same_subject(prepared.tbs, other)
    return prepared


def cross_profile(planned: CrossPlan, other: x509.Certificate, root: x509.Certificate) -> Profile:
    """Return the profile: as many CAs below as the plan says, and never more than the other root itself allows.

    Raises:
        PolicyDenied: ``cross.path-length``.
    """
    below = path_length_of(other)
    length = planned.path_length if below is None else min(planned.path_length, below)
    allowed = path_length_of(root)
    if allowed is not None and length >= allowed:
        raise PolicyDenied(
            "cross.path-length",
            f"our root allows {allowed} CAs below it: none of them could stand below the other root",
            hint="a root that shall certify other roots needs a greater path_length from its first day on",
        )
    return Profile(
        name="cross-certificate",
        role=Role.INTERMEDIATE,
        longest=timedelta(days=366 * planned.years),
        path_length=length,
        key_kinds=CA_KINDS,
        allowed_extensions=ALLOWED_ON_CA,
    )


def check_same_subject(tbs: bytes, certified: x509.Certificate) -> None:
    """Insist that subject and key are the certified ones, byte for byte: clients compare names as bytes.

    Raises:
        Fatal: ``cross.changed``.
    """
    if _subject_and_key(tbs) != _subject_and_key(certified.tbs_certificate_bytes):
        raise Fatal("cross.changed", "the certificate would not have the very subject and key of the one it certifies")


def key_identifier_of(certificate: x509.Certificate) -> bytes:
    """Return the key identifier that others point at: the certificate's own, or the usual one when it has none."""
    found = extension_of(certificate, x509.SubjectKeyIdentifier)
    return found.digest if found is not None else subject_key_identifier(ca_key(certificate))


def path_length_of(certificate: x509.Certificate) -> int | None:
    """Return the path length of a CA; ``None`` when it has no limit."""
    found = extension_of(certificate, x509.BasicConstraints)
    return found.path_length if found is not None else None


def extension_of(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    """Return the value of an extension, or ``None``."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _subject_and_key(tbs: bytes) -> tuple[bytes, bytes]:
    parts = der.outline(tbs)
    if parts[0][0] == der.EXPLICIT_0:
        parts = parts[1:]
    return parts[_SUBJECT][1], parts[_KEY][1]


def _common_names(name: x509.Name) -> list[str]:
    return [str(each.value) for each in name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
