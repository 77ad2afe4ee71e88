"""Requests out of a connection's bytes, one at a time. llhttp parses and frames; its word is held against the bytes.

Invariants (RFC 9112):

* where a request's head ends is found twice, by llhttp and by looking for the empty line, and where its body ends too,
  by llhttp and by counting; a request on which they differ is refused, and nothing that follows it is read;
* a head and a body are bounded before they are kept;
* what was judged once need not be judged again: the same bytes in the same place, between two requests, are the same
  request. Who asks for one thing over and over, as health checks do, is answered from memory;
* a request whose framing or target two readers could understand differently is refused with 4xx.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from online.api import EdgeError
from online.http.head import (
    CHUNKED,
    Field,
    body_length,
    check_headers,
    malformed,
    read_headers,
    read_target,
    too_large,
    wants_permission,
)
from online.http.limits import Limits

_END = b"\r\n\r\n"
# Of memory for each connection.
_LONGEST_REPEATED = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """A request without a body, as it was sent and as it was read, whose connection went on."""

    data: bytes
    method: str
    target: str
    headers: Mapping[str, str]


_NOTHING = _Whole(data=b"", method="", target="", headers={})


class Reader:
    """Reads the requests of one connection.

    ``read_head`` until it returns true, then ``read_body`` until it does; then the request is complete, and ``reset``
    makes ready for the next one. Both raise; the connection must be closed then.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_complete",
        "_fields",
        "_first",
        "_head_complete",
        "_last",
        "_limits",
        "_overrun",
        "_parser",
        "_remaining",
        "_seen",
        "_tail",
        "_url",
        "_wire",
        "headers",
        "keep_alive",
        "method",
        "rest",
        "target",
        "wants_permission",
    )

    def __init__(self, limits: Limits) -> None:
        """Begin with a connection.

        Args:
            limits: sizes.
        """
        self._limits = limits
        self._parser = HttpRequestParser(self)
        self._last = _NOTHING
        self._complete = False
        self.reset()

    def reset(self) -> None:
        """Make ready for the next request."""
        self.method = "UNKNOWN"
        self.target = "/"
        """As it was sent; it begins with a slash and is printable ASCII."""
        self.headers: Mapping[str, str] = {}
        """By their names in lower case; of several with one name, the first."""
        self.keep_alive = False
        """Whether the client may ask again on this connection."""
        self.wants_permission = False
        """Whether the client waits for an interim answer before it sends the body."""
        self.rest = b""
        """What was received behind that which was read."""
        self._first = self._url = b""
        self._fields: list[Field] = []
        self._body: list[bytes] = []
        self._head_complete = self._complete = self._overrun = self._chunked = False
        self._remaining = self._wire = self._seen = 0
        self._tail = b""

    def close(self) -> None:
        """Let go of the parser: it and this object hold each other."""
        del self._parser

    @property
    def body(self) -> bytes:
        """The content of a request that is complete."""
        return b"".join(self._body)

    @property
    def is_complete(self) -> bool:
        """Whether the whole request has been read."""
        return self._complete

    def read_head(self, data: bytes) -> bool:
        """Read on in the request line and the headers. What follows them is in ``rest`` when they are complete.

        Args:
            data: what was received.

        Returns:
            Whether they are complete.

        Raises:
            EdgeError: 400, 413, 415, 417, 431 or 505.
        """
        if not self._seen:
            # RFC 9112 §2.2: empty lines before a request are forgiven.
            data = data.lstrip(b"\r\n")
        # The empty line may have come in two pieces.
        end = (self._tail + data).find(_END) if self._tail else data.find(_END)
        if end < 0:
            self._tail = (self._tail + data)[-3:]
            self._feed_head(data)
            if self._head_complete:
                raise malformed()
            return False
        end += len(_END) - len(self._tail)
        piece, self.rest = (data, b"") if end == len(data) else (data[:end], data[end:])
        if piece == self._last.data and not self._seen:
            self._repeat(self._last)
            return True
        self._feed_head(piece)
        if not self._head_complete or self._overrun:
            raise malformed()
        self._check_head()
        if self._seen == len(piece) <= _LONGEST_REPEATED and self._complete and self.keep_alive:
            self._last = _Whole(data=piece, method=self.method, target=self.target, headers=self.headers)
        return True

    def read_body(self, data: bytes) -> bool:
        """Read on in the body. What follows it is in ``rest`` when it is complete.

        Args:
            data: what was received.

        Returns:
            Whether it is complete.

        Raises:
            EdgeError: 400 or 413.
        """
        if self._chunked:
            return self._read_chunks(data)
        if self._remaining:
            piece, self.rest = data[: self._remaining], data[self._remaining :]
            if piece:
                self._remaining -= len(piece)
                self._feed(piece)
        else:
            self.rest = data
        if self._complete is not (self._remaining == 0) or self._overrun:
            raise malformed()
        return self._complete

    def _read_chunks(self, data: bytes) -> bool:
        self._wire += len(data)
        if self._wire > self._limits.body:
            raise EdgeError(413, "The request body is too large.")
        if data:
            self._feed(data)
        # Only llhttp knows where a chunked body ends within the data, and it does not say: what has come behind it is
        # not read, and the client asks again on another connection (RFC 9112 §9.3.2).
        self.rest = b""
        if self._overrun:
            self.keep_alive = False
        return self._complete

    def _feed_head(self, piece: bytes) -> None:
        self._seen += len(piece)
        if self._seen > self._limits.head:
            raise too_large()
        if len(self._first) <= self._limits.request_line:
            self._first = self._first + piece if self._first else piece
        self._feed(piece)
        if len(self._url) > self._limits.request_line or len(self._fields) > self._limits.headers:
            raise too_large()

    def _feed(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            raise EdgeError(400, "No other protocol is offered.") from None
        except HttpParserError:
            if not self._overrun:
                raise malformed() from None

    def _repeat(self, whole: _Whole) -> None:
        self.method, self.target, self.headers = whole.method, whole.target, whole.headers
        self._seen = len(whole.data)
        self._head_complete = self._complete = self.keep_alive = True

    def _check_head(self) -> None:
        """Refuse what intermediaries and servers are known to read differently (request smuggling)."""
        parser, limits = self._parser, self._limits
        version = parser.get_http_version()
        method = parser.get_method()
        # llhttp forgives several spaces, and takes related protocols for HTTP.
        line = b"%b %b HTTP/%b\r\n" % (method, self._url, version.encode("ascii"))
        if not self._first.startswith(line):
            raise malformed()
        self.method = method.decode("ascii")
        self.target = read_target(self._url)
        self.headers = headers = read_headers(self._fields, limits)
        check_headers(headers, version)
        length = body_length(headers, version, limits)
        self._chunked = length == CHUNKED
        self._remaining = max(0, length)
        self.wants_permission = wants_permission(headers, version)
        self.keep_alive = self.keep_alive and version == "1.1"

    # What follows is called by the parser. Nothing but the end of one request and the beginning of the next is decided
    # there: an exception would come out of ``feed_data`` as another one.

    def on_message_begin(self) -> None:
        """Stop the parser when what it was given holds another request."""
        if self._complete:
            self._overrun = True
            raise EOFError

    def on_url(self, url: bytes) -> None:
        """Keep a piece of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. One behind a chunked body is dropped (RFC 9112 §7.1.2), and the connection ends for it."""
        if self._head_complete:
            self.keep_alive = False
        else:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the end of the head. The parser forgets what it said about the connection as soon as a request ends."""
        self._head_complete = True
        self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        self._body.append(piece)

    def on_message_complete(self) -> None:
        """Note the end of the request."""
        self._complete = True
