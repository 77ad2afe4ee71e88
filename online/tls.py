"""The node's own end of TLS: its leaf, made and renewed by itself, and the context that serves it.

Invariants:

* the leaf's private key is made in memory and never reaches a disk;
* client certificates are optional; one that is sent is verified against the roots and intermediates of this CA,
  with its validity and its purpose, before a byte of HTTP is read;
* TLS 1.2 with AEAD suites at the least, HTTP/1.1 only, no compression, no renegotiation, no session tickets
  (a resumed session would outlive the certificate that it was opened with).
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from online.authority import Authority
from online.config import TlsSettings, TlsVersion
from online.hierarchy import Chain
from shared import keys
from shared.errors import Fatal
from shared.issue import lifetime
from shared.keys import KeyKind, PrivateKey
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

_VERSIONS = {TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2, TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3}


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


def server_context(leaf: OwnLeaf, *, trusted: Sequence[x509.Certificate], settings: TlsSettings) -> ssl.SSLContext:
    """Make the context for new connections.

    1. Versions, suites, and the options that switch old habits off.
    2. The client's certificate: asked for, verified if sent. A chain may end at an intermediate of ours
       (``X509_V_FLAG_PARTIAL_CHAIN``), for many clients send their leaf only.
    3. The node's leaf and the intermediates above it; a client that knows the root only can then verify.

    Args:
        leaf: the node's own.
        trusted: roots and intermediates whose leaves may identify clients.
        settings: versions and suites.

    Raises:
        Fatal: ``tls.context`` when OpenSSL refuses what was checked before.
    """
    try:
        # 1.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[settings.min_version]
        context.maximum_version = _VERSIONS[settings.max_version]
        context.set_ciphers(settings.openssl_ciphers())
        context.options |= (
            ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        )
        context.num_tickets = 0
        context.set_alpn_protocols(["http/1.1"])
        # 2.
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=certificate_pem(*trusted).decode("ascii"))
        # 3.
        with _readable_once(certificate_pem(*leaf.chain) + private_key_pem(leaf.key, None)) as path:
            context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise Fatal("tls.context", f"the TLS context cannot be made: {type(error).__name__}") from None
    return context


@contextmanager
def _readable_once(secret: bytes) -> Iterator[str]:
    """Give bytes a path for as long as a library that takes nothing but paths needs to read them.

    Linux: an anonymous file in memory, reached through ``/proc``. Elsewhere: a file in a private directory that
    goes away at once, as near to memory as the system allows.
    """
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        descriptor = os.memfd_create("own-leaf", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(secret)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory(prefix="coldroot-") as directory:
        path = Path(directory) / "own-leaf.pem"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
        yield str(path)
