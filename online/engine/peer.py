"""Who is at the other end of a connection, by its certificate."""

from __future__ import annotations

import asyncio

from cryptography import x509


def peer_certificate(transport: asyncio.BaseTransport | None) -> x509.Certificate | None:
    """Return the certificate that TLS verified in this connection's handshake; it is parsed once a connection.

    Args:
        transport: of the connection; of plain HTTP, or gone, it has none.

    Raises:
        RequestRejected: ``certificate.*``: it was verified and cannot be read all the same.
    """
    found = None if transport is None else transport.get_extra_info("peer_certificate")
    assert found is None or isinstance(found, x509.Certificate)
    return found
