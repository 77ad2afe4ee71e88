"""A request and a response as the handler sees them: no socket, no HTTP library.

Invariants: header names are lower case; a body is complete and within the edge's limit; a peer certificate, when
there is one, was verified by the TLS engine against the roots and intermediates of this CA.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cryptography import x509

JSON_TYPE = "application/json"
PEM_TYPE = "application/x-pem-file"
JSON_HEADERS: Mapping[str, str] = MappingProxyType({"Content-Type": JSON_TYPE})
"""Of most responses: a layer may know them by identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request."""

    method: str
    path: str
    """The path as it was sent: not decoded, not normalised, without the query."""
    query: str = ""
    """What stands behind the question mark, as it was sent."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """One value a name; names in lower case."""
    body: bytes = b""
    peer: x509.Certificate | None = None
    """The client's certificate of a verified chain; ``None`` when the client sent none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP response, and what the log shall say about it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    note: str = ""
    """For the log only: the reason of a refusal. Safe to show, but not shown to the caller."""


def json_response(status: int, value: object, *, headers: Mapping[str, str] | None = None, note: str = "") -> Response:
    """Make a JSON response as step-ca writes it: compact, ending with a newline.

    Args:
        status: HTTP status.
        value: what ``json`` can write.
        headers: further headers.
        note: for the log.
    """
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    every = {**JSON_HEADERS, **headers} if headers else JSON_HEADERS
    return Response(status=status, headers=every, body=body, note=note)
