"""The certificates that a TLS server shows, fetched to be looked at.

Invariant: nothing but the handshake happens: no byte of an application is sent or read. The server is not judged here,
it only proves that it has the key of the first certificate; ``online.path_validation`` judges, with the same rules as
for a file.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509

from shared.errors import PeerFailed, RequestRejected
from shared.names import printable
from shared.pem import MOST_CERTIFICATES, load_certificate_der

_TIMEOUT_SECONDS = 15.0
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
# As in step: TLS from the first byte, on the port that the scheme is known for.
_PORTS = {"https": 443, "tls": 443, "smtps": 465, "ldaps": 636}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsAddress:
    """Where a TLS server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_tls_address(text: str) -> TlsAddress | None:
    """Read ``https://host[:port]`` and its like; ``None`` for a text that is no address, such as a path.

    Raises:
        RequestRejected: ``tls-address.malformed``.
    """
    scheme, mark, _ = text.partition("://")
    if not mark or "/" in scheme:
        return None
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        host, port = "", 0
    if scheme.lower() not in _PORTS or not port or "@" in text or not _HOST.fullmatch(host):
        raise RequestRejected(
            "tls-address.malformed",
            f"{printable(text)} is not the address of a TLS server",
            hint="write https://ca.example.com:9000; tls, smtps and ldaps work too",
        )
    return TlsAddress(host=host, port=port)


def fetch_chain(address: TlsAddress, *, server_name: str | None = None) -> tuple[x509.Certificate, ...]:
    """Shake hands with a TLS server and return the chain that it shows, leaf first, unjudged.

    Args:
        address: of the server.
        server_name: the name to ask for (SNI); the host unless given.

    Raises:
        PeerFailed: ``tls.unreachable``, ``tls.handshake`` or ``tls.chain``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address.host, address.port), timeout=_TIMEOUT_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=server_name or address.host) as secured,
        ):
            chain = _shown(secured)
    except TimeoutError:
        raise PeerFailed("tls.unreachable", f"{address} did not answer in time") from None
    except ssl.SSLError as error:
        reason = (error.reason or "the connection broke").lower().replace("_", " ")
        raise PeerFailed("tls.handshake", f"{address} does not agree on TLS: {reason}") from None
    except (OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or type(error).__name__
        raise PeerFailed("tls.unreachable", f"{address} cannot be reached: {detail}") from None
    if not 1 <= len(chain) <= MOST_CERTIFICATES:
        raise PeerFailed("tls.chain", f"{address} shows {len(chain)} certificates")
    try:
        return tuple(load_certificate_der(each, what=f"certificate that {address} shows") for each in chain)
    except RequestRejected as error:
        raise PeerFailed("tls.chain", error.message) from None


def _shown(secured: ssl.SSLSocket) -> list[bytes]:
    """Return the chain in DER. Python has a method for it since 3.13; before, only the object behind the socket had."""
    public: Callable[[], list[bytes]] | None = getattr(secured, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    inner = getattr(secured, "_sslobj", None)
    shown = inner.get_unverified_chain() if inner is not None else None
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in shown or ()]
