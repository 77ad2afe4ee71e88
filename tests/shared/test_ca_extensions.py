"""Constraints, policies and addresses of CA certificates, judged by openssl."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from fakes.certificates import BEGIN, make_root
from hypothesis import given
from hypothesis import strategies as st

from shared import keys, names
from shared.ca_extensions import (
    ALLOWED_ON_CA,
    CaExtensions,
    describe_subtree,
    parse_http_url,
    parse_oid,
    parse_subtrees,
)
from shared.errors import PolicyDenied, RequestRejected
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.pem import certificate_pem
from shared.profile import intermediate_profile, leaf_profile
from shared.serials import random_serial

TEXTS = [
    "dns:example.com",
    "ip:10.0.0.0/8",
    "ip:fd00::/8",
    "email:example.com",
    "email:a@example.com",
    "uri:.example.com",
]


def test_subtrees_read_back() -> None:
    """A preview that shows another constraint than the signed one would mislead the room."""
    assert [describe_subtree(name) for name in parse_subtrees(TEXTS)] == TEXTS


@pytest.mark.parametrize(
    "text",
    ["", "dns:", "dns:*.a.b", "dns:a b", "ip:10.0.0.1/8", "ip:x", "name:a", "example.com", "uri:http://a.b", "email:@"],
)
def test_doubtful_subtrees(text: str) -> None:
    """A constraint that some validators read differently constrains nothing for them."""
    with pytest.raises(RequestRejected):
        parse_subtrees([text])


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    """No parser may end in another exception."""
    for read in (parse_oid, parse_http_url, lambda value: parse_subtrees([value])):
        try:
            read(text)
        except RequestRejected:
            continue


@pytest.mark.parametrize(
    "text", ["https://a.b/x", "ftp://a.b", "http://", "http:///x", "http://a b/", "http://127.1/x"]
)
def test_addresses_are_http(text: str) -> None:
    """A list behind https can only be fetched by who already trusts what it is meant to check."""
    with pytest.raises(RequestRejected):
        parse_http_url(text)


def test_openssl_enforces_the_constraints(tmp_path: Path) -> None:
    """Constraints that other programs do not see are worth nothing."""
    root, root_key = make_root()
    key = keys.generate(keys.KeyKind.EC_P256)
    extensions = CaExtensions(
        permitted=parse_subtrees(["dns:example.com"]),
        excluded=parse_subtrees(["dns:secret.example.com"]),
        policies=(parse_oid("1.3.6.1.4.1.99999.1"),),
        crl_urls=(parse_http_url("http://pki.example.com/root.crl"),),
        issuer_urls=(parse_http_url("http://pki.example.com/root.crt"),),
    )
    request = IssuanceRequest(
        subject=names.subject(common="Constrained CA"),
        public_key=key.public_key(),
        serial=random_serial(os.urandom),
        not_before=BEGIN,
        not_after=BEGIN + timedelta(days=365),
        extra=extensions.extensions(),
    )
    profile = intermediate_profile(allowed_extensions=ALLOWED_ON_CA)
    constrained = issue(prepare(profile, request, Issuer.from_certificate(root)), root_key)
    assert constrained.extensions.get_extension_for_oid(ExtensionOID.NAME_CONSTRAINTS).critical
    (tmp_path / "root").write_bytes(certificate_pem(root))
    (tmp_path / "ca").write_bytes(certificate_pem(constrained))
    for host, accepted in (("a.example.com", True), ("secret.example.com", False), ("example.org", False)):
        leaf_key = keys.generate(keys.KeyKind.EC_P256)
        wanted = IssuanceRequest(
            subject=names.subject(common=host),
            public_key=leaf_key.public_key(),
            serial=random_serial(os.urandom),
            not_before=BEGIN,
            not_after=BEGIN + timedelta(days=1),
            sans=names.parse_sans([host]),
        )
        leaf = issue(
            prepare(leaf_profile(longest=timedelta(days=1)), wanted, Issuer.from_certificate(constrained)), key
        )
        (tmp_path / "leaf").write_bytes(certificate_pem(leaf))
        done = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-attime", str(int(BEGIN.timestamp()) + 60), "-CAfile",
             tmp_path / "root", "-untrusted", tmp_path / "ca", tmp_path / "leaf"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) is accepted, (host, done.stderr)


def test_constraints_belong_on_cas_and_are_critical() -> None:
    """A constraint that a validator may skip, or on a leaf, is a mistake of whoever wrote the request."""
    root, _ = make_root()
    constraint = CaExtensions(permitted=parse_subtrees(["dns:example.com"])).extensions()[0]
    weak = x509.Extension(constraint.oid, False, constraint.value)
    for profile, extension in (
        (intermediate_profile(allowed_extensions=ALLOWED_ON_CA), weak),
        (leaf_profile(longest=timedelta(days=365), allowed_extensions=ALLOWED_ON_CA), constraint),
        (intermediate_profile(), constraint),
    ):
        request = IssuanceRequest(
            subject=names.subject(common="a.example"),
            public_key=keys.generate(keys.KeyKind.EC_P256).public_key(),
            serial=random_serial(os.urandom),
            not_before=BEGIN,
            not_after=BEGIN + timedelta(days=1),
            sans=names.SanSet() if profile.is_ca else names.parse_sans(["a.example"]),
            extra=(extension,),
        )
        with pytest.raises(PolicyDenied) as denied:
            prepare(profile, request, Issuer.from_certificate(root))
        assert denied.value.code in {"lint.extension.name-constraints", "lint.extension.foreign"}
