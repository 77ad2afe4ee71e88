"""Signed tokens: published vectors, and that nothing a token says decides how it is verified."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from fakes import vectors
from fakes.tokens import NOW, SIGNER, b64, claims, forge, good_token, header
from hypothesis import given
from hypothesis import strategies as st

from online.jose import b64 as strict_b64
from online.jose import jws
from online.jose.jwk import PrivateJwk, parse_jwk, parse_private_jwk
from shared import keys
from shared.errors import ColdrootError, RequestRejected, Unauthenticated
from shared.keys import KeyKind

PUBLIC = SIGNER.key.public_key()


def unverified(token: str) -> jws.UnverifiedToken:
    """Take a token apart without insisting that its payload is JSON, which the RFCs' examples do not have."""
    head, _, signature = token.split(".")
    return jws.UnverifiedToken(
        text=token,
        header=json.loads(strict_b64.decode(head, what="header")),
        claims={},
        signature=strict_b64.decode(signature, what="signature"),
    )


def test_rs256_of_the_rfc() -> None:
    """A verifier that refuses the standard's own example refuses everybody."""
    vector = vectors.jose("rfc7515_a_2")
    token = jws.split_unverified(vector["token"])
    verified = jws.verify(token, parse_jwk(vector["jwk"]).key)
    assert verified == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}


@pytest.mark.parametrize("name", ["rfc7515_a_3", "rfc7515_a_4", "rfc8037_a"])
def test_other_algorithms_of_the_rfcs(name: str) -> None:
    """Each curve and Ed25519 verify their published signature, and refuse it with one bit changed."""
    vector = vectors.jose(name)
    key = parse_private_jwk(json.dumps(vector["private_jwk"]).encode()).key.public_key()
    jws.verify(unverified(vector["token"]), key)
    broken = vector["token"].replace(".", ".A", 1)
    with pytest.raises(Unauthenticated):
        jws.verify(unverified(broken), key)


@pytest.mark.parametrize("kind", KeyKind)
def test_round_trip_of_every_kind(kind: KeyKind) -> None:
    """Each kind of key that a provisioner may have must sign what it can verify."""
    key = keys.generate(kind)
    token = jws.split_unverified(jws.sign({"sub": "ü"}, key, header={"kid": "k"}))
    assert jws.verify(token, key.public_key()) == {"sub": "ü"}
    assert token.kid == "k"


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS384", "PS512"])
def test_other_rsa_algorithms_by_agreement_only(algorithm: str) -> None:
    """An RSA key's owner may choose; a token may not."""
    key = keys.generate(KeyKind.RSA)
    token = jws.split_unverified(jws.sign({}, key, header={}, algorithm=algorithm))
    assert jws.verify(token, key.public_key(), algorithm=algorithm) == {}
    with pytest.raises(Unauthenticated) as caught:
        jws.verify(token, key.public_key())
    assert caught.value.code == "token.algorithm"


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        (KeyKind.EC_P256, "ES256"),
        (KeyKind.EC_P384, "ES384"),
        (KeyKind.EC_P521, "ES512"),
        (KeyKind.ED25519, "EdDSA"),
        (KeyKind.RSA, "RS256"),
        (KeyKind.RSA, "PS384"),
    ],
)
def test_what_passes_here_passes_the_library_as_a_whole(kind: KeyKind, algorithm: str) -> None:
    """Only the library's schemes are used: a token that its own reading refuses would be one for us alone."""
    key = keys.generate(kind)
    token = jws.sign({"sub": "ü"}, key, header={"kid": "k"}, algorithm=algorithm)
    here = jws.verify(jws.split_unverified(token), key.public_key(), algorithm=algorithm)
    there = jwt.PyJWS(algorithms=[algorithm]).decode_complete(token, key.public_key(), algorithms=[algorithm])
    assert json.loads(there["payload"]) == here
    flipped = token[:-8] + ("A" if token[-8] != "A" else "B") + token[-7:]
    with pytest.raises(Unauthenticated):
        jws.verify(jws.split_unverified(flipped), key.public_key(), algorithm=algorithm)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.PyJWS(algorithms=[algorithm]).decode_complete(flipped, key.public_key(), algorithms=[algorithm])


def test_the_signing_digest_ignores_the_signature() -> None:
    """A single-use record keyed on the whole text could be dodged by re-encoding the signature."""
    first, second = forge(), forge()
    assert first != second
    assert jws.split_unverified(first).content_digest == jws.split_unverified(second).content_digest


def test_the_token_does_not_show() -> None:
    """A repr ends up in logs; an unused token in a log can be used by its reader."""
    token = good_token()
    shown = repr(jws.split_unverified(token))
    assert token.split(".")[1] not in shown
    assert "foo.local" not in shown


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"alg": "none"}, "token.algorithm"),
        ({"alg": "None"}, "token.algorithm"),
        ({"alg": "NONE"}, "token.algorithm"),
        ({"alg": ""}, "token.algorithm"),
        ({"alg": ...}, "token.algorithm"),
        ({"alg": None}, "token.algorithm"),
        ({"alg": ["ES256"]}, "token.algorithm"),
        ({"alg": {"ES256": 1}}, "token.algorithm"),
        ({"alg": "HS256"}, "token.algorithm"),
        ({"alg": "HS512"}, "token.algorithm"),
        ({"alg": "ES256K"}, "token.algorithm"),
        ({"alg": "es256"}, "token.algorithm"),
        ({"kid": 7}, "token.header"),
        ({"kid": None}, "token.header"),
        ({"kid": ["k"]}, "token.header"),
        ({"kid": "k" * 257}, "token.header"),
        ({"typ": "at+jwt"}, "token.header"),
        ({"typ": 1}, "token.header"),
        ({"jwk": SIGNER.public().to_json()}, "token.header"),
        ({"jku": "https://localhost:1/keys.json"}, "token.header"),
        ({"x5u": "https://localhost:1/chain.pem"}, "token.header"),
        ({"x5c": ["AAAA"]}, "token.header"),
        ({"x5cInsecure": ["AAAA"]}, "token.header"),
        ({"crit": ["exp"]}, "token.header"),
        ({"crit": []}, "token.header"),
        ({"crit": ["b64"], "b64": True}, "token.header"),
        ({"b64": False}, "token.header"),
        ({"zip": "DEF"}, "token.header"),
        ({"enc": "A256GCM"}, "token.header"),
    ],
)
def test_a_header_that_wants_a_say(changes: dict[str, Any], code: str) -> None:
    """Algorithms from the token, keys from the token, addresses of keys, extensions: all were real attacks."""
    with pytest.raises(Unauthenticated) as caught:
        jws.split_unverified(forge(head=header(**changes)))
    assert caught.value.code == code


def test_x5c_insecure_only_for_who_asks() -> None:
    """A renewal token carries its chain in the header; nobody else may be handed a key that way."""
    token = forge(head=header(x5cInsecure=["AAAA"]))
    assert jws.split_unverified(token, key_members=frozenset({"x5cInsecure"})).header["x5cInsecure"] == ["AAAA"]


def test_unknown_members_are_ignored() -> None:
    """RFC 7515 §4 asks for it: a future member that is not critical must not lock clients out."""
    assert jws.split_unverified(forge(head=header(nonce="abc"))).kid == SIGNER.kid


PARTS = good_token().split(".")


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        PARTS[0],
        ".".join(PARTS[:2]),
        ".".join([*PARTS, ""]),
        ".".join([*PARTS, PARTS[0], PARTS[0]]),
        f"{PARTS[0]}=.{PARTS[1]}.{PARTS[2]}",
        f"{PARTS[0]}.{PARTS[1]}.{PARTS[2]}==",
        f" {'.'.join(PARTS)}",
        f"{'.'.join(PARTS)}\n",
        f"{PARTS[0]}.{PARTS[1]}.{PARTS[2][:40]}\n{PARTS[2][40:]}",
        f"{PARTS[0]}.{PARTS[1]}.{PARTS[2].replace('_', '/').replace('-', '+')}+",
        json.dumps({"protected": PARTS[0], "payload": PARTS[1], "signature": PARTS[2]}),
        json.dumps({"payload": PARTS[1], "signatures": [{"protected": PARTS[0], "signature": PARTS[2]}]}),
        forge(head=b'{"alg":"none","alg":"ES256","kid":"k"}'),
        forge(head=b'{"alg":"ES256","kid":"a","kid":"b"}'),
        forge(payload=b'{"sub":"a","sub":"b"}'),
        forge(payload=b'{"exp":NaN}'),
        forge(payload=b'{"exp":1e400}'),
        forge(payload=json.dumps(claims()).encode("utf-16")),
        forge(payload=b"\xef\xbb\xbf{}"),
        forge(payload=b'{"sub":"\xff"}'),
        forge(payload=b"[]"),
        forge(payload=b"null"),
        forge(payload=b'"text"'),
        forge(payload=b""),
        forge(payload=b'{"a":' * 60 + b"1" + b"}" * 60),
        forge(payload=b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
        forge(head=b"[]"),
        forge(payload=b'{"sub":"\\ud800"}'),
    ],
)
def test_a_malformed_token_is_refused(token: str) -> None:
    """JSON serialisations, other spellings, doubled keys: they mean one thing to us and another to others."""
    with pytest.raises(Unauthenticated) as caught:
        jws.split_unverified(token)
    assert caught.value.code == "token.malformed"


def test_size_is_capped_first() -> None:
    """Decoding megabytes for somebody who proved nothing is a gift to them."""
    with pytest.raises(Unauthenticated) as caught:
        jws.split_unverified("A" * (jws.LARGEST_TOKEN + 1))
    assert caught.value.code == "token.too-large"


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_noise_is_refused_not_crashed_on(text: str) -> None:
    """An exception of a parser is a 500 or a dead worker; a refusal is a 401."""
    with pytest.raises(Unauthenticated):
        jws.split_unverified(text)


@given(st.binary(max_size=40), st.binary(max_size=60))
def test_well_encoded_noise_is_refused_not_crashed_on(head: bytes, payload: bytes) -> None:
    """The same behind valid base64url, where the JSON parser meets it."""
    code = "token.accepted"
    try:
        jws.split_unverified(f"{b64(head)}.{b64(payload)}.AAAA")
    except ColdrootError as error:
        code = error.code
    assert code.startswith("token.")


def resigned(signature: bytes) -> jws.UnverifiedToken:
    """Return the good token with another signature."""
    return jws.split_unverified(f"{PARTS[0]}.{PARTS[1]}.{b64(signature)}")


SIGNATURE = strict_b64.decode(PARTS[2], what="signature")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(64),
        bytes(63) + b"\x01",
        ORDER.to_bytes(32, "big") * 2,
        SIGNATURE[:63],
        SIGNATURE + b"\x00",
        b"\x00" + SIGNATURE,
        SIGNATURE[:32] + b"\x00" + SIGNATURE[32:],
        encode_dss_signature(int.from_bytes(SIGNATURE[:32], "big"), int.from_bytes(SIGNATURE[32:], "big")),
        bytes([SIGNATURE[0] ^ 1]) + SIGNATURE[1:],
    ],
    ids=["empty", "zeros", "one", "order", "short", "long", "shifted", "split", "der", "flipped"],
)
def test_a_signature_that_is_none(signature: bytes) -> None:
    """Zeros (CVE-2022-21449), the group order, DER instead of raw, other lengths: one 64-octet form only."""
    with pytest.raises(Unauthenticated) as caught:
        jws.verify(resigned(signature), PUBLIC)
    assert caught.value.code == "token.signature"


def test_the_flipped_signature_is_the_same_token() -> None:
    """(r, n-s) verifies too, so no record may hang on the signature: the digest and the jti do not change."""
    flipped = SIGNATURE[:32] + (ORDER - int.from_bytes(SIGNATURE[32:], "big")).to_bytes(32, "big")
    token = resigned(flipped)
    assert jws.verify(token, PUBLIC)["jti"] == jws.split_unverified(good_token()).claims["jti"]
    assert token.content_digest == resigned(SIGNATURE).content_digest


@pytest.mark.parametrize("kind", [KeyKind.EC_P384, KeyKind.RSA, KeyKind.ED25519])
def test_the_key_fixes_the_algorithm(kind: KeyKind) -> None:
    """A token signed correctly by another algorithm, or claiming one, must not choose its verifier."""
    other = keys.generate(kind)
    with pytest.raises(Unauthenticated) as caught:
        jws.verify(resigned(SIGNATURE), other.public_key())
    assert caught.value.code == "token.algorithm"


def test_another_key_of_the_same_kind() -> None:
    """The plain forgery."""
    with pytest.raises(Unauthenticated) as caught:
        jws.verify(jws.split_unverified(good_token()), keys.generate(KeyKind.EC_P256).public_key())
    assert caught.value.code == "token.signature"


def test_text_that_cannot_be_written_is_refused() -> None:
    """A command line may hold bytes that are not UTF-8; the error must be ours and name no content."""
    with pytest.raises(RequestRejected) as caught:
        jws.sign({"sub": "\udcff"}, SIGNER.key, header={})
    assert caught.value.code == "token.claims"


def test_payloads_are_written_as_step_writes_them() -> None:
    """Sorted and compact: two tokens of equal content have equal text before the signature."""
    token = jws.sign({"b": 1, "a": int(NOW.timestamp())}, SIGNER.key, header={"kid": "k"})
    head, payload, _ = token.split(".")
    assert strict_b64.decode(head, what="h") == b'{"alg":"ES256","kid":"k","typ":"JWT"}'
    assert strict_b64.decode(payload, what="p") == b'{"a":1795503600,"b":1}'


def test_a_wrapped_signer_signs() -> None:
    """PrivateJwk carries the algorithm that its owner agreed on."""
    signer = PrivateJwk.of(keys.generate(KeyKind.ED25519))
    token = jws.split_unverified(jws.sign({}, signer.key, header={}, algorithm=signer.algorithm))
    assert token.algorithm == "EdDSA"
