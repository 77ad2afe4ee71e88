"""Bundles: one text each, every damage noticed, nothing accepted that a purpose does not want."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.crossing.bundle import (
    FORMAT,
    LARGEST_BUNDLE_BYTES,
    LARGEST_MEMBER_BYTES,
    Bundle,
    Purpose,
    decode_bundle,
    digest,
)
from shared.errors import RequestRejected

IDENTIFIER = "00112233445566778899aabbccddeeff"
ANSWERED = hashlib.sha256(b"request").hexdigest()
REQUEST = Bundle(purpose=Purpose.INTERMEDIATE_REQUEST, identifier=IDENTIFIER, members={"request.csr": bytes(range(40))})
REPLY = Bundle(
    purpose=Purpose.INTERMEDIATE_REPLY,
    identifier=IDENTIFIER,
    in_reply_to=ANSWERED,
    members={"root.crt": b"root", "intermediate.crt": b"intermediate"},
)


def refused(data: bytes, **arguments: Any) -> RequestRejected:
    """Return the error with which a text is refused."""
    with pytest.raises(RequestRejected) as caught:
        decode_bundle(data, **arguments)
    return caught.value


def edited(edit: Callable[[dict[str, Any]], object], *, repair: bool = True) -> bytes:
    """Change the parsed request and write it again canonically, by hand, with the checksum repaired or not."""
    body: dict[str, Any] = json.loads(REQUEST.encode())
    edit(body)

    def text(value: object) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    if repair:
        body.pop("checksum", None)
        body["checksum"] = hashlib.sha256(text(body)).hexdigest()
    return text(body)


def test_the_text_is_fixed() -> None:
    """A change of the format, however small, must be a decision: bundles of older versions would stop working."""
    text = REQUEST.encode()
    assert text.isascii()
    assert text.endswith(b"}\n")
    assert digest(text).hex() == hashlib.sha256(text).hexdigest()
    assert text == (
        b'{"checksum":"' + json.loads(text)["checksum"].encode() + b'","format":"coldroot-bundle-1",'
        b'"identifier":"00112233445566778899aabbccddeeff","in_reply_to":null,"manifest":{"request.csr":{"sha256":"'
        + hashlib.sha256(bytes(range(40))).hexdigest().encode()
        + b'","size":40}},"members":{"request.csr":"'
        + base64.b64encode(bytes(range(40)))
        + b'"},"purpose":"intermediate-request"}\n'
    )


def test_order_of_members_does_not_matter() -> None:
    """The digest read aloud must not depend on the order in which a program filled a dict."""
    other = Bundle(
        purpose=REPLY.purpose,
        identifier=IDENTIFIER,
        in_reply_to=ANSWERED,
        members=dict(reversed(list(REPLY.members.items()))),
    )
    assert other.encode() == REPLY.encode()


@given(
    st.binary(min_size=1, max_size=500),
    st.binary(min_size=1, max_size=500),
    st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
)
def test_round_trip(intermediate: bytes, root: bytes, identifier: str) -> None:
    """What is carried must arrive as it left."""
    bundle = Bundle(
        purpose=Purpose.INTERMEDIATE_REPLY,
        identifier=identifier,
        in_reply_to=ANSWERED,
        members={"intermediate.crt": intermediate, "root.crt": root},
    )
    assert decode_bundle(bundle.encode(), purpose=Purpose.INTERMEDIATE_REPLY) == bundle


def test_a_bundle_keeps_its_members() -> None:
    """Members changed after the check would cross unchecked."""
    members = {"request.csr": b"checked"}
    bundle = Bundle(purpose=Purpose.INTERMEDIATE_REQUEST, identifier=IDENTIFIER, members=members)
    members["request.csr"] = b"other"
    assert bundle.members["request.csr"] == b"checked"
    with pytest.raises(TypeError):
        bundle.members["request.csr"] = b"other"  # type: ignore[index]


@pytest.mark.parametrize("bundle", [REQUEST, REPLY], ids=["request", "reply"])
def test_every_changed_byte_is_noticed(bundle: Bundle) -> None:
    """One flipped bit anywhere, also outside the members, must not pass as the bundle that was sent."""
    text = bundle.encode()
    for place in range(len(text)):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(text)
            changed[place] ^= flip
            refused(bytes(changed))


@pytest.mark.parametrize("bundle", [REQUEST, REPLY], ids=["request", "reply"])
def test_every_cut_and_every_extra_byte_is_noticed(bundle: Bundle) -> None:
    """A copy broken off, or something appended, white space too, is not the bundle."""
    text = bundle.encode()
    for place in range(len(text)):
        refused(text[:place])
        refused(text[:place] + b" " + text[place:])
    refused(text + b"\n")


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_junk_ends_in_our_error(data: bytes) -> None:
    """Any file may be given as a bundle."""
    refused(data)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 40000,
        b'{"a":' * 9000,
        b'{"format":' + b"9" * 40000 + b"}",
        b'{"format":NaN}',
        b"null",
        b"[]",
        b'"text"',
        '{"format":"coldroot-bundle-1","ü":1}'.encode(),
    ],
    ids=["brackets", "braces", "number", "nan", "null", "array", "text", "not-ascii"],
)
def test_hostile_json_ends_in_our_error(data: bytes) -> None:
    """Deep nesting and numbers of thousands of digits make the parser itself fail."""
    error = refused(data)
    assert error.code == "bundle.malformed"
    assert error.hint


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda body: body.update(format="coldroot-bundle-2"), "bundle.malformed"),
        (lambda body: body.update(extra=1), "bundle.malformed"),
        (lambda body: body.pop("identifier"), "bundle.malformed"),
        (lambda body: body.update(identifier=7), "bundle.malformed"),
        (lambda body: body.update(identifier=IDENTIFIER.upper()), "bundle.malformed"),
        (lambda body: body.update(identifier=IDENTIFIER + "\n"), "bundle.malformed"),
        (lambda body: body.update(in_reply_to=ANSWERED), "bundle.malformed"),
        (lambda body: body.update(in_reply_to=0), "bundle.malformed"),
        (lambda body: body.update(purpose="root-request"), "bundle.wrong-purpose"),
        (lambda body: body.update(purpose=["intermediate-request"]), "bundle.malformed"),
        (lambda body: body.update(purpose="intermediate-reply"), "bundle.malformed"),
        (lambda body: body.update(members=[]), "bundle.malformed"),
        (lambda body: body.update(members={}), "bundle.members"),
        (lambda body: body.update(members={}, manifest={}), "bundle.members"),
        (lambda body: body["members"].update({"../../etc/passwd": "AAAA"}), "bundle.members"),
        (lambda body: body["members"].update({"request.csr": 1}), "bundle.malformed"),
        (lambda body: body["members"].update({"request.csr": "AAA"}), "bundle.malformed"),
        (lambda body: body["members"].update({"request.csr": "AAA\u00e4"}), "bundle.malformed"),
        (lambda body: body["members"].update({"request.csr": "AAAA"}), "bundle.digest-mismatch"),
        (lambda body: body["manifest"]["request.csr"].update(size=41), "bundle.digest-mismatch"),
        (lambda body: body["manifest"]["request.csr"].update(mode=0o777), "bundle.digest-mismatch"),
        (lambda body: body["manifest"].update({"request.csr": None}), "bundle.digest-mismatch"),
        (lambda body: body.update(checksum="0" * 64), "bundle.damaged"),
    ],
)
def test_a_forged_shape_is_refused(edit: Callable[[dict[str, Any]], object], code: str) -> None:
    """Somebody who repairs every checksum must still not get a key, type or member past the format."""
    data = edited(edit, repair=code != "bundle.damaged")
    error = refused(data)
    assert error.code == code
    assert error.hint, "who holds the stick must know what to do"


def test_size_written_as_true_is_not_canonical() -> None:
    """JSON's true equals 1 in Python: a text with it has another digest than the bundle it claims to be."""
    bundle = Bundle(purpose=Purpose.INTERMEDIATE_REQUEST, identifier=IDENTIFIER, members={"request.csr": b"x"})
    data = bundle.encode().replace(b'"size":1', b'"size":true')
    assert refused(data).code == "bundle.not-canonical"


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: json.dumps(json.loads(text)).encode() + b"\n",
        lambda text: text.replace(b'"format"', b'"purpose":"intermediate-request","format"'),
        lambda text: text.replace(b"coldroot", b"\\u0063oldroot"),
        lambda text: text.rstrip(),
    ],
    ids=["white-space", "doubled-key", "escape", "newline"],
)
def test_other_texts_of_the_same_values_are_refused(rewrite: Callable[[bytes], bytes]) -> None:
    """Two texts of one bundle would have two digests, and people compare digests."""
    data = rewrite(REQUEST.encode())
    assert data != REQUEST.encode()
    assert refused(data).code == "bundle.not-canonical"


def test_another_purpose_is_refused() -> None:
    """A reply taken for a request, or the reverse, must be said in these words."""
    error = refused(REPLY.encode(), purpose=Purpose.INTERMEDIATE_REQUEST)
    assert error.code == "bundle.wrong-purpose"
    assert error.message == "the bundle is an intermediate-reply, an intermediate-request is wanted"
    assert error.hint == "a reply goes from ceremony intermediate sign to online import on the node"
    error = refused(REQUEST.encode(), purpose=Purpose.INTERMEDIATE_REPLY)
    assert error.hint == "a request goes from online init to ceremony intermediate sign, which answers it"


def test_sizes_are_limited() -> None:
    """A stick can hold anything; what is too large is refused before it is parsed."""
    assert refused(b" " * (LARGEST_BUNDLE_BYTES + 1)).code == "bundle.too-large"
    for content in (b"", bytes(LARGEST_MEMBER_BYTES + 1)):
        with pytest.raises(RequestRejected, match=r"^request\.csr has not 1 to"):
            Bundle(purpose=Purpose.INTERMEDIATE_REQUEST, identifier=IDENTIFIER, members={"request.csr": content})


def test_the_largest_members_fit_the_largest_bundle() -> None:
    """A bundle that its maker may write and its reader refuses would strand a ceremony."""
    members = {name: bytes(LARGEST_MEMBER_BYTES) for name in ("intermediate.crt", "root.crt")}
    largest = Bundle(purpose=Purpose.INTERMEDIATE_REPLY, identifier=IDENTIFIER, in_reply_to=ANSWERED, members=members)
    assert decode_bundle(largest.encode()) == largest


@pytest.mark.parametrize("answered", [None, "", "0" * 63, ANSWERED.upper(), ANSWERED + "\n"])
def test_a_reply_names_its_request(answered: str | None) -> None:
    """A reply without the digest of its request could be passed off as the answer to another."""
    with pytest.raises(RequestRejected) as caught:
        Bundle(purpose=Purpose.INTERMEDIATE_REPLY, identifier=IDENTIFIER, in_reply_to=answered, members=REPLY.members)
    assert caught.value.code == "bundle.malformed"


def test_format_names_its_version() -> None:
    """Without a version the next format could not be told from a damaged bundle of this one."""
    assert FORMAT.endswith("-1")
    assert "coldroot-bundle-1" in refused(b'{"format":"coldroot-bundle-9"}').message
