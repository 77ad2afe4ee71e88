"""Reading templates: step-ca's default forms load, everything else is refused by name, and nothing crashes."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.governed import ca_json
from hypothesis import example, given
from hypothesis import strategies as st

from online.strict_json import Json
from online.templates import DEFAULT_TEMPLATE, LeafTemplate, parse_subject_defaults, parse_template
from shared.errors import ColdrootError, RequestRejected, Unsupported
from shared.keys import KeyKind
from shared.profile import KeyPurpose

PATH = "authority.provisioners[0].options.x509.template"
# The constructs of step-ca's default template for leaves, which many operators start from.
DEFAULT_FORMS = """
{
    "subject": {{ toJson .Subject }},
    "sans": {{ toJson .SANs }},
    {{- if typeIs "*rsa.PublicKey" .Insecure.CR.PublicKey }}
    "keyUsage": ["keyEncipherment", "digitalSignature"],
    {{- else }}
    "keyUsage": ["digitalSignature"],
    {{- end }}
    "extKeyUsage": ["serverAuth", "clientAuth"]
}
"""
MINIMAL = '{"subject": {{ toJson .Subject }}, "sans": {{ toJson .SANs }}'


def read(template: Json, data: Json = None) -> LeafTemplate:
    return parse_template(template, path=PATH, data=data, data_path="templateData")


def refuse(template: Json, data: Json = None) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        read(template, data)
    assert caught.value.message.isprintable()
    return caught.value


def test_the_forms_of_steps_default_template() -> None:
    """A provisioner whose template is step-ca's own, or a variation of it, must carry over."""
    found = read(DEFAULT_FORMS)
    assert found.rsa.purposes == {KeyPurpose.DIGITAL_SIGNATURE, KeyPurpose.KEY_ENCIPHERMENT}
    assert found.other.purposes == {KeyPurpose.DIGITAL_SIGNATURE}
    assert found.shape(KeyKind.RSA) is found.rsa
    assert found.shape(KeyKind.ED25519) is found.other
    assert found.other.subject == DEFAULT_TEMPLATE.other.subject
    assert found.other.sans == DEFAULT_TEMPLATE.other.sans
    assert found.other.extended_key_usage == DEFAULT_TEMPLATE.other.extended_key_usage


def test_base64_and_object_say_the_same() -> None:
    """step-ca takes the text in Base64 too; an object saves the escaping, and step-ca does not know it."""
    text = MINIMAL + ', "extKeyUsage": "clientAuth"}'
    as_object: Json = {
        "subject": "{{ toJson .Subject }}",
        "sans": "{{toJson .SANs}}",
        "extKeyUsage": ["clientAuth"],
    }
    assert read(text) == read(base64.b64encode(text.encode()).decode()) == read(as_object)
    assert read(text).rsa.extended_key_usage == (ExtendedKeyUsageOID.CLIENT_AUTH,)


def test_template_data_is_put_in_as_values() -> None:
    """templateData with quotes in it stays one value; in step-ca it may become structure."""
    odd = 'Acme", "organizationalUnit": "Root'
    found = read(
        '{"subject": {"commonName": {{ toJson .Subject.CommonName }}, "organization": {{ toJson .Org }},'
        ' "organizationalUnit": "{{ .Units }}"}, "sans": {{ toJson .SANs }}}',
        {"Org": odd, "Units": ["A", "B"], "unused": 1},
    )
    assert dict(found.rsa.subject.attributes) == {"organization": (odd,), "organizationalUnit": ("A", "B")}
    assert found.rsa.subject.from_token


@pytest.mark.parametrize(
    ("template", "hint"),
    [
        ('{"subject": {{ toJson .Insecure.CR.Subject }}}', "request"),
        ('{"subject": {"commonName": {{ toJson .Insecure.User.cn }}}}', "client"),
        ('{"subject": {{ toJson .Token.sub }}}', "token"),
        ('{"subject": {{ toJson .Webhooks.x }}}', "webhooks"),
        ('{"subject": {{ toJson .AuthorizationCrt.Subject }}}', "templateData"),
        ("{{ if .SANs }}{}{{ end }}", "provisioner"),
        ('{{ range .SANs }}"x"{{ end }}', "list"),
        ('{{ fail "no" }}', "policy"),
        ("{{ with .Subject }}{}{{ end }}", "provisioner"),
        ('{"sans": {{ toJson .Unknown }}}', "templateData"),
        ('{"sans": {{ .SANs | toJson }}}', "toJson"),
        ('{"sans": {{ printf "%s" .Subject }}}', "toJson"),
        ('{"sans": {{/* comment */}} []}', "toJson"),
        ('{"sans": "{{ index .SANs 0 }}"}', "toJson"),
        ('{"subject": {"commonName": "{{ .Subject.CommonName }}.example.com"}}', "whole"),
        ('{"subject": {"commonName": "a{{ .Subject.CommonName }}"}}', "whole"),
        ('{"subject": {"organization": "{{ .Subject.Organization }}"}}', "toJson"),
        ('{"subject": {"commonName": "x}}"}}', "whole"),
    ],
)
def test_an_action_that_is_not_supported_is_named(template: str, hint: str) -> None:
    """Text put together from what clients say is how structure gets in; the operator learns what to do instead."""
    error = refuse("{" + template if not template.startswith("{") else template)
    assert isinstance(error, Unsupported)
    assert error.code == "config.unsupported-template"
    assert error.message.startswith(PATH)
    assert error.hint is not None
    assert hint in error.hint


@pytest.mark.parametrize(
    "template",
    [
        "",
        "[]",
        "{",
        "{}",
        "{{",
        '{"sans": {{ toJson .SANs }',
        '{"a": "{{ toJson .SANs',
        MINIMAL + ",}",
        MINIMAL + '}{"x":1}',
        MINIMAL + ', "sans": []}',
        "{{ else }}",
        "{{ end }}",
        '{{ if typeIs "*rsa.PublicKey" .Insecure.CR.PublicKey }}{}',
        '{{ if typeIs "*rsa.PublicKey" .Insecure.CR.PublicKey }}{{ else }}{{ else }}{{ end }}',
        '{"{{ toJson .SANs }}": 1}',
        '{"subject": {{ toJson .SANs }}, "sans": {{ toJson .SANs }}}',
        '{"subject": {"organization": {{ toJson .Subject }}}, "sans": {{ toJson .SANs }}}',
        '{"subject": {"organization": {{ toJson .Subject.CommonName }}}, "sans": {{ toJson .SANs }}}',
        '{"subject": {{ toJson .Subject }}, "sans": {{ toJson .Subject }}}',
        '{"subject": {{ toJson .Subject }}, "dnsNames": {{ toJson .SANs }}}',
        '{"subject": {{ toJson .Subject }}, "sans": [{{ toJson .SANs }}]}',
        MINIMAL + ', "keyUsage": {{ toJson .SANs }}}',
        '{"subject": {"commonName": ["a"]}, "sans": {{ toJson .SANs }}}',
        '{"subject": 1, "sans": {{ toJson .SANs }}}',
        MINIMAL + ', "dnsNames": "a b"}',
        MINIMAL + ', "dnsNames": ["10.0.0.1"]}',
        MINIMAL + ', "ipAddresses": "a.b"}',
        MINIMAL + ', "dnsNames": [""]}',
        '{"subject": "x", "sans": [{"type": "dns"}]}',
    ],
)
def test_a_template_that_does_not_hold_together(template: str) -> None:
    """A broken template must stop the configuration, not the first request."""
    assert refuse(template).code.startswith("config.")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 3),
        ("issuer", {"commonName": "Root"}),
        ("serialNumber", "1"),
        ("rawSubject", "MAA="),
        ("notBefore", "2026-01-01T00:00:00Z"),
        ("notAfter", "2099-01-01T00:00:00Z"),
        ("extensions", [{"id": "1.2.3", "value": "AAA="}]),
        ("nameConstraints", {"critical": True}),
        ("signatureAlgorithm", "SHA1-RSA"),
        ("subjectKeyId", "AAAA"),
        ("authorityKeyId", "AAAA"),
        ("unknownExtKeyUsage", ["1.2.3"]),
        ("basicConstraints", {"isCA": True}),
        ("basicConstraints", {"isCA": False, "maxPathLen": 1}),
        ("keyUsage", ["digitalSignature", "certSign"]),
        ("keyUsage", ["crlSign"]),
        ("keyUsage", ["digitalSignature", "encipherOnly"]),
        ("extKeyUsage", ["any"]),
        ("extKeyUsage", ["ocspSigning"]),
        ("extKeyUsage", ["timeStamping"]),
        ("extKeyUsage", ["1.2.3"]),
    ],
)
def test_what_a_leaf_must_not_have(field: str, value: Any) -> None:
    """A template that makes CAs, responders or leaves without end turns any token into the whole CA."""
    error = refuse({"subject": "{{ toJson .Subject }}", "sans": "{{ toJson .SANs }}", field: value})
    assert isinstance(error, Unsupported)
    assert f"{PATH}.{field}" in error.message
    assert error.hint


def test_what_is_true_of_every_leaf_may_be_said() -> None:
    """basicConstraints with isCA false stands in many templates and changes nothing."""
    found = read({"sans": "{{ toJson .SANs }}", "basicConstraints": {"isCA": False, "maxPathLen": 0}})
    assert found.rsa.extensions == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keyUsage", ["keyEncipherment"]),
        ("crlDistributionPoints", ["ldap://x/y"]),
        ("crlDistributionPoints", ["http://"]),
        ("crlDistributionPoints", ["http://x/\n"]),
        ("crlDistributionPoints", [1]),
        ("ocspServer", "ocsp.example.com"),
        ("issuingCertificateURL", ["http://a b/"]),
        ("policyIdentifiers", ["1"]),
        ("policyIdentifiers", ["3.1"]),
        ("policyIdentifiers", ["0.99"]),
        ("policyIdentifiers", ["1.2.03"]),
        ("policyIdentifiers", ["1." + "9" * 60]),
        ("policyIdentifiers", {"a": 1}),
        ("subject", {"country": "ch"}),
        ("subject", {"country": "CHE"}),
        ("subject", {"organization": "x" * 65}),
        ("subject", {"organization": "a\nb"}),
        ("subject", {"organization": " a"}),
        ("subject", {"organization": "\u202egnirts"}),
        ("subject", {"organization": [["a"]]}),
        ("subject", {"serialNumber": "a_b"}),
        ("subject", {"serialNumber": ["1"]}),
        ("subject", {"emailAddress": "a@b.c"}),
        ("subject", {"extraNames": [{"type": "1.2.3", "value": "x"}]}),
    ],
)
def test_a_value_that_could_not_stand_in_a_certificate(field: str, value: Any) -> None:
    """Found when the configuration is read, and not in the thousandth certificate."""
    error = refuse({"subject": "{{ toJson .Subject }}", "sans": "{{ toJson .SANs }}", field: value})
    assert f"{PATH}.{field}" in error.message


@pytest.mark.parametrize(
    "data", [[], "x", {"Subject": 1}, {"Insecure": {}}, {"a": "{{ .SANs }}"}, {"a": [{"b": "}}"}]}, {"a": {"{{": 1}}]
)
def test_template_data_that_is_more_than_data(data: Any) -> None:
    """A value in the name of something verified, or an action out of the data, would be believed."""
    assert refuse(MINIMAL + "}", data).code in {"config.malformed", "config.wrong-type"}


def test_a_template_in_a_file(tmp_path: Path) -> None:
    """Long templates live beside the configuration; a missing, huge or binary one is named by its key."""
    config = tmp_path / "config" / "ca.json"
    options = {"options": {"x509": {"templateFile": "templates/leaf.tpl", "templateData": {"Unit": "A"}}}}
    file = tmp_path / "templates" / "leaf.tpl"
    file.parent.mkdir()
    where = r"authority\.provisioners\[0\]\.options\.x509\.templateFile"
    with pytest.raises(RequestRejected, match=where):
        ca_json(path=config, provisioner=options)
    for content in (b"\xff", b'{"a":' + b" " * (65 << 10) + b"1}", b"{}"):
        file.write_bytes(content)
        with pytest.raises(RequestRejected, match=where):
            ca_json(path=config, provisioner=options)
    file.write_text('{"subject": {"organizationalUnit": {{ toJson .Unit }}}, "sans": {{ toJson .SANs }}}')
    found = ca_json(path=config, provisioner=options)
    assert dict(found.provisioners[0].rules.template.rsa.subject.attributes) == {"organizationalUnit": ("A",)}


@pytest.mark.parametrize(
    "x509",
    [
        {"template": MINIMAL + "}", "templateFile": "x"},
        {"templateData": {"a": 1}},
        {"template": 1},
        {"template": "{}", "templates": "x"},
    ],
)
def test_options_that_contradict_each_other(x509: Any) -> None:
    """Of two templates one would be ignored in silence, and data without a template does nothing."""
    with pytest.raises(RequestRejected, match="options"):
        ca_json(provisioner={"options": {"x509": x509}})


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"country": "Austria"}, "authority.template.country"),
        ({"organization": "a\x00"}, "authority.template.organization"),
        ({"commonName": "x" * 65}, "authority.template.commonName"),
        ({"postalCode": "1"}, "authority.template.postalCode"),
        ({"organisation": "x"}, "authority.template.organisation"),
        ({"locality": ["x"]}, "authority.template.locality"),
        ("x", "authority.template"),
    ],
)
def test_subject_defaults_are_read_strictly(value: Any, where: str) -> None:
    """authority.template ends in every leaf; a typing error would end there too, or leave it out."""
    with pytest.raises(RequestRejected) as caught:
        parse_subject_defaults(value, path="authority.template")
    assert caught.value.message.startswith(where)


PIECES = st.sampled_from(
    ["{", "}",
     '"', "\\", "{{", "}}", ":", ",", "[", "]", " ", "-", "toJson", ".Subject", ".SANs", '"sans"', '"subject"',
     "{{ toJson .SANs }}", "{{ toJson .Subject }}", "{{ else }}", "{{ end }}", "if", 'typeIs "*rsa.PublicKey"',
     '{{ if typeIs "*rsa.PublicKey" .Insecure.CR.PublicKey }}', "\n", "x", "\ud800", "\x00", "é"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=30))
@example('{"a": "\\')
@example('{{ "')
@example("{{-}}")
@example("{{--}}")
def test_any_text_is_read_or_refused(template: str) -> None:
    """An operator's slip of the pen at SIGHUP must not end a worker."""
    with contextlib.suppress(ColdrootError):
        read(template)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(
        ["{{ toJson .SANs }}", "{{ toJson .Subject }}", "{{ .X }}", "serverAuth", "http://a.b/", "1.2.3"]
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["subject", "sans", "type", "value", "dnsNames", "ipAddresses", "uris", "keyUsage", "extKeyUsage", "isCA",
             "basicConstraints", "crlDistributionPoints", "ocspServer", "policyIdentifiers", "organization", "country"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=10,
)  # fmt: skip


@given(VALUES, VALUES)
def test_any_object_is_read_or_refused(template: Json, data: Json) -> None:
    """The same for the object form and for templateData."""
    with contextlib.suppress(ColdrootError):
        read(template, data)
