"""One HTTPS exchange with a CA: bounded, verified, without redirects.

Invariants:

* the peer is verified against the given roots and the host's name, TLS 1.2 or newer; the one exception is an
  explicit ``UNVERIFIED`` exchange, whose caller must prove the answer by a fingerprint;
* an answer is read up to a size and a deadline, and never followed elsewhere;
* a key that identifies the client never touches a disk;
* whatever goes wrong on the wire is a ``PeerFailed`` (or ``Unauthenticated``, when the CA refuses the client's
  certificate): no exception of ``ssl``, ``socket`` or ``http.client`` gets out.

Proxies of the environment are not used: a CA is spoken to directly.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.errors import PeerFailed, RequestRejected, Unauthenticated, Unsupported
from shared.keys import PrivateKey
from shared.names import printable
from shared.pem import certificate_pem

LARGEST_ANSWER_BYTES = 4 << 20
_TIMEOUT_SECONDS = 15.0
# A peer that drips bytes resets the time-out of each read, never this.
_DEADLINE_SECONDS = 60.0
_CHUNK = 64 << 10
_DEFAULT_PORT = 443
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaUrl:
    """The address of a CA: an HTTPS origin and nothing behind it."""

    host: str
    port: int = _DEFAULT_PORT

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}" + ("" if self.port == _DEFAULT_PORT else f":{self.port}")


def parse_ca_url(text: str) -> CaUrl:
    """Read the address of a CA as ``--ca-url`` and ``defaults.json`` give it.

    Args:
        text: ``https://ca.example.com:9000``; without a scheme, ``https`` is meant.

    Raises:
        RequestRejected: ``ca-url.malformed``.
    """
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORT
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    if parts.scheme != "https" or parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        host = ""
    if not _HOST.fullmatch(host):
        raise RequestRejected(
            "ca-url.malformed",
            f"{printable(text)} is not the address of a CA",
            hint="write https://ca.example.com:9000",
        )
    if ":" in host:
        host = str(IPv6Address(host))
    return CaUrl(host=host, port=port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate, with its intermediates, and the key that it speaks for."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a CA answered, unjudged."""

    status: int
    body: bytes
    request_id: str
    """The name of this exchange in the CA's log; empty when the CA gave none."""
    retry_after: float = 0.0
    """After how many seconds the CA wants to be asked again; 0 when it did not say."""


def verified(roots: Sequence[x509.Certificate], identity: Identity | None = None) -> ssl.SSLContext:
    """Return TLS settings that trust only these roots, and show an identity when there is one.

    Raises:
        Unsupported: ``client.key-not-usable`` when the identity's key cannot leave its HSM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.load_verify_locations(cadata=certificate_pem(*roots).decode("ascii"))
    if identity is not None:
        _load_identity(context, identity)
    return context


def unverified() -> ssl.SSLContext:
    """Return TLS settings that trust anybody: only to fetch a root whose fingerprint is known."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def exchange(
    url: CaUrl,
    method: str,
    path: str,
    *,
    context: ssl.SSLContext,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    shows_certificate: bool = False,
    largest: int = LARGEST_ANSWER_BYTES,
) -> Answer:
    """Send one request and read its answer.

    Args:
        url: the CA.
        method: HTTP method.
        path: with a leading slash, already quoted.
        context: from ``verified`` or ``unverified``.
        body: JSON to send.
        headers: further header fields.
        shows_certificate: whether the context shows a client's certificate, which the CA may refuse.
        largest: bytes of the answer's body.

    Raises:
        PeerFailed: ``ca.unreachable``, ``ca.untrusted``, ``ca.broken-answer`` or ``ca.answer-too-large``.
        Unauthenticated: ``ca.refused-client-certificate``.
    """
    connection = http.client.HTTPSConnection(url.host, url.port, timeout=_TIMEOUT_SECONDS, context=context)
    sent = {"User-Agent": "coldroot", "Accept": "application/json", **(headers or {})}
    if body is not None:
        sent["Content-Type"] = "application/json"
    try:
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=sent)
            with connection.getresponse() as response:
                return Answer(
                    status=response.status,
                    body=read_bounded(response, str(url), largest),
                    request_id=_request_id(response.headers.get("X-Request-Id", "")),
                    retry_after=_retry_after(response.headers),
                )
    except ssl.SSLCertVerificationError as error:
        raise PeerFailed(
            "ca.untrusted",
            f"{url} shows a certificate that is not trusted: {printable(error.verify_message)}",
            hint="check the address and the root; online bootstrap fetches the root of a CA by its fingerprint",
        ) from None
    except TimeoutError:
        raise PeerFailed("ca.unreachable", f"{url} did not answer in time") from None
    except socket.gaierror:
        raise PeerFailed("ca.unreachable", f"the name {url.host} cannot be resolved") from None
    except (http.client.HTTPException, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
        # A server that refuses the client's certificate may hang up before its alert can be read.
        raise PeerFailed(
            "ca.broken-answer",
            f"{url} broke the connection off, or does not speak HTTP",
            hint="perhaps it refuses the client's certificate: is it expired, or of another CA? No log may tell"
            if shows_certificate
            else None,
        ) from None
    except ssl.SSLError as error:
        raise _tls_failure(url, error) from None
    except OSError as error:
        raise PeerFailed(
            "ca.unreachable",
            f"{url} cannot be reached: {error.strerror or type(error).__name__}",
            hint="is the CA running, and is the address right?",
        ) from None


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])


def _load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    try:
        key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    except (ValueError, TypeError, NotImplementedError):
        raise Unsupported(
            "client.key-not-usable",
            "the key cannot leave its token, so TLS cannot use it here",
            hint="renew with --no-mtls, which only signs with it",
        ) from None
    with _in_memory(certificate_pem(*identity.chain) + key) as name:
        try:
            context.load_cert_chain(name)
        except (ssl.SSLError, OSError):
            raise RequestRejected("client.pair", "the certificate and the key do not belong together") from None


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    # ssl reads a key only by file name; this file exists in memory alone and has no name for anybody else.
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"


def read_bounded(response: http.client.HTTPResponse, url: str, largest: int) -> bytes:
    """Read a body up to a size and a deadline.

    Args:
        response: its headers have come.
        url: where it comes from, for the error.
        largest: bytes.

    Raises:
        PeerFailed: ``ca.answer-too-large``.
        TimeoutError: the deadline is over.
    """
    end = time.monotonic() + _DEADLINE_SECONDS
    content = bytearray()
    while chunk := response.read1(_CHUNK):
        content += chunk
        if len(content) > largest:
            raise PeerFailed("ca.answer-too-large", f"{url} answered more than {largest} bytes")
        if time.monotonic() > end:
            raise TimeoutError
    return bytes(content)


def _request_id(text: str) -> str:
    return text if _REQUEST_ID.fullmatch(text) else ""


def _retry_after(headers: http.client.HTTPMessage) -> float:
    """Read ``Retry-After`` (RFC 9110 §10.2.3): seconds, or a date, which is held against the answer's own."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return float(text)
    try:
        wait = (parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date", ""))).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(wait, 0.0)


def _tls_failure(url: CaUrl, error: ssl.SSLError) -> PeerFailed | Unauthenticated:
    reason = (error.reason or "").lower().replace("_", " ")
    # With TLS 1.3 the server judges the client's certificate after the handshake: its alert comes with the answer.
    if "alert" in reason and ("cert" in reason or "unknown ca" in reason):
        return Unauthenticated(
            "ca.refused-client-certificate",
            f"{url} refuses the certificate: {reason.partition('alert ')[2]}",
            hint="is it expired, or of another CA? an expired one may be renewed with --no-mtls where the CA allows it",
        )
    return PeerFailed(
        "ca.unreachable",
        f"{url} does not agree on TLS: {reason or 'the connection broke'}",
        hint="is this the HTTPS port of the CA?",
    )
