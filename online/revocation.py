"""What may be revoked, by whom, and for which reason; and doing it.

step-ca lets any provisioner revoke any number at all, issued or not; each such entry stays in its list for ever.
Here a token revokes what its own provisioner vouched for, a certificate revokes itself, and nothing else goes.

Revoking signs nothing: it needs the certificates and the database, but neither the issuing key nor its HSM.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from cryptography import x509

from online import issued
from online.provisioners.protocol import Operation, Provisioner
from online.provisioners.registry import Registry
from online.store.protocol import CertificateKind, CertificateRow, Revocation, RevocationProof, Store, TokenUse
from online.tokens import VerifiedToken
from shared.clock import Clock
from shared.crl import Reason
from shared.errors import NotFound, PolicyDenied, RequestRejected
from shared.issue import Issuer
from shared.keys import public_key_digest
from shared.serials import parse_serial

_LONGEST_REASON_TEXT = 1000

Verify = Callable[[Operation, str, datetime], Awaitable[VerifiedToken]]
"""Verifies a one-time token for an operation at a moment; raises ``Unauthenticated``."""


class Revoker:
    """Revokes certificates of one CA: for a node, or for its operator on the node's own machine."""

    def __init__(
        self, *, registry: Registry, verify: Verify, issuers: Sequence[Issuer], store: Store, clock: Clock
    ) -> None:
        """Make a revoker.

        Args:
            registry: the provisioners of today.
            verify: judges their tokens.
            issuers: the intermediates whose leaves may revoke themselves.
            store: where revocations are recorded.
            clock: wall clock.
        """
        self._registry = registry
        self._verify = verify
        self._issuers = tuple(issuers)
        self._store = store
        self._clock = clock

    async def revoke(
        self,
        *,
        serial: int,
        token: str | None,
        certificate: x509.Certificate | None,
        reason_code: int,
        reason: str,
    ) -> None:
        """Revoke a certificate: it is never renewed again, by any node.

        1. The reason is one that revokes.
        2. The proof holds: the token completely, or the certificate's signature.
        3. The proof is for this very serial, and may revoke it.
        4. The use of the token and the revocation are recorded in one transaction.

        Args:
            serial: of the certificate.
            token: a revocation token for this serial; it goes before ``certificate`` when both are given.
            certificate: the certificate itself, whose key the caller was seen to use.
            reason_code: CRLReason; keyCompromise (1) also bars the key from any further certificate.
            reason: free text.

        Raises:
            RequestRejected: ``revoke.*``, ``certificate.already-revoked``.
            NotFound: ``certificate.unknown``.
            Unauthenticated: ``token.*`` or ``certificate.*``.
            PolicyDenied: ``revoke.*``.
            PeerFailed: ``oidc.*`` when the issuer of an ID token cannot be asked for its keys.
            StoreFailed: ``store.*``; the certificate may or may not count as revoked, ask again.
        """
        now = self._clock.now()
        # 1
        check_reason(reason_code, reason)
        # 2, 3
        use: TokenUse | None = None
        by = ""
        if token is not None:
            verified = await self._verify(Operation.REVOKE, token, now)
            if not verified.unbound:
                check_token_names_serial(verified.subject, serial)
            row = check_revocable(await self._store.certificate(serial), verified.provisioner, self._registry)
            key_digest, by, use = row.key_digest, verified.provisioner.id, token_use(verified)
        elif certificate is not None:
            key_digest = public_key_digest(issued.check_ours(certificate, self._issuers))
            check_certificate_is(certificate, serial)
        else:
            raise RequestRejected("revoke.no-proof", "missing ott or client certificate")
        # 4
        await self._store.record_revocation(
            token=use,
            revocation=Revocation(
                serial=serial,
                revoked_at=now,
                reason_code=reason_code,
                reason=reason,
                proof=RevocationProof.CERTIFICATE if use is None else RevocationProof.TOKEN,
                provisioner_id=by,
                compromised_key=key_digest if reason_code == Reason.KEY_COMPROMISE else None,
            ),
        )


async def revoke_unknown(store: Store, *, serial: int, reason_code: int, reason: str, now: datetime) -> None:
    """Record that a serial number is revoked which this node never issued: one of the CA before it.

    There is no proof to look at; it is for the operator, who may write the database anyway. No key is barred, because
    none is known.

    Args:
        store: of the node.
        serial: of the certificate.
        reason_code: CRLReason.
        reason: free text.
        now: the moment of the revocation.

    Raises:
        RequestRejected: ``revoke.known`` when this node did issue it, ``revoke.*``, ``certificate.already-revoked``.
        StoreFailed: ``store.*``.
    """
    check_reason(reason_code, reason)
    if await store.certificate(serial) is not None:
        raise RequestRejected(
            "revoke.known", f"{serial} was issued here", hint="revoke it without --unknown, which wants a proof"
        )
    await store.record_revocation(
        token=None,
        revocation=Revocation(
            serial=serial,
            revoked_at=now,
            reason_code=reason_code,
            reason=reason,
            proof=RevocationProof.OPERATOR,
            provisioner_id="",
        ),
    )


def token_use(verified: VerifiedToken) -> TokenUse:
    """Return what is recorded so that a verified token is not used a second time."""
    return TokenUse(provisioner_id=verified.provisioner.id, digest=verified.token_digest, expires=verified.expires)


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
    if not min(Reason) <= code <= max(Reason):
        raise RequestRejected("revoke.reason-code", "reasonCode out of bounds")
    if code not in set(Reason) or not Reason(code).revokes:
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
