"""Fetching a revocation list from where a certificate says it is: one GET, bounded, not followed elsewhere.

A list proves itself by its signature, so plain HTTP is the rule (RFC 5280 §8), and nothing is believed of what came
before that signature was verified.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from cryptography import x509

from online.https import CaUrl, exchange, read_bounded, verified
from shared.errors import PeerFailed, RequestRejected
from shared.names import printable
from shared.pem import LARGEST_CRL_BYTES

_TIMEOUT_SECONDS = 15.0
_HEADERS = {"User-Agent": "coldroot", "Accept": "application/pkix-crl"}
_PORTS = {"http": 80, "https": 443}
_OK = 200


def is_url(place: str) -> bool:
    """Tell whether a place is an address on the web, and not a file."""
    return place.partition("://")[0].lower() in _PORTS


def fetch(url: str, *, roots: Sequence[x509.Certificate]) -> bytes:
    """Fetch what is at an address.

    Args:
        url: ``http://`` or ``https://``.
        roots: what the server of an ``https://`` address must lead to.

    Raises:
        RequestRejected: ``crl.url``.
        PeerFailed: ``ca.*`` or ``crl.not-served``.
    """
    scheme, host, port, path = _parts(url)
    if scheme == "https":
        answer = exchange(
            CaUrl(host=host, port=port),
            "GET",
            path,
            context=verified(roots),
            headers=_HEADERS,
            largest=LARGEST_CRL_BYTES,
        )
        status, body = answer.status, answer.body
    else:
        status, body = _plain(url, host, port, path)
    if status != _OK:
        raise PeerFailed("crl.not-served", f"{printable(url, limit=200)} answers {status}, not a revocation list")
    return body


def _parts(url: str) -> tuple[str, str, int, str]:
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        raise _malformed(url) from None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    written = url.isascii() and url.isprintable() and " " not in url
    if scheme not in _PORTS or not host or not written or "@" in parts.netloc:
        raise _malformed(url)
    return scheme, host, port or _PORTS[scheme], path


def _plain(url: str, host: str, port: int, path: str) -> tuple[int, bytes]:
    shown = printable(url, limit=200)
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    try:
        with contextlib.closing(connection):
            connection.request("GET", path, headers=_HEADERS)
            with connection.getresponse() as response:
                return response.status, read_bounded(response, shown, LARGEST_CRL_BYTES)
    except TimeoutError:
        raise PeerFailed("ca.unreachable", f"{shown} did not answer in time") from None
    except socket.gaierror:
        raise PeerFailed("ca.unreachable", f"the name {printable(host)} cannot be resolved") from None
    except http.client.HTTPException:
        raise PeerFailed("ca.broken-answer", f"{shown} broke the connection off, or does not speak HTTP") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PeerFailed("ca.unreachable", f"{shown} cannot be reached: {reason}") from None


def _malformed(url: str) -> RequestRejected:
    return RequestRejected(
        "crl.url", f"{printable(url, limit=200)} is not an http:// address", hint="write http://ca.example.com/1.0/crl"
    )
