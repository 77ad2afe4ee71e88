"""The engine ``system``: the OpenSSL that Python was built with, through ``ssl``; all in memory, too.

On a distribution's Python it follows the distribution's crypto policy and, where there is one, its FIPS provider.
``ssl`` cannot switch OpenSSL's store of TLS 1.2 sessions off. It would grow to 200 MB, so that the context is made anew
every so many connections, and the sessions go with the old one.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509

from online.config import TlsSettings, TlsVersion
from online.engine.machine import Machine
from online.engine.refusals import HandshakeRefused, broken, refusal_of
from shared.errors import Fatal
from shared.keys import PrivateKey
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

_VERSIONS = {TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2, TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3}
_OPTIONS = ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
_RECORD = 16 << 10
_CONNECTIONS_A_CONTEXT = 1000


class SystemContext:
    """Makes connections with one certificate and one set of rules."""

    def __init__(
        self,
        *,
        key: PrivateKey,
        chain: Sequence[x509.Certificate],
        trusted: Sequence[x509.Certificate],
        settings: TlsSettings,
    ) -> None:
        """Make a context.

        Args:
            key: of the node's leaf.
            chain: the leaf and what is above it.
            trusted: whose leaves may identify clients.
            settings: versions and suites.

        Raises:
            Fatal: ``tls.context`` when OpenSSL refuses what was checked before.
        """
        self._own = certificate_pem(*chain) + private_key_pem(key, None)
        self._trusted = certificate_pem(*trusted).decode("ascii")
        self._settings = settings
        self._made = 0
        self._context = self._make()

    def machine(self) -> Machine:
        """Begin a connection."""
        self._made += 1
        if self._made % _CONNECTIONS_A_CONTEXT == 0:
            self._context = self._make()
        return SystemMachine(self._context)

    def _make(self) -> ssl.SSLContext:
        """Make OpenSSL's context; the steps are those of the other engine."""
        settings = self._settings
        try:
            # 1.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = _VERSIONS[settings.min_version]
            context.maximum_version = _VERSIONS[settings.max_version]
            context.set_ciphers(settings.openssl_ciphers())
            context.options |= _OPTIONS
            context.num_tickets = 0
            context.set_alpn_protocols(["http/1.1"])
            # 2.
            context.verify_mode = ssl.CERT_OPTIONAL
            context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(cadata=self._trusted)
            # 3.
            with _readable_once(self._own) as path:
                context.load_cert_chain(path)
        except (ssl.SSLError, ValueError) as error:
            raise Fatal("tls.context", f"the TLS context cannot be made: {type(error).__name__}") from None
        return context


class SystemMachine:
    """One connection of ``ssl``, between two buffers."""

    __slots__ = ("_incoming", "_object", "_outgoing", "_patient")

    def __init__(self, context: ssl.SSLContext) -> None:
        """Begin a connection as its server."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        # Whether the peer waits for nothing that TLS itself says.
        self._patient = False

    def receive(self, data: bytes) -> None:
        """Take in what the peer sent."""
        self._incoming.write(data)

    def shake(self) -> bool:
        """Go on with the handshake.

        Raises:
            HandshakeRefused: it failed.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise _refusal(error) from None
        self._patient = self._object.version() == "TLSv1.3"
        return True

    def read(self) -> bytes | None:
        """Return the content of the next record.

        Raises:
            PeerFailed: ``tls.broken``.
        """
        try:
            return self._object.read(_RECORD)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError:
            raise broken() from None

    def write(self, data: bytes | memoryview) -> None:
        """Encrypt all of it.

        Raises:
            PeerFailed: ``tls.broken``.
        """
        view = memoryview(data)
        sent = 0
        try:
            while sent < len(view):
                sent += self._object.write(view[sent : sent + _RECORD])
        except ssl.SSLError:
            raise broken() from None

    def close(self) -> None:
        """Say close_notify."""
        # It complains that the peer's own is missing: that is waited for elsewhere.
        with suppress(ssl.SSLError):
            self._object.unwrap()

    def take(self) -> bytes:
        """Return what is to be sent."""
        return self._outgoing.read()

    def urgent(self) -> bytes:
        """Return what is to be sent without delay."""
        return b"" if self._patient else self.take()

    def peer_der(self) -> bytes | None:
        """Return the peer's certificate."""
        return self._object.getpeercert(binary_form=True)


def _refusal(error: ssl.SSLError) -> HandshakeRefused:
    verdict = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else None
    return refusal_of((error.reason or "",), verdict)


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
