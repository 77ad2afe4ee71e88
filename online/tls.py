"""The node's own leaf, made and renewed by itself, and the context that serves it.

``online.engine`` does the rest of TLS.

Invariants:

* the leaf's private key is made in memory and never reaches a disk;
* client certificates are optional; one that is sent is verified up to one of our issuers, with its validity and its
  purpose, before a byte of HTTP is read;
* TLS 1.2 with AEAD suites at the least, HTTP/1.1 only, no compression, no renegotiation, no session that is resumed
  (it would outlive the certificate that it was opened with).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509

from online.authority import Authority
from online.config import TlsSettings
from online.engine import Context, make_context
from online.hierarchy import Chain
from shared import keys
from shared.issue import lifetime
from shared.keys import KeyKind, PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLeaf:
    """The certificate that the node shows to its clients, with its key."""

    key: PrivateKey = field(repr=False)
    chain: Chain

    def due(self, *, after: timedelta | None = None) -> datetime:
        """Return when the successor shall be made: at two thirds of the life, aware UTC.

        Args:
            after: instead, so long after the beginning.
        """
        certificate = self.chain[0]
        return certificate.not_valid_before_utc + (lifetime(certificate) * 2 / 3 if after is None else after)

    def is_due(self, now: datetime, *, after: timedelta | None = None) -> bool:
        """Tell whether the successor is due; it is, too, when the clock was set back to before this leaf."""
        return not self.chain[0].not_valid_before_utc <= now < self.due(after=after)


async def make_own_leaf(authority: Authority) -> OwnLeaf:
    """Have the authority issue a leaf for a fresh key.

    The key is always P-256: every client of the last decade takes it, and a handshake with it costs the least.

    Raises:
        ColdrootError: what ``Authority.own_leaf`` raises.
    """
    key = keys.generate(KeyKind.EC_P256)
    return OwnLeaf(key=key, chain=await authority.own_leaf(key.public_key()))


def server_context(leaf: OwnLeaf, *, trusted: Sequence[x509.Certificate], settings: TlsSettings) -> Context:
    """Make the context for new connections.

    Args:
        leaf: the node's own, which is shown with the intermediates above it; a client that knows the root only can then
            verify.
        trusted: whose leaves may identify clients; a chain ends there, for many clients send their leaf only.
        settings: engine, versions and suites.

    Raises:
        Fatal: ``tls.context`` when OpenSSL refuses what was checked before.
    """
    return make_context(key=leaf.key, chain=leaf.chain, trusted=trusted, settings=settings)
