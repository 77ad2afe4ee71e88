"""Bytes that two readers may understand differently, bytes that are too many, and bytes that come oddly: both layers.

No socket is involved: each layer is given bytes and says how it understood them. What needs real sockets, TLS and time
is in ``test_server_edge``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from fakes.wire import Conversation, Mirror, Wire, converse, layer_of, parse_answers

from online.http import Layer, Limits

_HOST = b"Host: a\r\n"
_GET = b"GET /x HTTP/1.1\r\n" + _HOST
_POST = b"POST /x HTTP/1.1\r\n" + _HOST
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
_NEXT = b"GET /next HTTP/1.1\r\n" + _HOST + b"\r\n"

layers = pytest.mark.parametrize("layer", Layer)


def talk(layer: Layer, *pieces: bytes, limits: Limits | None = None) -> Conversation:
    """Send pieces to a layer."""

    async def run() -> Conversation:
        return await converse(layer_of(layer, limits), pieces)

    return asyncio.run(run())


def singly(data: bytes) -> Iterable[bytes]:
    """Return each byte by itself."""
    return (data[at : at + 1] for at in range(len(data)))


REFUSED = {
    "length-sign": _POST + b"Content-Length: +2\r\n\r\nab",
    "length-minus": _POST + b"Content-Length: -0\r\n\r\n",
    "length-underscore": _POST + b"Content-Length: 1_0\r\n\r\n0123456789",
    "length-float": _POST + b"Content-Length: 2.0\r\n\r\nab",
    "length-exponent": _POST + b"Content-Length: 1e0\r\n\r\na",
    "length-empty": _POST + b"Content-Length:\r\n\r\n",
    "length-space-within": _POST + b"Content-Length: 1 0\r\n\r\n0123456789",
    "length-2^64": _POST + b"Content-Length: 18446744073709551618\r\n\r\nab",
    "length-not-ascii": _POST + "Content-Length: ٢\r\n\r\nab".encode(),
    "length-list": _POST + b"Content-Length: 2, 2\r\n\r\nab",
    "length-folded": _POST + b"Content-Length:\r\n 2\r\n\r\nab",
    "lengths-with-padding": _POST + b"Content-Length: 2\r\nContent-Length: 02\r\n\r\nab",
    "lengths-in-other-case": _POST + b"Content-Length: 0\r\ncontent-length: 2\r\n\r\nab",
    "coding-and-length": _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "length-and-coding": _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding-twice-in-one": _POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "coding-list-identity": _POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "coding-parameter": _POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "coding-quoted": _POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "coding-trailing-tab": _POST + b"Transfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n",
    "coding-name-with-space": _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "coding-name-with-tab": _POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "coding-folded": _POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "coding-behind-bare-lf": _POST + b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding-behind-bare-cr": _POST + b"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding-empty": _POST + b"Transfer-Encoding:\r\n\r\n",
    "header-without-colon": _GET + b"X\r\n\r\n",
    "header-without-name": _GET + b": y\r\n\r\n",
    "header-begins-with-space": b"GET /x HTTP/1.1\r\n X: y\r\n" + _HOST + b"\r\n",
    "header-name-not-ascii": _GET + "Ä: y\r\n\r\n".encode(),
    "chunk-size-sign": _CHUNKED + b"+2\r\nab\r\n0\r\n\r\n",
    "chunk-size-minus": _CHUNKED + b"-2\r\nab\r\n0\r\n\r\n",
    "chunk-size-prefix": _CHUNKED + b"0x2\r\nab\r\n0\r\n\r\n",
    "chunk-size-empty": _CHUNKED + b"\r\nab\r\n0\r\n\r\n",
    "chunk-size-leading-space": _CHUNKED + b" 2\r\nab\r\n0\r\n\r\n",
    "chunk-size-underscore": _CHUNKED + b"0_2\r\nab\r\n0\r\n\r\n",
    "chunk-size-2^64": _CHUNKED + b"10000000000000002\r\nab\r\n0\r\n\r\n",
    "chunk-size-bare-lf": _CHUNKED + b"2\nab\r\n0\r\n\r\n",
    "chunk-data-bare-lf": _CHUNKED + b"2\r\nab\n0\r\n\r\n",
    "chunk-data-without-end": _CHUNKED + b"2\r\nab0\r\n\r\n",
    "chunk-data-too-long": _CHUNKED + b"2\r\nabc\r\n0\r\n\r\n",
    "chunk-extension-bare-lf": _CHUNKED + b"2;a\nb\r\nab\r\n0\r\n\r\n",
    "chunk-extension-nul": _CHUNKED + b"2;a\0\r\nab\r\n0\r\n\r\n",
    "target-absolute": b"GET http://a/x HTTP/1.1\r\n" + _HOST + b"\r\n",
    "target-authority": b"CONNECT a:443 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "target-asterisk": b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n",
    "target-relative": b"GET x HTTP/1.1\r\n" + _HOST + b"\r\n",
    "target-not-ascii": "GET /ä HTTP/1.1\r\n".encode() + _HOST + b"\r\n",
    "target-with-space": b"GET /x y HTTP/1.1\r\n" + _HOST + b"\r\n",
    "target-missing": b"GET  HTTP/1.1\r\n" + _HOST + b"\r\n",
    "version-missing": b"GET /x\r\n" + _HOST + b"\r\n",
    "version-0.9": b"GET /x HTTP/0.9\r\n" + _HOST + b"\r\n",
    "version-1.2": b"GET /x HTTP/1.2\r\n" + _HOST + b"\r\n",
    "version-2.0": b"GET /x HTTP/2.0\r\n" + _HOST + b"\r\n",
    "version-lower": b"GET /x http/1.1\r\n" + _HOST + b"\r\n",
    "version-long": b"GET /x HTTP/1.10\r\n" + _HOST + b"\r\n",
    "version-with-space": b"GET /x HTTP/1.1 \r\n" + _HOST + b"\r\n",
    "version-comma": b"GET /x HTTP/1,1\r\n" + _HOST + b"\r\n",
    "preface-of-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "upgrade": _GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "upgrade-without-connection": _GET + b"Upgrade: h2c\r\n\r\n",
    "host-missing": b"GET /x HTTP/1.1\r\n\r\n",
    "host-twice": _GET + b"Host: b\r\n\r\n",
    "host-empty": b"GET /x HTTP/1.1\r\nHost:\r\n\r\n",
    "token-twice": _GET + b"Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
    "expectation": _POST + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\nab",
    "content-coding": _POST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab",
    "coding-in-1.0": b"POST /x HTTP/1.0\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "method-unknown": b"FETCH /x HTTP/1.1\r\n" + _HOST + b"\r\n",
    "method-lower": b"get /x HTTP/1.1\r\n" + _HOST + b"\r\n",
    "method-with-nul": b"G\0T /x HTTP/1.1\r\n" + _HOST + b"\r\n",
}  # fmt: skip


@layers
@pytest.mark.parametrize("attack", REFUSED.values(), ids=REFUSED)
def test_what_is_not_beyond_doubt_is_refused_and_is_the_last(layer: Layer, attack: bytes) -> None:
    """Without this, a proxy in front could take for one request what the node takes for two, or the reverse."""
    for pieces in ([attack + _NEXT], [attack, _NEXT], [*singly(attack), _NEXT]):
        done = talk(layer, *pieces)
        assert done.served == []
        if layer is Layer.REFERENCE and b"chunked" in attack and not done.answers:
            # aiohttp finds a malformed chunk when its deadline for the body has passed.
            continue
        assert len(done.answers) == 1
        status = done.statuses[0]
        assert 400 <= status <= 431 or status == 505
        # aiohttp answers what is no HTTP in HTTP/1.0, where this is the rule.
        assert done.answers[0].headers.get("connection", "close") == "close"
        # What was refused before its body is read on for a while, so that the client sees why.
        assert done.closed or status in {415, 417}


@pytest.mark.parametrize("line", [b"GET /x RTSP/1.0", b"GET  /x HTTP/1.1", b"GET /x  HTTP/1.1", b"POST /x ICE/1.0"])
def test_a_request_line_has_one_form(line: bytes) -> None:
    """llhttp, and so aiohttp, forgives these; RFC 9112 §3 lets a server do so, and asks that it need not."""
    done = talk(Layer.THIN, line + b"\r\n" + _HOST + b"\r\n" + _NEXT)
    assert done.statuses == [400]
    assert done.closed


@pytest.mark.parametrize("host", [b"\x80a", b"a b", b"a/b", b"user@a", b"a?b", b"a#b", b"a\\b"])
def test_a_host_that_is_none_is_refused(host: bytes) -> None:
    """Without this, a proxy in front could have sent the request elsewhere by what it read into the host."""
    assert talk(Layer.THIN, b"GET /x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").statuses == [400]


@pytest.mark.parametrize("host", [b"a", b"a:9000", b"[::1]:9000", b"127.0.0.1", b"xn--a.example", b"a_b"])
def test_a_host_is_served(host: bytes) -> None:
    """Without this, the check of hosts could refuse one that there is."""
    assert talk(Layer.THIN, b"GET /x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").statuses == [200]


UNDERSTOOD = {
    "plain": (_GET + b"\r\n", ["GET", "/x", "", "", "a"]),
    "query": (b"GET /x?b=/c?d HTTP/1.1\r\n" + _HOST + b"\r\n", ["GET", "/x", "b=/c?d", "", "a"]),
    "empty-line-before": (b"\r\n" + _GET + b"\r\n", ["GET", "/x", "", "", "a"]),
    "space-around-value": (b"GET /x HTTP/1.1\r\nHost: \t a \t\r\n\r\n", ["GET", "/x", "", "", "a"]),
    "value-not-ascii": (_GET + "X: ä\r\n\r\n".encode(), ["GET", "/x", "", "", "a"]),
    "length": (_POST + b"Content-Length: 2\r\n\r\nab", ["POST", "/x", "", "6162", "a"]),
    "length-leading-zeros": (_POST + b"Content-Length: 0002\r\n\r\nab", ["POST", "/x", "", "6162", "a"]),
    "length-0": (_POST + b"Content-Length: 0\r\n\r\n", ["POST", "/x", "", "", "a"]),
    "no-length": (_POST + b"\r\n", ["POST", "/x", "", "", "a"]),
    "body-of-get": (_GET + b"Content-Length: 2\r\n\r\nab", ["GET", "/x", "", "6162", "a"]),
    "unknown-header-like-a-coding": (_POST + b"Transfer_Encoding: chunked\r\n\r\n", ["POST", "/x", "", "", "a"]),
    "chunks": (_CHUNKED + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n", ["POST", "/x", "", "6162", "a"]),
    "chunks-leading-zeros": (_CHUNKED + b"0002\r\nab\r\n000\r\n\r\n", ["POST", "/x", "", "6162", "a"]),
    "chunks-hex": (_CHUNKED + b"a\r\n0123456789\r\n0\r\n\r\n", ["POST", "/x", "", b"0123456789".hex(), "a"]),
    "chunk-extension": (_CHUNKED + b'2;a=b;c="d"\r\nab\r\n0\r\n\r\n', ["POST", "/x", "", "6162", "a"]),
    "coding-other-case": (
        _POST + b"transfer-encoding: CHUNKED\r\n\r\n2\r\nab\r\n0\r\n\r\n", ["POST", "/x", "", "6162", "a"],
    ),
    "permission": (_POST + b"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\nab", ["POST", "/x", "", "6162", "a"]),
    "identity": (_POST + b"Content-Encoding: identity\r\nContent-Length: 0\r\n\r\n", ["POST", "/x", "", "", "a"]),
}  # fmt: skip


@layers
@pytest.mark.parametrize(("request_", "understood"), UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_what_is_beyond_doubt_is_served_however_it_comes(layer: Layer, request_: bytes, understood: object) -> None:
    """Without this, a client could be refused for how its packets were cut."""
    for pieces in ([request_], [*singly(request_)], [request_[:7], request_[7:]], [request_[:-2], request_[-2:]]):
        done = talk(layer, *pieces, _NEXT)
        assert done.served == [understood, ["GET", "/next", "", "", "a"]]
        assert not done.closed


@layers
@pytest.mark.parametrize("trailer", [b"X: y\r\n", b"Host: b\r\n", b"X-Request-Id: b\r\n" * 3])
def test_headers_behind_a_body_mean_nothing(layer: Layer, trailer: bytes) -> None:
    """Without this, what a proxy checked in front could be overruled behind."""
    done = talk(layer, _CHUNKED + b"2\r\nab\r\n0\r\n" + trailer + b"\r\n")
    assert done.served == [["POST", "/x", "", "6162", "a"]]
    assert "b" not in done.answers[0].headers["x-request-id"]
    if layer is Layer.THIN:
        assert done.closed


@layers
def test_no_control_byte_passes(layer: Layer) -> None:
    """Without this, a byte that one reader takes for an end and another for text could split a request."""
    for byte in [*range(32), 127]:
        control = bytes([byte])
        for attack in (
            b"GET /x" + control + b"y HTTP/1.1\r\n" + _HOST + b"\r\n",
            b"GET" + control + b" /x HTTP/1.1\r\n" + _HOST + b"\r\n",
            _GET + b"X" + control + b"Y: z\r\n\r\n",
            *([_GET + b"X: y" + control + b"z\r\n\r\n"] if byte != 9 else []),
        ):
            done = talk(layer, attack, _NEXT)
            assert done.served == [], attack
            assert done.closed, attack


@layers
def test_the_same_request_again_and_a_similar_one_are_told_apart(layer: Layer) -> None:
    """Without this, what is remembered of one request could answer the next one."""
    once = _GET + b"X-Request-Id: one\r\n\r\n"
    other = _GET + b"X-Request-Id: two\r\n\r\n"
    with_body = _POST + b"Content-Length: 2\r\n\r\n"
    pieces = [once, once, other, once, once[:9], once[9:], with_body, b"ab", with_body, b"cd", with_body + b"ef", once]
    done = talk(layer, *pieces, once + once + other, _GET + b"Connection: close\r\n\r\n")
    identifiers = [each.headers["x-request-id"] for each in done.answers]
    assert identifiers == ["one", "one", "two", "one", "one", *["none"] * 3, "one", "one", "one", "two", "none"]
    bodies = [understood[3] for understood in done.served if isinstance(understood, list)]
    assert bodies == [""] * 5 + ["6162", "6364", "6566"] + [""] * 5
    assert done.closed


@layers
def test_pipelined_requests_are_answered_in_order_whether_they_wait_or_not(layer: Layer) -> None:
    """Without this, one client's answers could be handed to another behind a proxy that shares connections."""
    paths = [f"/{'slow' if number % 3 == 0 else 'x'}/{number}" for number in range(60)]
    done = talk(layer, b"".join(b"GET %s HTTP/1.1\r\n%s\r\n" % (path.encode(), _HOST) for path in paths))
    for _ in range(3):
        assert [understood[1] for understood in done.served if isinstance(understood, list)] == paths[
            : len(done.served)
        ]
    assert len(done.served) > 5


def test_what_is_sent_ahead_is_bounded() -> None:
    """Without this, a client that sends and never reads could fill the node's memory."""

    async def run() -> None:
        server = layer_of(Layer.THIN, Limits(ahead=1000))
        wire, protocol = Wire(), server()
        assert isinstance(protocol, asyncio.Protocol)
        protocol.connection_made(wire)
        protocol.data_received(b"GET /slow HTTP/1.1\r\n" + _HOST + b"\r\n")
        protocol.data_received(_NEXT * 10)
        assert wire.reading
        protocol.data_received(_NEXT * 30)
        assert not wire.reading
        for _ in range(80):
            await asyncio.sleep(0)
        assert wire.reading
        assert len(list(parse_answers(bytes(wire.written)))) == 41
        protocol.connection_lost(None)

    asyncio.run(run())


@layers
def test_the_answer_to_head_has_a_length_and_nothing_more(layer: Layer) -> None:
    """Without this, the body of one answer would be read as the next one."""
    done = talk_raw(layer, b"HEAD /x HTTP/1.1\r\n" + _HOST + b"\r\n", b"HEAD /slow HTTP/1.1\r\n" + _HOST + b"\r\n")
    found = list(parse_answers(done, head_only=True))
    assert [each.status for each in found] == [200, 200]
    assert all(int(each.headers["content-length"]) > 20 for each in found)


def talk_raw(layer: Layer, *pieces: bytes) -> bytes:
    """Send pieces to a layer, and return what came back as it is."""

    async def run() -> bytes:
        wire, protocol = Wire(), layer_of(layer)()
        assert isinstance(protocol, asyncio.Protocol)
        protocol.connection_made(wire)
        for piece in pieces:
            protocol.data_received(piece)
            for _ in range(20):
                await asyncio.sleep(0)
        protocol.connection_lost(None)
        await asyncio.sleep(0)
        return bytes(wire.written)

    return asyncio.run(run())


@layers
def test_permission_is_given_before_the_answer(layer: Layer) -> None:
    """Without this, curl would wait a second before it sends a large body."""
    raw = talk_raw(layer, _POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"ab")
    assert raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@layers
def test_a_client_of_http_1_0_is_given_no_permission(layer: Layer) -> None:
    """RFC 9110 §10.1.1: such a client would take the interim answer for the answer."""
    raw = talk_raw(layer, b"POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"ab")
    assert raw.startswith((b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n"))


@layers
@pytest.mark.parametrize(
    "head",
    [b"GET /x HTTP/1.0\r\n", b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n", _GET + b"Connection: close\r\n",
     _GET + b"Connection: keep-alive, close\r\n", _GET + b"connection: Close\r\n"],
)  # fmt: skip
def test_a_connection_ends_when_its_client_wants_or_cannot_go_on(layer: Layer, head: bytes) -> None:
    """Without this, a client would wait for the end of an answer that has come."""
    pieces = [head + b"\r\n"], [head + b"\r\n", _NEXT]
    for each in (*pieces, [head + b"\r\n" + _NEXT]) if layer is Layer.THIN else pieces:
        done = talk(layer, *each)
        assert len(done.served) == 1
        assert done.answers[0].headers.get("connection", "close") == "close"
        assert done.closed


_SMALL = Limits(request_line=100, header=200, headers=5, head=1000, body=300)


@layers
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"x" * 150 + b" HTTP/1.1\r\n" + _HOST + b"\r\n", 431),
        (_GET + b"X: " + b"y" * 300 + b"\r\n\r\n", 431),
        (_GET + b"X: y\r\n" * 6 + b"\r\n", 431),
        (_POST + b"Content-Length: 301\r\n\r\n", 413),
        (_POST + b"Content-Length: 999999999999\r\n\r\n", 413),
        (_CHUNKED + b"12d\r\n" + b"x" * 301 + b"\r\n0\r\n\r\n", 413),
        (_CHUNKED + b"40\r\n" + b"x" * 64 + b"\r\n" + (b"40\r\n" + b"x" * 64 + b"\r\n") * 4 + b"0\r\n\r\n", 413),
    ],
    ids=["target", "header", "headers", "length", "huge-length", "chunk", "chunks"],
)
def test_what_is_too_large_is_refused_at_the_limit(layer: Layer, request_: bytes, status: int) -> None:
    """Without this, a limit could hold for one way of sending and not for another."""
    for pieces in ([request_ + _NEXT], [*singly(request_)]):
        done = talk(layer, *pieces, limits=_SMALL)
        assert done.statuses == [status]
        assert done.served == []


@pytest.mark.parametrize("beginning", [b"GET /", _GET + b"X: ", b"", b"GET "])
def test_a_head_without_an_end_is_not_kept(beginning: bytes) -> None:
    """Without this, a client could have a line kept that never ends."""
    done = talk(Layer.THIN, beginning, *[b"x" * 100] * 20, limits=_SMALL)
    assert done.statuses in ([431], [400])


def test_chunks_are_counted_as_they_are_sent() -> None:
    """Without this, extensions of chunks could carry any amount past the limit on the body."""
    chunk = b"1;" + b"e" * 100 + b"\r\nx\r\n"
    assert talk(Layer.THIN, _CHUNKED + chunk * 10, limits=_SMALL).statuses == [413]
    assert talk(Layer.THIN, _CHUNKED, *[chunk] * 10, limits=_SMALL).statuses == [413]


def test_what_follows_a_chunked_body_at_once_is_not_read() -> None:
    """llhttp does not say where a chunked body ended: rather than guess, the connection ends with its answer."""
    done = talk(Layer.THIN, _CHUNKED + b"0\r\n\r\n" + _NEXT)
    assert done.served == [["POST", "/x", "", "", "a"]]
    assert done.answers[0].headers["connection"] == "close"
    assert done.closed


def test_an_answer_that_would_split_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a fault of ours in one header could hand a caller the rest of the answer."""
    from online.api import Request, Response  # noqa: PLC0415 (used here only)

    def begin(self: Mirror, request: Request) -> Response:
        del self, request
        return Response(status=200, headers={"X": "y\r\nSet-Cookie: z"})

    monkeypatch.setattr(Mirror, "begin", begin)
    done = talk(Layer.THIN, _GET + b"\r\n")
    assert done.statuses == [500]
    assert b"Set-Cookie" not in done.raw


def test_a_caller_that_leaves_does_not_stop_what_it_began() -> None:
    """Without this, a certificate could be recorded and nobody's log would say so."""

    async def run() -> None:
        server = layer_of(Layer.THIN)
        wire, protocol = Wire(), server()
        assert isinstance(protocol, asyncio.Protocol)
        protocol.connection_made(wire)
        protocol.data_received(b"GET /slow HTTP/1.1\r\n" + _HOST + b"\r\n")
        protocol.connection_lost(None)
        await server.drain(5.0)
        assert wire.written == b""

    asyncio.run(asyncio.wait_for(run(), 4.0))
