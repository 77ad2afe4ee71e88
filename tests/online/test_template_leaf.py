"""Leaves from templates: what the operator fixed and what was verified, and nothing that a name could smuggle in."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from fakes.governed import ca_json, governed_world
from fakes.hierarchy import World, peer
from hypothesis import given
from hypothesis import strategies as st

from online.step_extension import STEP_PROVISIONER_OID
from online.templates import NO_DEFAULTS, fill, parse_template
from shared.errors import ColdrootError, PolicyDenied, RequestRejected
from shared.keys import KeyKind, generate
from shared.names import SanSet, parse_sans

BASE: dict[str, Any] = {"subject": "{{ toJson .Subject }}", "sans": "{{ toJson .SANs }}"}
FULL: dict[str, Any] = {
    "subject": {
        "commonName": "{{ toJson .Subject.CommonName }}",
        "country": "CH",
        "organization": ["Acme", "Acme Holding"],
        "organizationalUnit": "Ops",
        "locality": "Bern",
        "province": "BE",
        "streetAddress": "Gasse 1",
        "postalCode": "3000",
        "serialNumber": "42",
    },
    "sans": "{{ toJson .SANs }}",
    "dnsNames": ["extra.example.com"],
    "keyUsage": ["digitalSignature", "content_commitment", "keyEncipherment"],
    "extKeyUsage": ["clientAuth", "emailProtection"],
    "crlDistributionPoints": ["http://crl.example.com/1.crl", "http://crl2.example.com/1.crl"],
    "issuingCertificateURL": "http://ca.example.com/i.crt",
    "ocspServer": "http://ocsp.example.com",
    "policyIdentifiers": ["1.3.6.1.4.1.55555.1", "2.23.140.1.2.1"],
}


def world(shape: Any, /, **authority: Any) -> World:
    return governed_world(ca_json(provisioner={"options": {"x509": {"template": shape}}}, **authority))


async def leaf(governed: World, subject: str = "a.example.com", *sans: str, kind: KeyKind = KeyKind.EC_P256) -> Any:
    chain, _ = await governed.leaf(subject, sans, key=generate(kind))
    return chain[0]


def openssl_text(certificate: x509.Certificate) -> str:
    return subprocess.run(
        ["openssl", "x509", "-noout", "-text", "-nameopt", "RFC2253"],
        input=certificate.public_bytes(Encoding.PEM),
        capture_output=True,
        check=True,
    ).stdout.decode()


async def test_a_full_template_as_openssl_reads_it() -> None:
    """A judge that is not our own library must find every field, in step-ca's order."""
    certificate = await leaf(world(FULL))
    done = openssl_text(certificate)
    subject = (
        "Subject: serialNumber=42,CN=a.example.com,postalCode=3000,street=Gasse 1,ST=BE,L=Bern,OU=Ops,"
        "O=Acme Holding,O=Acme,C=CH"
    )
    assert subject in done
    assert "DNS:a.example.com, DNS:extra.example.com" in done
    assert "Digital Signature, Non Repudiation\n" in done
    assert "TLS Web Client Authentication, E-mail Protection" in done
    assert done.index("OCSP - URI:http://ocsp.example.com") < done.index("CA Issuers - URI:http://ca.example.com/i.crt")
    assert done.count("Full Name") == 2
    assert "Policy: 1.3.6.1.4.1.55555.1" in done
    assert [each.oid for each in certificate.extensions] == [
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        STEP_PROVISIONER_OID,
    ]
    assert [each.oid for each in certificate.extensions if each.critical] == [ExtensionOID.KEY_USAGE]


@pytest.mark.parametrize(
    ("kind", "usages"),
    [
        (KeyKind.RSA, {"digital_signature", "content_commitment", "key_encipherment", "data_encipherment"}),
        (KeyKind.EC_P256, {"digital_signature", "content_commitment", "key_agreement"}),
        (KeyKind.ED25519, {"digital_signature", "content_commitment"}),
    ],
)
async def test_a_key_is_not_declared_for_what_it_cannot_do(kind: KeyKind, usages: set[str]) -> None:
    """RFC 8813 and 8410 forbid it, and strict clients refuse such certificates."""
    names = ["digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement"]
    certificate = await leaf(world({**BASE, "keyUsage": names}), kind=kind)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign")  # fmt: skip
    assert {each for each in every if getattr(usage, each)} == usages


async def test_the_policy_judges_what_the_template_made() -> None:
    """A template must not be a way around the authority's policy."""
    governed = world({**BASE, "dnsNames": "evil.test"}, policy={"x509": {"deny": {"dns": ["evil.test"]}}})
    with pytest.raises(PolicyDenied, match="evil"):
        await leaf(governed)


async def test_fixed_names_only() -> None:
    """A template may give every leaf one and the same name, whatever the token says."""
    certificate = await leaf(
        world({"subject": "svc.example.com", "sans": [{"type": "dns", "value": "svc.example.com"}]})
    )
    assert certificate.subject.rfc4514_string() == "CN=svc.example.com"
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == (
        x509.SubjectAlternativeName([x509.DNSName("svc.example.com")])
    )


async def test_the_subject_as_a_name_of_one_kind() -> None:
    """A token's subject that the template makes an e-mail address must be one."""
    template = {"subject": "{{ .Subject }}", "emailAddresses": "{{ toJson .Subject.CommonName }}"}
    certificate = await leaf(world(template), "me@example.com")
    assert (
        x509.RFC822Name("me@example.com")
        in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    )
    with pytest.raises(RequestRejected) as caught:
        await leaf(world(template), "a.example.com")
    assert caught.value.code == "name.email"


async def test_subject_defaults_fill_what_is_left_out() -> None:
    """authority.template is for every provisioner; a template's own attributes win."""
    defaults = {"country": "AT", "organization": "Default", "organizationalUnit": "Unit", "commonName": "a.example.com"}
    certificate = await leaf(world({**BASE, "subject": {"organization": "Own"}}, template=defaults))
    assert certificate.subject.rfc4514_string() == "CN=a.example.com,OU=Unit,O=Own,C=AT"
    plain = await leaf(governed_world(ca_json(template=defaults)))
    assert plain.subject.rfc4514_string() == "CN=a.example.com,OU=Unit,O=Default,C=AT"


async def test_a_common_name_that_is_no_alternative_name_stays_out_beside_attributes() -> None:
    """An organisation in the subject is no reason to let an unchecked common name in."""
    governed = world({**BASE, "subject": {"commonName": "other.example.com", "organization": "Acme"}})
    assert (await leaf(governed)).subject.rfc4514_string() == "O=Acme"


async def test_renewal_keeps_what_the_template_gave() -> None:
    """A leaf for client authentication must not become a server's by renewing, nor lose its CRL."""
    governed = world(FULL)
    chain, _ = await governed.leaf()
    renewed = (await governed.authority.renew(peer(chain)))[0]
    old = {each.oid: each.value for each in chain[0].extensions}
    assert {each.oid: each.value for each in renewed.extensions} == old
    assert renewed.subject == chain[0].subject


async def test_a_usage_that_the_template_lost_is_not_renewed() -> None:
    """A provisioner that may no longer certify for e-mail must not go on doing so by renewals."""
    governed = world(FULL)
    chain, _ = await governed.leaf()
    narrowed = governed_world(
        ca_json(provisioner={"options": {"x509": {"template": {**FULL, "extKeyUsage": "clientAuth"}}}}), world=governed
    )
    with pytest.raises(PolicyDenied) as caught:
        await narrowed.authority.renew(peer(chain))
    assert caught.value.code == "renew.extended-key-usage"


async def test_no_usage_in_the_template_means_tls_and_not_anything() -> None:
    """A certificate without extended key usage is good for everything; step-ca issues that from such a template."""
    certificate = await leaf(world(BASE))
    assert set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }


@pytest.mark.parametrize(
    "attack",
    [
        'a.example.com", "basicConstraints": {"isCA": true}, "x": "',
        'x"}, "keyUsage": ["certSign"], "subject": {"commonName": "y',
        "{{ toJson .SANs }}",
        "{{ .Insecure.CR }}",
        "a\\",
        "a\n.example.com",
        "a\x00.example.com",
        "\u202emoc.elpmaxe",
        "</script>",
        "a.example.com,O=Evil",
        "}}",
    ],
)
@pytest.mark.parametrize("place", ["subject", "san"])
async def test_a_name_cannot_change_the_structure(attack: str, place: str) -> None:
    """step-ca's template injection (its issue 435): a name with quotes made a CA out of a leaf."""
    governed = world(FULL)
    subject, sans = (attack, ["a.example.com"]) if place == "subject" else ("a.example.com", ["a.example.com", attack])
    key = generate(KeyKind.EC_P256)
    try:
        chain = await governed.authority.sign(
            governed.csr("", ["a.example.com"], key=key), governed.token(subject, sans)
        )
    except ColdrootError:
        assert governed.store.writes == []
        return
    # Whoever gets past as a common name is left out of the subject, because it is no alternative name.
    extensions = chain[0].extensions
    assert chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME) == []
    assert [each.value for each in chain[0].subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == [
        "Acme",
        "Acme Holding",
    ]
    assert ExtensionOID.BASIC_CONSTRAINTS not in {each.oid for each in extensions}
    assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


TEMPLATE = parse_template(FULL, path="t")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text('"{}[]:,\\\n. abc', max_size=30)


@given(TEXTS)
def test_any_subject_gives_the_same_shape_or_a_refusal(subject: str) -> None:
    """Whatever a token says, only the common name can differ from one leaf to the next."""
    sans = parse_sans(["a.example.com"])
    try:
        filled = fill(TEMPLATE, subject=subject, sans=sans, kind=KeyKind.EC_P256, defaults=NO_DEFAULTS)
    except RequestRejected:
        return
    usual = fill(TEMPLATE, subject="b.c", sans=sans, kind=KeyKind.EC_P256, defaults=NO_DEFAULTS)
    assert filled.extensions == usual.extensions
    assert filled.purposes == usual.purposes
    assert filled.sans == SanSet(dns=("a.example.com", "extra.example.com"))
    rest = [each for each in filled.subject if each.oid != NameOID.COMMON_NAME]
    assert rest == list(usual.subject)
