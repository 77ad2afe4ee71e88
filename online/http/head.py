"""What a request's head says, judged strictly: two readers must not be able to understand it differently.

llhttp has taken the bytes apart; RFC 9112 leaves it to a server what it makes of some of them. These are the choices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from online.api import EdgeError
from online.http.limits import Limits

Field = tuple[bytes, bytes]
"""A header's name and value as they were sent."""

CHUNKED = -1
"""The length of a body that tells its length itself."""

_TARGET = re.compile(rb"/[!-~]*", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
# RFC 9110 §7.2, RFC 3986 §3.2: a host, perhaps a port. HTTP/1.0 knows no such header, but may send it.
_HOST = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]+", re.ASCII)
_ONCE = frozenset({
    "authorization", "content-length", "content-type", "expect", "host", "transfer-encoding", "x-request-id",
})  # fmt: skip
# Names that most requests have, in the spellings that most clients use.
_COMMON: Mapping[bytes, str] = {
    name.encode("ascii"): name.lower()
    for name in ("Host", "User-Agent", "Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Type",
                 "Content-Length", "X-Request-Id")
}  # fmt: skip


def read_headers(fields: Sequence[Field], limits: Limits) -> dict[str, str]:
    """Return headers by their names in lower case; of several with one name, the first.

    Raises:
        EdgeError: 431 for one that is too large, 400 for one that is given twice and may be given once.
    """
    headers: dict[str, str] = {}
    for name, value in fields:
        if len(name) + len(value) > limits.header:
            raise too_large()
        lower = _COMMON.get(name) or name.decode("latin-1").lower()
        if lower not in headers:
            headers[lower] = value.decode("latin-1").strip(" \t")
        elif lower in _ONCE:
            raise EdgeError(400, "A header is given twice that may be given once.")
    return headers


def read_target(url: bytes) -> str:
    """Return a request target that is a path, as it was sent.

    Raises:
        EdgeError: 400 for another form, and for what is not printable ASCII.
    """
    if not _TARGET.fullmatch(url):
        raise EdgeError(400, "The request target must be a path.")
    return url.decode("ascii")


def check_headers(headers: Mapping[str, str], version: str) -> None:
    """Refuse a request for its headers.

    Raises:
        EdgeError: 400, 415 or 505.
    """
    if version not in {"1.1", "1.0"}:
        raise EdgeError(505, "The request must be HTTP/1.1.")
    if not _HOST.fullmatch(headers.get("host", "" if version == "1.1" else "-")):
        raise EdgeError(400, "One Host header is wanted.")
    if "upgrade" in headers:
        raise EdgeError(400, "No other protocol is offered.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise EdgeError(415, "A compressed body is not accepted.")


def body_length(headers: Mapping[str, str], version: str, limits: Limits) -> int:
    """Return how many bytes of body follow, or ``CHUNKED``.

    Raises:
        EdgeError: 400 for a framing that is not beyond doubt, 413 for a length beyond the limit.
    """
    coding, written = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if written is not None or version != "1.1":
            raise EdgeError(400, "Transfer-Encoding together with Content-Length or HTTP/1.0 is refused.")
        if coding.lower() != "chunked":
            raise EdgeError(400, "The only transfer coding is chunked.")
        return CHUNKED
    if written is None:
        return 0
    if not _LENGTH.fullmatch(written):
        raise malformed()
    length = int(written)
    if length > limits.body:
        raise EdgeError(413, "The request body is too large.")
    return length


def wants_permission(headers: Mapping[str, str], version: str) -> bool:
    """Tell whether the client waits for an interim answer before it sends the body (RFC 9110 §10.1.1).

    Raises:
        EdgeError: 417, for something that nobody here can promise.
    """
    expectation = headers.get("expect")
    if expectation is None or version != "1.1":
        return False
    if expectation.lower() != "100-continue":
        raise EdgeError(417, "The expectation cannot be met.")
    return True


def malformed() -> EdgeError:
    """Return the refusal of what is no HTTP."""
    return EdgeError(400, "The request is not valid HTTP/1.1.")


def too_large() -> EdgeError:
    """Return the refusal of a head that is too large."""
    return EdgeError(431, "The request line or the headers are too large.")
