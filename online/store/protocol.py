"""What the authority asks of a store, whatever database stands behind it.

Invariants that every implementation keeps:

* a call that returns was committed and flushed; a call that raises promised nothing to anybody;
* the use of a token and what it was used for are one transaction: both are there, or neither;
* of all calls that use one token, on any thread, process or node, at most one succeeds;
* a renewal whose parent is revoked is refused inside that same transaction, so that no renewal slips past a
  revocation that was answered before;
* tokens are kept as digests only; no row holds a private key or anything that could be replayed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

MOST_COUNTED = 100
"""Successors of one certificate."""
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUse:
    """The single use of a token, keyed on (provisioner, digest)."""

    provisioner_id: str
    """The namespace: two provisioners cannot burn each other's tokens."""
    digest: str
    """SHA-256 in lower-case hex of what makes the token unique; never the token itself."""
    expires: datetime
    """Aware UTC. Past it, and past the leeway, the token is refused for its age and the row may go."""

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError("a token digest is 64 lower-case hex digits")


class CertificateKind(StrEnum):
    """How a certificate came to be."""

    SIGNED = "signed"
    RENEWED = "renewed"
    REKEYED = "rekeyed"
    OWN = "own"
    """The node's own TLS leaf: renewed and revoked by nobody but the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRow:
    """One issued certificate."""

    serial: int
    der: bytes = field(repr=False)
    subject: str
    """For people: RFC 4514, safe to show."""
    sans: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    key_digest: str
    """SHA-256 of the SubjectPublicKeyInfo in lower-case hex."""
    provisioner_id: str
    """Empty for the node's own leaf, which no provisioner vouches for."""
    provisioner_name: str
    parent: int | None
    """The serial of the certificate that this one renews or rekeys."""
    kind: CertificateKind


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides whether a certificate may be renewed at all."""

    provisioner_id: str | None
    """Of its row; ``None`` when the store has none."""
    is_revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What counts as a fork: one certificate, renewed twice, and not because an answer was lost."""

    grace: timedelta
    """A second renewal within this time of the first is a client that did not get its answer."""
    newest_only: bool = False
    """Whether a certificate that has a successor, older than the grace, may not be renewed any more."""


class RevocationProof(StrEnum):
    """What allowed a revocation."""

    TOKEN = "token"  # noqa: S105 (a kind of proof, not one)
    CERTIFICATE = "certificate"
    OPERATOR = "operator"
    """Whoever may write the database: of a serial number that this node never issued."""
    SUCCESSION = "succession"
    """Nobody asked: its successor is in use, and the configuration says that then it ends."""
    NODE = "node"
    """The node itself: of a certificate that it had recorded when it learnt that it must not give it to anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """A certificate withdrawn before its time. Nothing un-revokes it."""

    serial: int
    revoked_at: datetime
    reason_code: int
    """CRLReason, RFC 5280 §5.3.1."""
    reason: str
    """Free text of the person who revoked."""
    proof: RevocationProof
    provisioner_id: str
    """Whose token allowed it; empty when the certificate itself did."""
    compromised_key: str | None = None
    """SHA-256 of the SubjectPublicKeyInfo, lower-case hex, when the key is known to be in wrong hands: no
    certificate is issued for it from the same moment on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One version of what the authority is, for the nodes that have it from their database."""

    version: int
    """From 1 on."""
    text: str = field(repr=False)
    """JSON, in the shape of a ca.json that has the key ``authority`` only."""
    changed_at: datetime
    """Aware UTC."""
    changed_by: str
    """For people: an account and a machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """How many certificates there are at one moment; the node's own leaves are not counted."""

    live: int
    """Neither expired nor revoked."""
    expiring: Mapping[str, int]
    """By a span such as ``8h``: live ones that end within it and have no successor."""
    overdue: int
    """Live ones that were renewed before and now have little life left and no successor."""


class Store(Protocol):
    """Remembers. All methods but ``close`` are safe to call from any thread that runs an event loop."""

    async def record_certificate(
        self, *, token: TokenUse | None, certificate: CertificateRow, lineage: Lineage | None = None
    ) -> int:
        """Record a certificate, and the use of the token that it was issued for, in one transaction.

        The certificate may leave the process only after this returns.

        Args:
            token: what was proved with; ``None`` for a renewal over mTLS and for the node's own leaf.
            certificate: the row; its ``parent`` must not be revoked.
            lineage: what counts as a fork; without it nobody looks.

        Returns:
            How many successors, older than the grace, the parent had already; more than ``MOST_COUNTED`` are not
            counted, for whoever holds a key could make as many as he likes.

        Raises:
            Unauthenticated: ``token.used`` or ``certificate.revoked``; nothing was recorded.
            PolicyDenied: ``key.compromised`` when the certificate's key was revoked as compromised, or
                ``renew.superseded`` when only the newest of a lineage may be renewed; nothing was recorded.
            StoreFailed: ``store.*``. Nothing was promised; after ``store.outcome-unknown`` the rows may be there,
                both or neither.
        """
        ...

    async def record_revocation(self, *, token: TokenUse | None, revocation: Revocation) -> None:
        """Record a revocation, and the use of the token that allowed it, in one transaction.

        Raises:
            Unauthenticated: ``token.used``; nothing was recorded.
            RequestRejected: ``certificate.already-revoked``; the token counts as used, for it was answered.
            StoreFailed: as ``record_certificate``.
        """
        ...

    async def revocation(self, serial: int) -> Revocation | None:
        """Return the revocation of a serial, if there is one.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    async def standing(self, serial: int) -> Standing:
        """Return whether a serial is revoked, and who vouches for it, in one look.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    async def certificate(self, serial: int) -> CertificateRow | None:
        """Return the row of an issued certificate, if there is one.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    async def census(self, *, now: datetime) -> Census:
        """Count certificates. It reads many rows and does not hold up anything else.

        Args:
            now: aware UTC.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    async def revoke_superseded(self, *, renewed_before: datetime, now: datetime) -> int:
        """Revoke live certificates that have a successor, as superseded (RFC 5280 §5.3.1), a bounded number a call.

        Args:
            renewed_before: aware UTC; a successor that begins later does not count yet.
            now: aware UTC.

        Returns:
            How many were revoked; call again while it is not 0.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    async def forget_tokens(self, *, expired_before: datetime) -> int:
        """Drop the uses of tokens that expired before a moment, a bounded number a call.

        Args:
            expired_before: aware UTC, far enough back that every such token is refused for its age.

        Returns:
            How many went; call again while it is not 0.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    async def ended(self, *, before: datetime, limit: int) -> Sequence[CertificateRow]:
        """Return certificates that ended before a moment and were never revoked, those that ended first first.

        Args:
            before: aware UTC.
            limit: how many at most.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    async def drop_ended(self, certificates: Sequence[CertificateRow]) -> int:
        """Forget certificates that ``ended`` returned, and the names that only they have; one revoked since stays.

        Returns:
            How many went.

        Raises:
            StoreFailed: ``store.*``; some may have gone.
        """
        ...

    async def ready(self) -> None:
        """Return when the store would accept a write now.

        Raises:
            StoreFailed: ``store.*`` with the reason why it would not.
        """
        ...

    async def close(self) -> None:
        """Finish what was accepted, then let go of threads and files. Later calls raise ``StoreFailed``."""
        ...
