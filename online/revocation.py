"""What may be revoked, by whom, and for which reason.

step-ca lets any provisioner revoke any number at all, issued or not; each such entry stays in its list for ever.
Here a token revokes what its own provisioner vouched for, a certificate revokes itself, and nothing else goes.
"""

from __future__ import annotations

from cryptography import x509

from online.provisioners.protocol import Provisioner
from online.provisioners.registry import Registry
from online.store.protocol import CertificateKind, CertificateRow
from shared.errors import NotFound, PolicyDenied, RequestRejected
from shared.serials import parse_serial

KEY_COMPROMISE = 1
_REMOVE_FROM_CRL = 8
_UNUSED = 7
_LARGEST_REASON = 10
_LONGEST_REASON_TEXT = 1000


def check_reason(code: int, text: str) -> None:
    """Check the reason of a revocation.

    certificateHold (6) is accepted as step sends it, and is final like any other: no hold is ever lifted.

    Args:
        code: CRLReason, RFC 5280 §5.3.1: 0 to 10, but not 7, which is unused, nor 8 (removeFromCRL), which takes
            a certificate out of a delta CRL and revokes nothing.
        text: for people.

    Raises:
        RequestRejected: ``revoke.reason-code`` or ``revoke.reason-text``.
    """
    if not 0 <= code <= _LARGEST_REASON:
        raise RequestRejected("revoke.reason-code", "reasonCode out of bounds")
    if code in {_UNUSED, _REMOVE_FROM_CRL}:
        raise RequestRejected("revoke.reason-code", f"reasonCode {code} does not revoke anything")
    if len(text) > _LONGEST_REASON_TEXT:
        raise RequestRejected("revoke.reason-text", f"reason is longer than {_LONGEST_REASON_TEXT} characters")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # JSON can write half a surrogate pair; no database can keep it.
        raise RequestRejected("revoke.reason-text", "reason is not Unicode text") from None


def check_token_names_serial(subject: str, serial: int) -> None:
    """Insist that a revocation token was made for this very certificate, compared as numbers, not as text.

    Raises:
        PolicyDenied: ``revoke.other-serial``.
    """
    try:
        named = parse_serial(subject)
    except RequestRejected:
        named = 0
    if named != serial:
        raise PolicyDenied("revoke.other-serial", "the token's subject is not the serial number in the request")


def check_certificate_is(certificate: x509.Certificate, serial: int) -> None:
    """Insist that a certificate that revokes itself revokes nothing else.

    Raises:
        PolicyDenied: ``revoke.other-serial``.
    """
    if certificate.serial_number != serial:
        raise PolicyDenied("revoke.other-serial", "the client certificate's serial number is not the request's")


def check_revocable(row: CertificateRow | None, by: Provisioner, registry: Registry) -> CertificateRow:
    """Decide whether a provisioner's token may revoke a certificate.

    Its own it may. Another's it may when that provisioner is no longer in the configuration: somebody must be
    able to.

    Args:
        row: what the store knows of the serial.
        by: the provisioner whose token was verified.
        registry: the provisioners of today.

    Raises:
        NotFound: ``certificate.unknown``.
        PolicyDenied: ``revoke.own-certificate`` for the node's own leaf, ``revoke.other-provisioner``.
    """
    if row is None:
        raise NotFound("certificate.unknown", "no certificate with this serial number was issued here")
    if row.kind is CertificateKind.OWN:
        raise PolicyDenied("revoke.own-certificate", "the certificate is the certificate authority's own")
    if row.provisioner_name != by.name and _exists(row.provisioner_name, registry):
        raise PolicyDenied("revoke.other-provisioner", "the certificate was issued through another provisioner")
    return row


def _exists(name: str, registry: Registry) -> bool:
    try:
        registry.by_name(name)
    except NotFound:
        return False
    return True
