"""Fetching a small public document over HTTPS, for as little trust as that needs.

Invariants:

* HTTPS only, verified against the machine's own trust store (``SSL_CERT_FILE`` moves it); no redirect is followed, no
  proxy of the environment is used, no credential is sent;
* an answer is read up to a size and a deadline;
* whatever goes wrong on the way is a ``PeerFailed``.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import ssl
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from shared.errors import PeerFailed, RequestRejected
from shared.names import printable

LARGEST_DOCUMENT = 256 << 10
_TIMEOUT_SECONDS = 5.0
# A peer that drips bytes resets the time-out of each read, never this.
_DEADLINE_SECONDS = 10.0
_CHUNK = 16 << 10
_LONGEST_URL = 2048
_DEFAULT_PORT = 443
_OK = 200
_URL = re.compile(r"https://[A-Za-z0-9.\[\]:_-]+(?:/[!-~]*)?", re.ASCII)

Fetch = Callable[[str], bytes]
"""Given a checked URL, returns the document. May block; raises ``PeerFailed``."""


def check_url(text: str, *, what: str) -> str:
    """Insist that a text is the address of a document on the web that may be fetched.

    Args:
        text: an absolute ``https`` URL without user, query or fragment.
        what: how to call it in an error.

    Raises:
        RequestRejected: ``oidc.url``.
    """
    try:
        parts = urlsplit(text)
        fine = bool(parts.hostname) and parts.port != 0 and not (parts.query or parts.fragment)
    except ValueError:
        fine = False
    if not fine or len(text) > _LONGEST_URL or not _URL.fullmatch(text):
        raise RequestRejected(
            "oidc.url",
            f"{what} is not an https:// address without user, query and fragment",
            hint="for example https://accounts.example.com/.well-known/openid-configuration",
        )
    return text


def https_fetch(context: ssl.SSLContext | None = None) -> Fetch:
    """Return a fetcher.

    Args:
        context: TLS settings that verify the peer; the machine's trust store when not given.
    """

    def fetch(url: str) -> bytes:
        return _fetch(url, context or ssl.create_default_context())

    return fetch


def _fetch(url: str, context: ssl.SSLContext) -> bytes:
    parts = urlsplit(check_url(url, what="the address"))
    origin, path = f"https://{parts.netloc}", parts.path or "/"
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or _DEFAULT_PORT, timeout=_TIMEOUT_SECONDS, context=context
    )
    try:
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Accept": "application/json", "User-Agent": "coldroot"})
            with connection.getresponse() as response:
                if response.status != _OK:
                    raise PeerFailed("oidc.answer", f"{origin} answers {response.status} instead of the document")
                return _read(response, origin)
    except ssl.SSLCertVerificationError as error:
        raise PeerFailed(
            "oidc.untrusted", f"{origin} shows a certificate that is not trusted: {printable(error.verify_message)}"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PeerFailed("oidc.unreachable", f"{origin} cannot be reached: {type(error).__name__}") from None


def _read(response: http.client.HTTPResponse, origin: str) -> bytes:
    end = time.monotonic() + _DEADLINE_SECONDS
    content = bytearray()
    while chunk := response.read1(_CHUNK):
        content += chunk
        if len(content) > LARGEST_DOCUMENT:
            raise PeerFailed("oidc.answer", f"{origin} answers more than {LARGEST_DOCUMENT} bytes")
        if time.monotonic() > end:
            raise TimeoutError
    return bytes(content)
