"""Streams that nobody would write by hand, given to both layers: the thin one serves nothing that aiohttp does not.

The requests are made from pieces that have fooled readers of HTTP, then damaged, then cut at any place. Whatever comes
out, what the thin layer hands to the handler must be what aiohttp hands to it, in the same order, or less of it.
"""

from __future__ import annotations

import asyncio
import os
from itertools import pairwise

from fakes.wire import Conversation, converse, layer_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from online.http import Layer

_RUN = settings(
    max_examples=int(os.environ.get("COLDROOT_FUZZ_EXAMPLES", "120")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)

_METHODS = st.sampled_from(
    [b"GET", b"POST", b"OPTIONS", b"PUT", b"get", b"PRI", b"CONNECT", b"M-SEARCH", b"", b"SOURCE"]
)
_TARGETS = st.sampled_from(
    [b"/", b"/x", b"/slow", b"/x?y=z", b"//x", b"*", b"http://a/x", b"a:1", b"", b"/\xff", b"/x#y"]
)
_VERSIONS = st.sampled_from(
    [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"RTSP/1.0"]
)
_ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\r\n "])
_HEADERS = st.sampled_from([
    b"Host: a", b"Host: b", b"host:a", b"Host:", b"Host : a",
    b"Content-Length: 0", b"Content-Length: 2", b"Content-Length: 02", b"Content-Length: +2", b"Content-Length: 5",
    b"content-length: 2", b"Content-Length : 2", b"Content-Length: 2, 2", b"Content-Length: 0x2", b"Content-Length:",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked ", b"Transfer-Encoding:\tchunked", b"TE: chunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding", b"Transfer-Encoding: identity", b"Transfer_Encoding: chunked",
    b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade", b"Connection: Transfer-Encoding",
    b"Upgrade: h2c", b"Expect: 100-continue", b"Expect: x", b"X: y", b"X: \xff", b"X: \0", b"X", b": y", b" X: y",
    b"Authorization: Bearer t", b"X-Request-Id: r",
])  # fmt: skip
_BODIES = st.sampled_from([
    b"", b"", b"ab", b"abcde", b"0\r\n\r\n", b"2\r\nab\r\n0\r\n\r\n", b"2;x=y\r\nab\r\n0\r\n\r\n",
    b"02\r\nab\r\n00\r\n\r\n",
    b"2\nab\n0\n\n", b"2\r\nab\r\n0\r\nX: y\r\n\r\n",
    b"+2\r\nab\r\n0\r\n\r\n", b"2 \r\nab\r\n0\r\n\r\n", b"2\r\nabc\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\nab", b"\r\n", b"2\r\nab\r\n0\r\nContent-Length: 2\r\n\r\n",
])  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return one request, or what looks like one."""
    honest = draw(st.booleans())
    end = b"\r\n" if honest else draw(_ENDS)
    fields = draw(st.lists(_HEADERS, max_size=4))
    if honest:
        fields = [b"Host: a", *[field for field in fields if not field.lower().startswith(b"host")]]
    line = b" ".join((draw(_METHODS), draw(_TARGETS), draw(_VERSIONS)))
    head = b"".join(each + (end if honest else draw(_ENDS)) for each in (line, *fields))
    return head + end + draw(_BODIES)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Return what a client sends on one connection, as it arrives."""
    data = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["insert", "drop", "change", "nothing"])):
            case "insert":
                data[at:at] = draw(
                    st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b"0", b"\xff", b":", b"\r\n\r\n"])
                )
            case "drop":
                del data[at : at + draw(st.integers(1, 4))]
            case "change":
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
    cuts = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=4))})
    return [bytes(data[begin:end]) for begin, end in pairwise(cuts)]


def both(pieces: list[bytes]) -> tuple[Conversation, Conversation]:
    """Return what the thin layer makes of what was sent, and what aiohttp makes of it byte by byte.

    Of several requests that come at once, aiohttp serves none when it cannot read one of them.
    """

    async def run() -> tuple[Conversation, Conversation]:
        data = b"".join(pieces)
        singly = [data[at : at + 1] for at in range(len(data))]
        return await converse(layer_of(Layer.THIN), pieces), await converse(layer_of(Layer.REFERENCE), singly)

    return asyncio.run(run())


@_RUN
@given(streams())
@example([b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x"])
def test_the_thin_layer_serves_what_aiohttp_serves_or_less(pieces: list[bytes]) -> None:
    """Without this, a fault of our own state machine could read a second request out of the body of the first."""
    thin, reference = both(pieces)
    assert thin.served == reference.served[: len(thin.served)]
    refusals = [each for each in thin.answers if each.understood is None and each.body]
    assert len(refusals) <= 1
    if refusals:
        assert refusals[0] is thin.answers[-1]
        assert refusals[0].headers["connection"] == "close"


@_RUN
@given(
    st.lists(
        st.tuples(st.sampled_from([b"/x", b"/slow", b"/y?z"]), st.binary(max_size=40), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_honest_requests_are_served_by_both_however_they_are_cut(
    wanted: list[tuple[bytes, bytes, bool]], cuts: list[int]
) -> None:
    """Without this, being strict could mean being wrong."""
    data = b"".join(
        b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)
        if with_body
        else b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path
        for path, body, with_body in wanted
    )
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    thin, reference = both([data[begin:end] for begin, end in pairwise(places)])
    assert thin.served == reference.served
    assert len(thin.served) == len(wanted)
    assert not thin.closed
