"""Password-encrypted keys: the RFC's vector, step's own documents, and what a hostile one may not do."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from fakes import vectors
from fakes.randomness import seeded
from fakes.tokens import b64
from hypothesis import given, settings
from hypothesis import strategies as st

from online.jose import b64 as strict_b64
from online.jose import jwe
from shared.errors import ColdrootError, RequestRejected, Unauthenticated

FAST = 1000
TOKEN = jwe.encrypt(b"payload", b"password", rng=seeded(1), p2c=FAST)


def test_key_wrapping_of_the_rfc() -> None:
    """Salt, iteration count or wrapping done differently, and no other program opens our keys."""
    vector = vectors.jose("rfc7517_c")
    salt = strict_b64.decode(vector["p2s"], what="p2s")
    derived = jwe.derive_wrapping_key(vector["password"].encode(), salt, vector["p2c"])
    assert derived == bytes(vector["derived_key"])
    assert b64(aes_key_wrap(derived, bytes(vector["content_key"]))) == vector["encrypted_key"]


@pytest.mark.parametrize("name", ["step_a128gcm", "step_a256gcm"])
def test_what_step_encrypted_is_read(name: str) -> None:
    """Old releases of step wrote A128GCM, new ones A256GCM; both are in the field."""
    vector = vectors.jose(name)
    assert jwe.decrypt(vector["token"], vector["password"].encode()) == vector["plaintext"].encode()


@settings(max_examples=20, deadline=None)
@given(payload=st.binary(max_size=300), password=st.binary(min_size=1, max_size=40), seed=st.integers(0, 2**32))
def test_round_trip(payload: bytes, password: bytes, seed: int) -> None:
    """A key that cannot be decrypted again is lost."""
    assert jwe.decrypt(jwe.encrypt(payload, password, rng=seeded(seed), p2c=FAST), password) == payload


def test_the_header_is_steps() -> None:
    """step reads cty to know that a JWK is inside, and refuses more than a million iterations."""
    header = json.loads(strict_b64.decode(jwe.encrypt(b"x", b"p", rng=os.urandom).split(".")[0], what="header"))
    assert list(header) == ["alg", "cty", "enc", "p2c", "p2s"]
    assert header["alg"] == "PBES2-HS256+A128KW"
    assert header["cty"] == "jwk+json"
    assert header["enc"] == "A256GCM"
    assert header["p2c"] == 600_000
    assert len(strict_b64.decode(header["p2s"], what="salt")) == 16


def test_each_encryption_is_fresh() -> None:
    """A repeated salt, key or nonce would tie two documents together, or break GCM."""
    first, second = (jwe.encrypt(b"x", b"p", rng=os.urandom, p2c=FAST).split(".") for _ in range(2))
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_the_content_key_is_full_length() -> None:
    """A256GCM needs 32 octets: a shorter key under that name is weaker than it says."""
    parts = TOKEN.split(".")
    header = json.loads(strict_b64.decode(parts[0], what="header"))
    derived = jwe.derive_wrapping_key(b"password", strict_b64.decode(header["p2s"], what="salt"), FAST)
    assert len(aes_key_unwrap(derived, strict_b64.decode(parts[1], what="key"))) == 32


def test_a_wrong_password_is_said_plainly() -> None:
    """The operator must learn that the password was wrong, not that something is damaged."""
    with pytest.raises(Unauthenticated) as caught:
        jwe.decrypt(TOKEN, b"Password")
    assert caught.value.code == "jwe.wrong-password"
    assert "assword" not in repr(caught.value.__cause__)


def test_an_empty_password_is_refused() -> None:
    """An empty password file would publish the provisioner's key to everybody."""
    with pytest.raises(RequestRejected) as caught:
        jwe.encrypt(b"x", b"", rng=os.urandom)
    assert caught.value.code == "jwe.password"


@pytest.mark.parametrize("part", range(5))
def test_every_part_is_authenticated(part: int) -> None:
    """A changed header, key, nonce, text or tag must never decrypt."""
    parts = TOKEN.split(".")
    data = bytearray(strict_b64.decode(parts[part], what="part"))
    # In the header, a letter of the content type: still a well-formed header.
    position = data.index(b"jwk+json") if part == 0 else 0
    data[position] ^= 1
    parts[part] = b64(bytes(data))
    with pytest.raises(Unauthenticated):
        jwe.decrypt(".".join(parts), b"password")


def with_header(**changes: Any) -> str:
    """Return the token with another header; ``...`` removes a member."""
    parts = TOKEN.split(".")
    header = {**json.loads(strict_b64.decode(parts[0], what="header")), **changes}
    return ".".join([b64(json.dumps({k: v for k, v in header.items() if v is not ...}).encode()), *parts[1:]])


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (with_header(p2c=1_000_001), "jwe.iterations"),
        (with_header(p2c=2**63), "jwe.iterations"),
        (with_header(p2c=999), "jwe.iterations"),
        (with_header(p2c=0), "jwe.iterations"),
        (with_header(p2c=-1), "jwe.iterations"),
        (with_header(p2c=True), "jwe.malformed"),
        (with_header(p2c=1000.5), "jwe.malformed"),
        (with_header(p2c="1000"), "jwe.malformed"),
        (with_header(p2c=...), "jwe.malformed"),
        (with_header(p2s=...), "jwe.malformed"),
        (with_header(p2s="AQ"), "jwe.malformed"),
        (with_header(p2s="A" * 2000), "jwe.malformed"),
        (with_header(p2s="A=="), "jose.base64url"),
        (with_header(zip="DEF"), "jwe.unsupported"),
        (with_header(crit=["exp"]), "jwe.unsupported"),
        (with_header(jku="https://localhost/keys"), "jwe.unsupported"),
        (with_header(alg="dir"), "jwe.unsupported"),
        (with_header(alg="RSA1_5"), "jwe.unsupported"),
        (with_header(alg="PBES2-HS512+A256KW"), "jwe.unsupported"),
        (with_header(alg=...), "jwe.unsupported"),
        (with_header(enc="A128CBC-HS256"), "jwe.unsupported"),
        (with_header(enc=["A256GCM"]), "jwe.unsupported"),
        ("", "jwe.malformed"),
        ("a.b.c", "jwe.malformed"),
        ("....", "jwe.malformed"),
        (TOKEN + ".", "jwe.malformed"),
        (TOKEN + "=", "jose.base64url"),
        ("A" * (jwe.LARGEST_JWE + 1), "jwe.malformed"),
    ],
)
def test_a_hostile_document_is_refused_before_any_work(token: str, code: str) -> None:
    """Huge iteration counts, compression and odd algorithms are how a JWE hangs or fools its reader."""
    for attempt in (lambda: jwe.decrypt(token, b"password"), lambda: jwe.check_shape(token)):
        with pytest.raises(RequestRejected) as caught:
            attempt()
        assert caught.value.code == code


def test_a_content_key_of_the_wrong_length_is_refused() -> None:
    """A 16-octet key under the name A256GCM decrypts in lenient readers: the name must be kept."""
    with pytest.raises(Unauthenticated):
        jwe.decrypt(with_header(enc="A256GCM", cty="x"), b"password")
    short = vectors.jose("step_a128gcm")
    parts = short["token"].split(".")
    header = json.loads(strict_b64.decode(parts[0], what="header"))
    parts[0] = b64(json.dumps({**header, "enc": "A256GCM"}).encode())
    with pytest.raises(RequestRejected) as caught:
        jwe.decrypt(".".join(parts), short["password"].encode())
    assert caught.value.code == "jwe.malformed"


@pytest.mark.parametrize("p2c", [0, 999, 1_000_001])
def test_no_count_is_written_that_others_refuse(p2c: int) -> None:
    """step reads nothing above a million; a count below a thousand is no protection."""
    with pytest.raises(RequestRejected):
        jwe.encrypt(b"x", b"p", rng=os.urandom, p2c=p2c)


@given(st.text(max_size=80))
def test_noise_is_refused_not_crashed_on(text: str) -> None:
    """The encrypted key comes from a configuration or a foreign CA."""
    with pytest.raises(ColdrootError):
        jwe.check_shape(text)
