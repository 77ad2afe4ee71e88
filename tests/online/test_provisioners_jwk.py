"""JWK provisioners as a ca.json has them and as ``/provisioners`` shows them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import vectors
from fakes.tokens import SIGNER

from online.claims import Claims
from online.jose.jwe import decrypt
from online.jose.jwk import parse_private_jwk
from online.provisioners.jwk import JwkProvisioner, parse_jwk_provisioner
from shared.errors import ColdrootError, RequestRejected, Unsupported

ENTRY: dict[str, Any] = vectors.step_ca_json()["authority"]["provisioners"][0]
PATH = "authority.provisioners[0]"


def parse(**changes: Any) -> JwkProvisioner:
    """Parse step's entry with changes; ``...`` removes a key."""
    entry = {name: value for name, value in {**ENTRY, **changes}.items() if value is not ...}
    return parse_jwk_provisioner(entry, path=PATH, above=Claims(), home=Path())


def test_steps_entry_is_read_and_shown_again_unchanged() -> None:
    """The CLI takes key and encryptedKey from the listing: they must be the file's."""
    found = parse()
    assert found.public_json() == ENTRY
    assert list(found.public_json()) == ["type", "name", "key", "encryptedKey"]
    assert found.id == f"admin:{ENTRY['key']['kid']}"
    assert (found.type.wire_name, found.type.number, found.kid) == ("JWK", 1, ENTRY["key"]["kid"])


def test_the_published_key_opens_with_its_password() -> None:
    """The listing is only of use to a client that can decrypt the key in it."""
    found = parse()
    assert found.encrypted_key is not None
    private = parse_private_jwk(decrypt(found.encrypted_key, b"pass1234"))
    assert private.public() == found.key


def test_the_encrypted_key_does_not_show() -> None:
    """It is public on the wire, but a guessing target all the same; it has no place in logs."""
    assert ENTRY["encryptedKey"] not in repr(parse())


def test_without_an_encrypted_key_none_is_published() -> None:
    """An operator who keeps the key elsewhere leaves it out, and nobody can guess at it."""
    assert parse(encryptedKey=...).encrypted_key is None
    assert "encryptedKey" not in parse(encryptedKey="").public_json()


def test_own_claims_are_laid_over_the_authoritys() -> None:
    """The listing shows what is stated; issuing uses what results."""
    found = parse(claims={"maxTLSCertDuration": "48h", "disableRenewal": True})
    assert found.claims.max_tls == timedelta(hours=48)
    assert found.claims.min_tls == timedelta(minutes=5)
    assert found.public_json()["claims"] == {"maxTLSCertDuration": "48h0m0s", "disableRenewal": True}


@pytest.mark.parametrize("options", [None, {}, {"x509": {}, "ssh": {}}, {"x509": None}, {"x509": {"template": ""}}])
def test_empty_options_are_accepted(options: Any) -> None:
    """step-ca's admin API writes them into every provisioner."""
    assert parse(options=options).name == "admin"


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({"options": {"x509": {"template": "{}"}}}, "config.malformed", "options.x509.template.sans"),
        ({"options": {"x509": {"templateFile": "/nowhere"}}}, "config.malformed", "options.x509.templateFile"),
        ({"options": {"ssh": {"template": "{}"}}}, "config.unsupported-key", "options.ssh"),
        ({"options": {"webhooks": [{"name": "w"}]}}, "config.unsupported-key", "options.webhooks"),
        ({"options": {"x508": {}}}, "config.unknown-key", "options.x508"),
        ({"options": []}, "config.wrong-type", "options"),
        ({"claims": {"enableSSHCA": True}}, "config.unsupported-key", "claims.enableSSHCA"),
        ({"claims": {"maxTLSCertDuratoin": "1h"}}, "config.unknown-key", "claims.maxTLSCertDuratoin"),
        ({"claims": {"maxTLSCertDuration": "1h"}}, "config.malformed", ""),
        ({"claims": {"maxTLSCertDuration": 60}}, "config.wrong-type", "claims.maxTLSCertDuration"),
        ({"claims": []}, "config.wrong-type", "claims"),
        ({"name": ...}, "config.missing-key", "name"),
        ({"name": 7}, "config.wrong-type", "name"),
        ({"name": "a\nb"}, "config.malformed", "name"),
        ({"name": "n" * 257}, "config.malformed", "name"),
        ({"key": ...}, "config.missing-key", "key"),
        ({"key": {"kty": "oct", "k": "AA"}}, "config.malformed", "key"),
        ({"key": {**ENTRY["key"], "x": ENTRY["key"]["y"]}}, "config.malformed", "key"),
        ({"key": json.loads(SIGNER.to_json_bytes())}, "config.malformed", "key"),
        ({"encryptedKey": "a.b.c"}, "config.malformed", ""),
        ({"encryptedKey": 5}, "config.wrong-type", "encryptedKey"),
        ({"encryptedkey": ""}, "config.unknown-key", "encryptedkey"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], code: str, where: str) -> None:
    """Each error says where in the file, so that the operator can mend it without reading code."""
    with pytest.raises(ColdrootError) as caught:
        parse(**changes)
    assert caught.value.code == code
    assert (f"{PATH}.{where}" if where else PATH) in caught.value.message
    assert isinstance(caught.value, Unsupported) == (code == "config.unsupported-key")


def test_a_private_key_in_the_file_is_treated_as_stolen() -> None:
    """``key`` is served to everybody: the hint must say that changing the file is not enough."""
    with pytest.raises(RequestRejected) as caught:
        parse(key=json.loads(SIGNER.to_json_bytes()))
    assert caught.value.hint is not None
    assert "stolen" in caught.value.hint
    assert json.loads(SIGNER.to_json_bytes())["d"] not in caught.value.message
