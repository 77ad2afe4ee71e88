"""Descriptions of certificates: the facts, in step's shape, and nothing that could fool a terminal."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID
from fakes.step_ca import FakeCa

from online.inspect import describe, short, text
from online.step_extension import STEP_PROVISIONER_OID, StepExtension
from shared import keys, names
from shared.errors import RequestRejected
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.keys import KeyKind, fingerprint
from shared.profile import leaf_profile
from shared.serials import random_serial

BEGIN = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
KID = "KQQ2wSiGf40CZlNf4Ns0f90niziWyoWxXwOhcYYeyuw"
SANS = ("foo.local", "10.0.0.7", "me@foo.local", "spiffe://foo/bar")


def _leaf(kind: KeyKind = KeyKind.EC_P256, *, provisioner: str = "admin") -> x509.Certificate:
    key = keys.generate(KeyKind.EC_P256)
    issuer = Issuer.new_root(names.subject(common="Test CA", organization="Test"), key.public_key())
    request = IssuanceRequest(
        subject=names.subject(common="foo.local"),
        public_key=keys.generate(kind).public_key(),
        serial=random_serial(os.urandom),
        not_before=BEGIN,
        not_after=BEGIN + timedelta(hours=24),
        sans=names.parse_sans(SANS),
        extra=(StepExtension(type=1, name=provisioner, credential_id=KID).encode(),),
    )
    profile = leaf_profile(longest=timedelta(hours=24), allowed_extensions=frozenset({STEP_PROVISIONER_OID}))
    return issue(prepare(profile, request, issuer), key)


def test_json_has_the_shape_that_the_page_relies_on() -> None:
    """The renewal recipe of the production page reads .validity.start and .end, the revocation one .serial_number."""
    leaf = _leaf()
    found = describe(leaf)
    json.dumps(found)
    assert found["serial_number"] == str(leaf.serial_number)
    assert found["validity"] == {"start": "2026-11-24T06:00:00Z", "end": "2026-11-25T06:00:00Z", "length": 86400}
    assert found["subject"] == {"common_name": ["foo.local"]}
    assert found["issuer_dn"] == "O=Test, CN=Test CA"
    assert found["signature_algorithm"] == {"name": "ECDSA-SHA256", "oid": "1.2.840.10045.4.3.2"}
    assert found["fingerprint_sha256"] == fingerprint(leaf)
    extensions = found["extensions"]
    assert isinstance(extensions, dict)
    assert extensions["key_usage"] == {"digital_signature": True, "value": 1}
    assert extensions["extended_key_usage"] == {"server_auth": True, "client_auth": True}
    assert extensions["subject_alt_name"] == {
        "dns_names": ["foo.local"],
        "email_addresses": ["me@foo.local"],
        "ip_addresses": ["10.0.0.7"],
        "uniform_resource_identifiers": ["spiffe://foo/bar"],
    }
    assert extensions["step_provisioner"] == {"type": "JWK", "name": "admin", "credentialID": KID}
    assert "unknown_extensions" not in extensions


def test_ca_certificates_have_steps_numbers() -> None:
    """A script that reads the key usage's value must find the number that zcrypto computes."""
    ca = FakeCa()
    extensions = describe(ca.intermediate)["extensions"]
    assert isinstance(extensions, dict)
    assert extensions["key_usage"] == {"certificate_sign": True, "crl_sign": True, "value": 96}
    assert extensions["basic_constraints"] == {"is_ca": True, "max_path_len": 0}
    assert short(ca.root).startswith("X.509v3 Root CA Certificate (ECDSA P-256) [Serial: ")
    assert short(ca.intermediate).startswith("X.509v3 Intermediate CA Certificate")


def test_short_is_as_on_the_page() -> None:
    """Five facts, in step's layout."""
    leaf = _leaf()
    serial = str(leaf.serial_number)
    assert short(leaf).splitlines() == [
        f"X.509v3 TLS Certificate (ECDSA P-256) [Serial: {serial[:4]}...{serial[-4:]}]",
        "  Subject:     foo.local",
        "               10.0.0.7",
        "               me@foo.local",
        "               spiffe://foo/bar",
        "  Issuer:      Test CA",
        "  Provisioner: admin [ID: KQQ2...eyuw]",
        "  Valid from:  2026-11-24T06:00:00Z",
        "          to:  2026-11-25T06:00:00Z",
    ]


@pytest.mark.parametrize(
    ("kind", "shown"), [(KeyKind.RSA, "RSA 2048"), (KeyKind.ED25519, "Ed25519 256"), (KeyKind.EC_P521, "ECDSA P-521")]
)
def test_kinds_of_key(kind: KeyKind, shown: str) -> None:
    """Each accepted kind is named, in every format."""
    leaf = _leaf(kind)
    assert f"({shown})" in short(leaf)
    assert shown in text(leaf)
    json.dumps(describe(leaf))


def test_text_tells_all() -> None:
    """Serial in both notations, every extension, the provisioner by name."""
    leaf = _leaf()
    shown = text(leaf)
    for part in (
        f"0x{leaf.serial_number:x}",
        "DNS: foo.local",
        "Key usage (critical):",
        "Name: admin",
        fingerprint(leaf),
    ):
        assert part in shown


def test_a_hostile_name_cannot_steer_the_terminal() -> None:
    """A foreign certificate may hold escape sequences, line breaks and direction overrides in any name."""
    key = keys.generate(KeyKind.EC_P256)
    evil = "ok\x1b[2J\n\u202egood"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, evil)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(BEGIN).not_valid_after(BEGIN + timedelta(1))
    extension = StepExtension(type=1, name=evil, credential_id=evil).encode()
    certificate = builder.add_extension(extension.value, critical=False).sign(key, keys.signature_hash(KeyKind.EC_P256))
    for shown in (short(certificate), text(certificate), json.dumps(describe(certificate), ensure_ascii=False)):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "\n\u202e" not in shown


def test_a_broken_provisioner_extension_hides_nothing() -> None:
    """It is shown as unknown; the rest of the certificate stays readable."""
    key = keys.generate(KeyKind.EC_P256)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "foo.local")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(BEGIN).not_valid_after(BEGIN + timedelta(1))
    broken = x509.UnrecognizedExtension(STEP_PROVISIONER_OID, b"\x30\x03junk")
    certificate = builder.add_extension(broken, critical=False).sign(key, keys.signature_hash(KeyKind.EC_P256))
    assert "Provisioner" not in short(certificate)
    assert "3003" in text(certificate)


def test_an_unreadable_extension_is_an_error_of_ours() -> None:
    """A certificate whose extension is not DER must be one line, not a traceback."""
    key = keys.generate(KeyKind.EC_P256)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "foo.local")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(BEGIN).not_valid_after(BEGIN + timedelta(1))
    broken = x509.UnrecognizedExtension(ExtensionOID.KEY_USAGE, b"\xff\xff")
    signed = builder.add_extension(broken, critical=False).sign(key, keys.signature_hash(KeyKind.EC_P256))
    with pytest.raises(RequestRejected, match="extension"):
        describe(signed)
