"""The HTTP edge under fire: raw bytes over real TLS, and what may come back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fakes.live import Answer, Live, live

from online.config import TlsEngine, TlsSettings
from online.http import Layer, Limits
from shared.pem import chain_pem

_HOST = b"Host: localhost\r\n"
_LIMITS = Limits(idle=1.5, receive=1.5, linger=0.2, connections=40)


@pytest.fixture(
    scope="module",
    params=[(Layer.THIN, TlsEngine.BUNDLED), (Layer.REFERENCE, TlsEngine.BUNDLED), (Layer.THIN, TlsEngine.SYSTEM)],
    ids=["thin", "aiohttp", "thin-system-tls"],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with short deadlines, with each layer of HTTP and each engine of TLS."""
    layer, engine = request.param
    with live(tmp_path_factory.mktemp("live"), limits=_LIMITS, layer=layer, tls=TlsSettings(engine=engine)) as running:
        yield running


@pytest.fixture(autouse=True)
def _still_alive(server: Live) -> Iterator[None]:
    """After each attack the server answers an honest client, and logged no exception."""
    yield
    assert server.request("GET", "/health").status == 200
    assert not [line for line in server.lines if "internal." in line]


def is_json_error(answer: Answer) -> bool:
    """Tell whether an answer is an error in the form that step reads."""
    content = json.loads(answer.body)
    return (
        answer.headers["content-type"] == "application/json"
        and content["status"] == answer.status
        and bool(content["message"])
        and bool(answer.headers["x-request-id"])
    )


_SMUGGLED = b"GET /version HTTP/1.1\r\n" + _HOST + b"\r\n"

_GET = b"GET /health HTTP/1.1\r\n" + _HOST
_POST = b"POST /sign HTTP/1.1\r\n" + _HOST
_CHUNKED = b"Transfer-Encoding: chunked\r\n"

AMBIGUOUS = {
    "cl-and-te": _POST + b"Content-Length: 4\r\n" + _CHUNKED + b"\r\n0\r\n\r\n",
    "te-and-cl": _POST + _CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n",
    "two-lengths": _POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "two-equal-lengths": _POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "length-list": _POST + b"Content-Length: 0, 0\r\n\r\n",
    "length-plus": _POST + b"Content-Length: +0\r\n\r\n",
    "length-negative": _POST + b"Content-Length: -1\r\n\r\n",
    "length-hex": _POST + b"Content-Length: 0x0\r\n\r\n",
    "te-twice": _POST + _CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-gzip": _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te-identity": _POST + b"Transfer-Encoding: identity\r\n\r\n",
    "te-odd-case": _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te-tab": _POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "te-in-1.0": b"POST /sign HTTP/1.0\r\n" + _HOST + _CHUNKED + b"\r\n0\r\n\r\n",
    "space-before-colon": _POST + b"Content-Length : 0\r\n\r\n",
    "folded-header": _GET + b"X-A: 1\r\n 2\r\n\r\n",
    "bare-lf": b"GET /health HTTP/1.1\n" + b"Host: localhost\n\n",
    "bare-cr": b"GET /health HTTP/1.1\r\nHost: localhost\rX-A: 1\r\n\r\n",
    "nul-in-value": _GET + b"X-A: a\0b\r\n\r\n",
    "nul-in-name": _GET + b"X\0A: b\r\n\r\n",
    "nul-in-target": b"GET /health\0 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "no-host": b"GET /health HTTP/1.1\r\n\r\n",
    "empty-host": b"GET /health HTTP/1.1\r\nHost: \r\n\r\n",
    "two-hosts": _GET + b"Host: elsewhere\r\n\r\n",
    "absolute-target": b"GET http://elsewhere/health HTTP/1.1\r\n" + _HOST + b"\r\n",
    "connect": b"CONNECT elsewhere:443 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "star": b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n",
    "upgrade": _GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "h2c": _GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    "h2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http-2.0": b"GET /health HTTP/2.0\r\n" + _HOST + b"\r\n",
    "http-0.9": b"GET /health\r\n\r\n",
    "lower-method": b"get /health HTTP/1.1\r\n" + _HOST + b"\r\n",
    "garbage": b"\x00\x01\x02\x03\r\n\r\n",
    "tls-in-tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "chunk-size-junk": _POST + _CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "chunk-size-space": _POST + _CHUNKED + b"\r\n5 \r\nhello\r\n0\r\n\r\n",
    "chunk-size-huge": _POST + _CHUNKED + b"\r\nfffffffffffffffff\r\n",
    "chunk-overrun": _POST + _CHUNKED + b"\r\n2\r\nhello\r\n0\r\n\r\n",
    "two-tokens": _POST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\nContent-Length: 0\r\n\r\n",
    "two-ids": _GET + b"X-Request-Id: a\r\nX-Request-Id: b\r\n\r\n",
    "expectation": _POST + b"Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}",
    "compressed": _POST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
}  # fmt: skip


@pytest.mark.parametrize("attack", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguous_bytes_get_one_refusal_and_the_end(server: Live, attack: bytes) -> None:
    """Without this, a proxy in front and this server could disagree about where a request ends."""
    found = server.send(attack + _SMUGGLED)
    assert len(found) == 1, [(each.status, each.body) for each in found]
    assert 400 <= found[0].status < 500 or found[0].status == 505
    assert found[0].status != 404
    assert is_json_error(found[0])


@pytest.mark.parametrize(
    "line", ["GET /health HTTP/2.0", "GET /health HTTP/0.9", "GET /health HTTP/3.7", "GET /health", "PRI * HTTP/2.0"]
)
def test_another_version_is_refused_in_ours(server: Live, line: str) -> None:
    """Without this, the answer would claim a protocol that nobody here speaks, and its reader misread it."""
    with server.connect() as connection:
        connection.sendall(line.encode() + b"\r\n" + _HOST + b"\r\n")
        raw = connection.recv(64)
    assert raw.startswith((b"HTTP/1.1 505 ", b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))


def test_a_secret_in_the_place_of_a_fingerprint_is_not_logged(server: Live) -> None:
    """Without this, a token that was pasted into the wrong address would stay in the log."""
    assert server.request("GET", "/root/eyJhbGciOi.secret").status >= 400
    assert server.request("GET", "/1.0/root/0123abcDEF").status >= 400
    assert not [line for line in server.lines if "eyJhbGciOi" in line]
    assert any("/root/(not%20hex)" in line for line in server.lines)
    assert any("/1.0/root/0123abcDEF" in line for line in server.lines)


LARGE = {
    "header": (b"GET /health HTTP/1.1\r\n" + _HOST + b"X-A: " + b"a" * (1 << 20) + b"\r\n\r\n", 431),
    "headers": (b"GET /health HTTP/1.1\r\n" + _HOST + b"X-A: a\r\n" * 10_000 + b"\r\n", 431),
    "target": (b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n" + _HOST + b"\r\n", 431),
    "declared-body": (b"POST /sign HTTP/1.1\r\n" + _HOST + b"Content-Length: 20000000\r\n\r\n" + bytes(1 << 20), 413),
    "sent-body": (
        _POST + _CHUNKED + b"\r\n" + (b"10000\r\n" + bytes(65536) + b"\r\n") * 40,
        413,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("attack", "status"), LARGE.values(), ids=LARGE)
def test_what_is_too_large_is_refused_before_it_is_kept(server: Live, attack: bytes, status: int) -> None:
    """Without this, one client could fill the memory of the node."""
    found = server.send(attack)
    assert [each.status for each in found] == [status]
    assert is_json_error(found[0])


def test_a_body_in_a_hundred_thousand_chunks_is_one_request(server: Live) -> None:
    """Without this, tiny chunks could cost more than the limit on the body allows."""
    chunks = b"1\r\n \r\n" * 100_000
    head = b"POST /sign HTTP/1.1\r\n" + _HOST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert [each.status for each in server.send(head + chunks + b"0\r\n\r\n")] == [400]


def test_a_chunked_request_is_served(server: Live) -> None:
    """Without this, the checks of chunked bodies could refuse honest ones."""
    head = b"POST /sign HTTP/1.1\r\n" + _HOST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = server.send(head + b"2\r\n{}\r\n0\r\n\r\n")
    assert [json.loads(each.body)["message"] for each in found] == ["The request could not be completed: missing csr."]


def test_pipelined_requests_are_answered_in_order(server: Live) -> None:
    """Without this, answers on one connection could be mixed up."""
    one = b"GET /version HTTP/1.1\r\n" + _HOST + b"X-Request-Id: one\r\n\r\n"
    two = b"GET /nope HTTP/1.1\r\n" + _HOST + b"X-Request-Id: two\r\nConnection: close\r\n\r\n"
    found = server.send(one + two)
    assert [(each.status, each.headers["x-request-id"]) for each in found] == [(200, "one"), (404, "two")]


def test_a_client_that_waits_for_permission_gets_it(server: Live) -> None:
    """Without this, curl would wait a second before it sends a large body."""
    head = (
        b"POST /sign HTTP/1.1\r\n" + _HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    )
    with server.connect() as connection:
        connection.sendall(head)
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "path",
    ["//health", "/./health", "/x/../health", "/%2e%2e/health", "/health/", "/health;a", "/health%00", "/Health",
     "/1.0/1.0/health", "/1.0", "/%68ealth", "/root/", "/root/a/b", "/provisioners//encrypted-key"],
)  # fmt: skip
def test_a_path_has_one_spelling(server: Live, path: str) -> None:
    """Without this, a filter in front could be walked around with another spelling."""
    answer = server.request("GET", path)
    assert answer.status == 404
    assert is_json_error(answer)


@pytest.mark.parametrize("method", ["TRACE", "DELETE", "PUT", "PATCH", "OPTIONS", "POST", "FOO"])
def test_other_methods_are_told_which_ones_there_are(server: Live, method: str) -> None:
    """Without this, TRACE could echo a token, or step be told something that it cannot read."""
    answer = server.request(method, "/health")
    if method == "FOO":
        assert answer.status == 400
    else:
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert is_json_error(answer)


def test_head_is_served_without_a_body(server: Live) -> None:
    """Without this, a probe with HEAD would find the node ill."""
    with server.connect() as connection:
        connection.sendall(b"HEAD /health HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n")
        received = b""
        while chunk := connection.recv(4096):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Length: 16" in head
    assert body == b""


def test_a_client_that_never_finishes_its_headers_is_dropped(server: Live) -> None:
    """Without this, slow clients could hold connections for ever."""
    with server.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: local")
        assert connection.recv(4096) == b""


def test_a_client_that_never_finishes_its_body_is_told_so(server: Live) -> None:
    """Without this, slow clients could hold requests for ever."""
    head = b"POST /sign HTTP/1.1\r\n" + _HOST + b"Content-Length: 100\r\n\r\n{"
    found = server.send(head)
    assert [each.status for each in found] == [408]
    assert is_json_error(found[0])


def test_slow_clients_do_not_keep_others_waiting(server: Live) -> None:
    """Without this, a few slow clients could starve all others."""
    slow = [server.connect() for _ in range(30)]
    try:
        for each in slow:
            each.sendall(b"POST /sign HTTP/1.1\r\n" + _HOST + b"Content-Length: 100\r\n\r\n{")
        assert server.request("GET", "/roots").status == 201
    finally:
        for each in slow:
            each.close()


def test_idle_connections_make_room(server: Live) -> None:
    """Without this, connections that do nothing could keep everybody else out."""
    idle = [server.connect() for _ in range(_LIMITS.connections)]
    try:
        assert server.request("GET", "/health").status == 200
    finally:
        for each in idle:
            each.close()


def test_a_caller_that_goes_away_leaves_nothing_behind(server: Live) -> None:
    """Without this, a client that gives up could end a worker."""
    for _ in range(5):
        with server.connect() as connection:
            connection.sendall(b"POST /sign HTTP/1.1\r\n" + _HOST + b"Content-Length: 100\r\n\r\n{")
    for _ in range(5):
        with server.connect() as connection:
            connection.sendall(_SMUGGLED)


def test_deep_and_wide_json_is_refused(server: Live) -> None:
    """Without this, a parser's stack or time would be the caller's."""
    for body in (
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b"[" + b"0," * 500_000 + b"0]",
        b'{"csr":' + b"[" * 30 + b"]" * 30 + b"}",
    ):
        answer = server.request("POST", "/sign", body)
        assert answer.status == 400
        assert is_json_error(answer)


def test_the_whole_way_of_a_certificate(server: Live) -> None:
    """Without this, the parts could each work and the server not."""
    chain, key = server.leaf()
    context = server.context(chain, key)
    answer = server.request("POST", "/1.0/renew", context=context)
    assert answer.status == 201
    assert json.loads(answer.body)["certChain"][1:] == chain_pem(chain)[1:]
    assert any(f"serial={json_serial(answer)}" in line for line in server.lines)


def json_serial(answer: Answer) -> int:
    """Return the serial of the certificate in an answer."""
    from shared.pem import load_certificates  # noqa: PLC0415 (used here only)

    return load_certificates(json.loads(answer.body)["crt"].encode())[0].serial_number


def test_a_log_line_is_one_line_without_query_and_token(server: Live) -> None:
    """Without this, a caller could forge log lines, or read what others sent."""
    server.request("GET", "/provisioners?cursor=c4n4ry")
    server.request("POST", "/renew", headers={"Authorization": "Bearer c4n4ry.c4n4ry.c4n4ry"})
    server.request("GET", "/%0aforged%20line\x7f")
    shown = "\n".join(server.lines)
    assert "c4n4ry" not in shown
    assert all("\n" not in line and "\x7f" not in line for line in server.lines)
