"""The engine ``bundled``: the OpenSSL that comes with the cryptography package, through pyOpenSSL, all in memory.

It knows ML-KEM whatever the distribution, costs about half of OpenSSL 3.0 for a client that shows a certificate, and is
patched with the cryptography package. It follows neither a distribution's crypto policy nor a FIPS provider: for those
there is ``system``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from OpenSSL import SSL, crypto

from online.config import TlsSettings, TlsVersion
from online.engine.machine import Machine
from online.engine.native import choose_http_1_1, verdict_on_peer
from online.engine.refusals import HandshakeRefused, broken, refusal_of
from shared.errors import Fatal
from shared.keys import PrivateKey

_VERSIONS = {TlsVersion.TLS_1_2: SSL.TLS1_2_VERSION, TlsVersion.TLS_1_3: SSL.TLS1_3_VERSION}
_OPTIONS = SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
# In Go's order, not OpenSSL's: SHA-256 has instructions of its own, and a handshake hashes much.
_TLS13_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
# Leaf, two intermediates above it; no hierarchy that this node can issue under is deeper.
_DEEPEST_CHAIN = 4
_RECORD = 16 << 10
_TAKEN_AT_ONCE = 32 << 10


class BundledContext:
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

        1. Versions and suites. Nothing of a session is kept or handed out: a resumed one would outlive the certificate
           that it was opened with.
        2. The client's certificate: asked for, and verified if sent, up to one of ours and no further
           (``X509_V_FLAG_PARTIAL_CHAIN``); its time and its purpose count.
        3. The node's own certificate, those above it, and its key, which was never on a disk.

        Args:
            key: of the node's leaf.
            chain: the leaf and what is above it.
            trusted: whose leaves may identify clients.
            settings: versions and suites.

        Raises:
            Fatal: ``tls.context`` when OpenSSL refuses what was checked before.
        """
        try:
            # 1.
            context = SSL.Context(SSL.TLS_SERVER_METHOD)
            context.set_min_proto_version(_VERSIONS[settings.min_version])
            context.set_max_proto_version(_VERSIONS[settings.max_version])
            context.set_cipher_list(settings.openssl_ciphers().encode("ascii"))
            context.set_tls13_ciphersuites(_TLS13_SUITES)
            context.set_options(_OPTIONS)
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            # Thousands of idle connections need no buffers of their own.
            context.set_mode(SSL.MODE_RELEASE_BUFFERS)
            choose_http_1_1(context)
            # 2.
            context.set_verify(SSL.VERIFY_PEER)
            context.set_verify_depth(_DEEPEST_CHAIN)
            store = context.get_cert_store()
            assert store is not None
            store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
            for each in trusted:
                store.add_cert(crypto.X509.from_cryptography(each))
            # 3.
            context.use_certificate(chain[0])
            for each in chain[1:]:
                context.add_extra_chain_cert(each)
            context.use_privatekey(key)
            context.check_privatekey()
        except (SSL.Error, crypto.Error, ValueError, AttributeError) as error:
            raise Fatal(
                "tls.context",
                f"the TLS context cannot be made: {type(error).__name__}",
                hint='"tlsEngine": "system" in the block coldroot of ca.json takes the other TLS engine',
            ) from None
        self._context = context

    def machine(self) -> Machine:
        """Begin a connection."""
        return BundledMachine(self._context)


class BundledMachine:
    """One connection of pyOpenSSL, between two buffers."""

    __slots__ = ("_connection", "_patient")

    def __init__(self, context: SSL.Context) -> None:
        """Begin a connection as its server."""
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        # Whether the peer waits for nothing that TLS itself says.
        self._patient = False

    def receive(self, data: bytes) -> None:
        """Take in what the peer sent."""
        self._connection.bio_write(data)

    def shake(self) -> bool:
        """Go on with the handshake.

        Raises:
            HandshakeRefused: it failed.
        """
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise self._refusal(error) from None
        self._patient = self._connection.get_protocol_version() == SSL.TLS1_3_VERSION
        return True

    def read(self) -> bytes | None:
        """Return the content of the next record.

        Raises:
            PeerFailed: ``tls.broken``.
        """
        try:
            return self._connection.recv(_RECORD)
        except SSL.WantReadError:
            return None
        except SSL.ZeroReturnError:
            return b""
        except SSL.Error:
            raise broken() from None

    def write(self, data: bytes | memoryview) -> None:
        """Encrypt all of it.

        Raises:
            PeerFailed: ``tls.broken``.
        """
        try:
            sent = self._connection.send(data)
            # One record at a time.
            while sent < len(data):
                sent += self._connection.send(memoryview(data)[sent : sent + _RECORD])
        except SSL.Error:
            raise broken() from None

    def close(self) -> None:
        """Say close_notify."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            # After an alert nothing may follow, and nothing need be said.
            return

    def take(self) -> bytes:
        """Return what is to be sent."""
        taken = self._take()
        if len(taken) < _TAKEN_AT_ONCE:
            return taken
        parts = [taken]
        while taken:
            taken = self._take()
            parts.append(taken)
        return b"".join(parts)

    def urgent(self) -> bytes:
        """Return what is to be sent without delay."""
        return b"" if self._patient else self.take()

    def peer_der(self) -> bytes | None:
        """Return the peer's certificate."""
        found = self._connection.get_peer_certificate()
        return None if found is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, found)

    def _take(self) -> bytes:
        try:
            return self._connection.bio_read(_TAKEN_AT_ONCE)
        except SSL.WantReadError:
            return b""

    def _refusal(self, error: SSL.Error) -> HandshakeRefused:
        entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return refusal_of((reason for _, _, reason in entries), verdict_on_peer(self._connection))
