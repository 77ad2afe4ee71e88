"""The provisioner extension: step-ca's bytes, and strict reading of what others wrote."""

from __future__ import annotations

import contextlib
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.hierarchy import make_world
from hypothesis import given, settings
from hypothesis import strategies as st

from online.step_extension import STEP_PROVISIONER_OID, StepExtension, parse_step_extension, read_step_extension
from shared.errors import RequestRejected

KID = "E1wFlBZEA5XzSBh3UpljO5VTT4lSMmLYipS1Zm2y8Jc"


def encoded(extension: StepExtension) -> bytes:
    value = extension.encode().value
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value


def test_the_bytes_are_step_cas() -> None:
    """step, step-issuer and a step-ca that takes over later read these bytes; one off and nothing renews."""
    extension = StepExtension(type=1, name="step-cli", credential_id=KID)
    assert encoded(extension) == bytes.fromhex("303a0201010408") + b"step-cli" + bytes.fromhex("042b") + KID.encode()
    assert not extension.encode().critical
    assert extension.encode().oid.dotted_string == "1.3.6.1.4.1.37476.9000.64.1"


def test_pairs_have_gos_string_types() -> None:
    """Go writes plain ASCII as PrintableString and the rest as UTF8String; an empty list is left out."""
    extension = StepExtension(type=6, name="acme", credential_id="", pairs=("a", "b*", "ä"))
    assert encoded(extension) == bytes.fromhex("3018020106040461636d650400300b130161 0c02622a0c02c3a4".replace(" ", ""))
    assert encoded(StepExtension(type=6, name="acme", credential_id="")) == bytes.fromhex("300b020106040461636d650400")


@given(
    number=st.integers(0, 200),
    name=st.text(max_size=40),
    credential=st.text(max_size=60),
    pairs=st.lists(st.text(max_size=10), max_size=4),
)
@settings(max_examples=60)
def test_what_is_written_is_read_back(number: int, name: str, credential: str, pairs: list[str]) -> None:
    """A name that changes on the way renews under another provisioner's limits."""
    extension = StepExtension(type=number, name=name, credential_id=credential, pairs=tuple(pairs))
    assert parse_step_extension(encoded(extension)) == extension


@given(st.binary(max_size=80))
@settings(max_examples=200)
def test_junk_is_refused_not_crashed_on(junk: bytes) -> None:
    """The extension comes in certificates that strangers send: a parser's exception must not reach them."""
    with contextlib.suppress(RequestRejected):
        parse_step_extension(junk)


@pytest.mark.parametrize(
    "mangled",
    [
        pytest.param(lambda good: good + b"\0", id="a byte more"),
        pytest.param(lambda good: good[:-1], id="a byte less"),
        pytest.param(lambda good: b"\x30\x80" + good[2:] + b"\0\0", id="indefinite length"),
        pytest.param(lambda good: good.replace(b"\x02\x01\x01", b"\x02\x02\x00\x01"), id="integer not minimal"),
        pytest.param(lambda good: good.replace(b"admin", b"adm\xff\xfe"), id="not UTF-8"),
        pytest.param(lambda good: good.replace(b"\x04\x05", b"\x0c\x05"), id="another string type"),
    ],
)
def test_only_strict_der_is_read(mangled: object) -> None:
    """Two readers of one encoding that see two names is how limits are walked around."""
    assert callable(mangled)
    good = encoded(StepExtension(type=1, name="admin", credential_id=KID))
    with pytest.raises(RequestRejected):
        parse_step_extension(mangled(good))


async def test_it_stands_last_in_a_leaf_and_openssl_sees_it() -> None:
    """step-ca puts it last and not critical; an independent reader must find it there with the same content."""
    world = make_world()
    chain, _ = await world.leaf()
    assert list(chain[0].extensions)[-1].oid == STEP_PROVISIONER_OID
    found = read_step_extension(chain[0])
    assert found == StepExtension(type=1, name="admin", credential_id=world.provisioner.kid)
    shown = asn1parse(chain[0])
    after = shown[shown.index("1.3.6.1.4.1.37476.9000.64.1") :].splitlines()[1]
    assert after.endswith("[HEX DUMP]:" + encoded(found).hex().upper())


def test_a_certificate_without_it_says_so() -> None:
    """Absent and malformed are two things: one falls back to the store's row, the other is an attack."""
    assert read_step_extension(make_world().pki.intermediate) is None


def asn1parse(certificate: x509.Certificate) -> str:
    pem = certificate.public_bytes(Encoding.PEM)
    return subprocess.run(["openssl", "asn1parse"], input=pem, capture_output=True, check=True).stdout.decode()
