"""Private keys in PEM files, with OpenSSL as the judge of both directions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import keys
from shared.errors import ColdrootError, RequestRejected, Unauthenticated
from shared.keys import KeyKind, PrivateKey
from shared.keystore import load_private_key, open_key, private_key_pem
from shared.keystore.software import LARGEST_KEY_FILE


def nobody(prompt: str) -> bytes:
    raise AssertionError(f"no secret was to be asked for: {prompt}")


def password(prompt: str) -> bytes:
    assert "key file" in prompt
    return b"correct horse"


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True)
    return done.stdout


def same(one: PrivateKey, other: PrivateKey) -> bool:
    return keys.spki(one.public_key()) == keys.spki(other.public_key())


@pytest.mark.parametrize("kind", list(KeyKind))
def test_round_trip_encrypted(kind: KeyKind) -> None:
    """A key that cannot be read back is a lost CA."""
    key = keys.generate(kind)
    pem = private_key_pem(key, b"correct horse", rounds=1000)
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert same(load_private_key(pem, password, what="key file"), key)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_openssl_reads_what_we_write(kind: KeyKind) -> None:
    """Our own DER would be worthless if only we could read it: in a disaster the key must open without coldroot."""
    key = keys.generate(kind)
    pem = private_key_pem(key, b"correct horse", rounds=1000)
    public = openssl("pkey", "-passin", "pass:correct horse", "-pubout", "-outform", "DER", stdin=pem)
    assert public == keys.spki(key.public_key())
    plain = private_key_pem(key, None)
    assert openssl("pkey", "-pubout", "-outform", "DER", stdin=plain) == public


def test_the_password_costs_600000_rounds() -> None:
    """The library's own 2048 rounds would let a stolen key file be guessed open."""
    pem = private_key_pem(keys.generate(KeyKind.EC_P256), b"correct horse")
    parsed = openssl("asn1parse", stdin=pem).decode()
    assert "PBES2" in parsed
    assert "hmacWithSHA256" in parsed
    assert "aes-256-cbc" in parsed
    assert f":{600_000:06X}\n" in parsed
    load_private_key(pem, password, what="key file")


@pytest.mark.parametrize("arguments", [["-traditional", "-aes256"], ["-traditional"], ["-aes128"]])
def test_forms_that_openssl_and_step_write(arguments: list[str]) -> None:
    """A step-ca directory has its key in SEC 1 with RFC 1421 encryption headers; it must be usable as it is."""
    key = keys.generate(KeyKind.EC_P256)
    pem = openssl("pkey", *arguments, "-passout", "pass:correct horse", stdin=private_key_pem(key, None))
    encrypted = any(each.startswith("-aes") for each in arguments)
    assert same(load_private_key(pem, password if encrypted else nobody, what="key file"), key)


def test_curve_parameters_before_the_key() -> None:
    """`openssl ecparam -genkey` writes two blocks; the first is not a key."""
    pem = openssl("ecparam", "-name", "prime256v1", "-genkey")
    assert b"EC PARAMETERS" in pem
    assert isinstance(load_private_key(pem, nobody, what="key file"), ec.EllipticCurvePrivateKey)


@pytest.mark.parametrize("traditional", [True, False])
def test_wrong_password(traditional: bool) -> None:
    """A wrong password must be told from a broken file, and must not stand in the error."""
    key = keys.generate(KeyKind.EC_P384)
    pem = private_key_pem(key, b"right", rounds=1000)
    if traditional:
        pem = openssl("pkey", "-traditional", "-aes256", "-passout", "pass:right", stdin=private_key_pem(key, None))
    with pytest.raises(Unauthenticated) as caught:
        load_private_key(pem, lambda _: b"hunter2", what="key file")
    assert caught.value.code == "key.wrong-password"
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(Unauthenticated):
        load_private_key(pem, lambda _: b"", what="key file")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not pem",
        b"\x30\x03\x02\x01\x00",
        b"-----BEGIN PRIVATE KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"x" * (LARGEST_KEY_FILE + 1),
        private_key_pem(keys.generate(KeyKind.EC_P256), None) * 2,
    ],
)
def test_not_one_key(data: bytes) -> None:
    """A certificate, a bundle or two keys in the place of one key: choosing one would be a guess."""
    with pytest.raises(RequestRejected) as caught:
        load_private_key(data, nobody, what="key file")
    assert caught.value.code == "key.not-pem"


def test_unacceptable_kinds() -> None:
    """A key that cannot sign, or is too weak, must be refused when it is read, not when it is used."""
    exchange = x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    weak = openssl("genrsa", "1024")
    koblitz = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1")
    for data, code in ((exchange, "key.unsupported"), (weak, "key.weak"), (koblitz, "key.unsupported")):
        with pytest.raises(RequestRejected) as caught:
            load_private_key(data, nobody, what="key file")
        assert caught.value.code == code


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_garbage_in_armour(body: bytes) -> None:
    """A damaged file must give one line, whatever stands in it."""
    for label in (b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"EC PRIVATE KEY"):
        data = b"-----BEGIN " + label + b"-----\n" + body + b"\n-----END " + label + b"-----\n"
        with pytest.raises(ColdrootError):
            load_private_key(data, lambda _: b"x", what="key file")


def test_empty_password_is_refused() -> None:
    """An empty password file would leave the CA's key in the clear while it looks encrypted."""
    with pytest.raises(RequestRejected) as caught:
        private_key_pem(keys.generate(KeyKind.EC_P256), b"")
    assert caught.value.code == "key.empty-password"


def test_open_key_in_a_file(tmp_path: Path) -> None:
    """The node opens its key by the `key` of ca.json, relative to its home."""
    key = keys.generate(KeyKind.EC_P256)
    (tmp_path / "secrets").mkdir()
    file = tmp_path / "secrets" / "k"
    file.write_bytes(private_key_pem(key, b"correct horse", rounds=1000))
    file.chmod(0o600)
    for uri in ("secrets/k", "file:secrets/k", str(file)):
        with open_key(uri, password, base=tmp_path) as opened:
            assert same(opened, key)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_an_exposed_key_file_is_refused(tmp_path: Path, mode: int) -> None:
    """A key that others can read is not a CA key any more; using it in silence would hide that."""
    file = tmp_path / "k"
    file.write_bytes(private_key_pem(keys.generate(KeyKind.EC_P256), None))
    file.chmod(mode)
    with pytest.raises(RequestRejected) as caught, open_key(str(file), nobody):
        pass
    assert caught.value.code == "file.exposed"


def test_missing_key_file(tmp_path: Path) -> None:
    """A typo in the path must name the path."""
    with pytest.raises(RequestRejected) as caught, open_key("nowhere", nobody, base=tmp_path):
        pass
    assert caught.value.code == "file.missing"
    assert "nowhere" in caught.value.message
