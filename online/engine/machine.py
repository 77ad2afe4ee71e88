"""What a TLS engine is to the transport above it: bytes in, bytes out, no socket and no clock.

There are two: ``bundled``, over the OpenSSL that the cryptography package brings, and ``system``, over the one that
Python was built with. The same tests run over both.
"""

from __future__ import annotations

from typing import Protocol


class Machine(Protocol):
    """The server's side of one TLS connection."""

    def receive(self, data: bytes) -> None:
        """Take in what the peer sent: any part of a record, or several records."""

    def shake(self) -> bool:
        """Go on with the handshake as far as what was received allows; return whether it is done.

        Raises:
            HandshakeRefused: it failed; an alert that says so may wait in ``take()``.
        """

    def read(self) -> bytes | None:
        """Return the content of the next record: ``b""`` after the peer's close_notify, ``None`` when more is wanted.

        Raises:
            PeerFailed: ``tls.broken``; an alert may wait in ``take()``.
        """

    def write(self, data: bytes | memoryview) -> None:
        """Encrypt all of it; the result waits in ``take()``.

        Raises:
            PeerFailed: ``tls.broken``.
        """

    def close(self) -> None:
        """Say close_notify (RFC 8446 §6.1), if that can still be said."""

    def take(self) -> bytes:
        """Return what is to be sent to the peer, and forget it."""

    def urgent(self) -> bytes:
        """Return what is to be sent to the peer without delay: in TLS 1.3, once its handshake is done, nothing.

        A new key is announced before the next content (RFC 8446 §4.6.3), which is early enough; an alert is taken
        with ``take()``. TLS 1.2 has an answer to who wants to renegotiate, and a last flight that is waited for.
        """

    def peer_der(self) -> bytes | None:
        """Return the certificate that the peer proved to have the key of, in DER; ``None`` when it sent none."""


class Context(Protocol):
    """What new connections are made from: own certificate and key, trust, versions and suites."""

    def machine(self) -> Machine:
        """Begin a connection."""
