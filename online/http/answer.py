"""An answer as bytes, in one piece: what is the same in each is written once."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

from online.api import Response
from online.api.messages import JSON_HEADERS

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_DEFAULTS = {"Server": "coldroot", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
# RFC 9110 §6.4.1: these have no content, and a length would speak of what is not sent.
_WITHOUT_CONTENT = frozenset({204, 304})


class Writer:
    """Writes the answers of one worker."""

    def __init__(self) -> None:
        """Begin with nothing prepared."""
        self._json_heads: dict[int, bytes] = {}
        self._second = 0
        self._date = b""

    def write(self, response: Response, request_id: str, *, head_only: bool, close: bool) -> bytes:
        """Return an answer as it goes over the wire.

        Args:
            response: what to answer.
            request_id: plain ASCII.
            head_only: whether HEAD was asked.
            close: whether the connection ends with it.

        Raises:
            ValueError: a header of the response could not be told from the next one.
        """
        now = int(time.time())
        if now != self._second:
            self._second, self._date = now, formatdate(now, usegmt=True).encode("ascii")
        head = self._json_head(response.status) if response.headers is JSON_HEADERS else _head(response)
        ending = b"\r\nConnection: close\r\n\r\n" if close else b"\r\n\r\n"
        if response.status in _WITHOUT_CONTENT:
            return b"%bDate: %b\r\nX-Request-Id: %b%b" % (head, self._date, request_id.encode("ascii"), ending)
        body = response.body
        return b"%bDate: %b\r\nContent-Length: %d\r\nX-Request-Id: %b%b%b" % (
            head,
            self._date,
            len(body),
            request_id.encode("ascii"),
            ending,
            b"" if head_only else body,
        )

    def _json_head(self, status: int) -> bytes:
        head = self._json_heads.get(status)
        if head is None:
            head = self._json_heads[status] = _head(Response(status=status, headers=JSON_HEADERS))
        return head


def _head(response: Response) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    for name, value in {**_DEFAULTS, **response.headers}.items():
        if not value.isprintable() or not name.isprintable():
            raise ValueError(name)
        lines.append(f"{name}: {value}")
    return "\r\n".join(lines).encode("ascii") + b"\r\n"
