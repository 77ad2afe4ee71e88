"""A provisioner's key on the operator's side: found, unlocked, and only ever the published one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.step_ca import FakeCa, serving

from online.client import Client
from online.https import parse_ca_url
from online.jose import jwe, jws
from online.jose.jwk import PrivateJwk
from online.provisioners.protocol import Operation
from online.signer import online_minter, unlock_from_ca
from online.trust import Trust
from shared import keys
from shared.errors import NotFound, RequestRejected, Unauthenticated
from shared.keys import KeyKind
from shared.terminal import SecretCallback

ONE, TWO = (PrivateJwk.of(keys.generate(KeyKind.EC_P256)) for _ in range(2))
NOW = datetime.now(UTC)


def _entry(name: str, signer: PrivateJwk, *, sealed: PrivateJwk | None = None) -> dict[str, object]:
    encrypted = jwe.encrypt((sealed or signer).to_json_bytes(), b"secret", rng=os.urandom, p2c=1000)
    return {"type": "JWK", "name": name, "key": signer.public().to_json(), "encryptedKey": encrypted}


@pytest.fixture(name="ca")
def _ca(tmp_path: Path) -> Iterator[FakeCa]:
    ca = FakeCa()
    ca.provisioners = [_entry("one", ONE), {"type": "ACME", "name": "acme"}]
    with serving(ca, tmp_path) as running:
        yield running


@pytest.fixture(name="client")
def _client(ca: FakeCa) -> Client:
    return Client(parse_ca_url(ca.url), roots=(ca.root,))


def _secret(prompt: str) -> bytes:
    assert "one" in prompt or "two" in prompt
    return b"secret"


def _secrets(_name: str) -> SecretCallback:
    return _secret


def test_the_only_one_needs_no_name(client: Client) -> None:
    """Most CAs have one; a provisioner of another type is no candidate."""
    signer = unlock_from_ca(client, _secrets)
    assert (signer.name, signer.key.public()) == ("one", ONE.public())
    assert "secret" not in repr(signer)


def test_a_key_that_is_not_inline_is_fetched(ca: FakeCa, client: Client) -> None:
    """Some CAs list the provisioner without its encrypted key, and hand it out by its identifier."""
    entry = _entry("one", ONE)
    kept = dict(entry)
    del entry["encryptedKey"]
    ca.overrides["/provisioners?limit=100"] = (200, {"provisioners": [entry]})
    ca.overrides[f"/provisioners/{ONE.kid}/encrypted-key"] = (200, {"key": kept["encryptedKey"]})
    assert unlock_from_ca(client, _secrets).key.public() == ONE.public()


def test_of_several_one_must_be_named(ca: FakeCa, client: Client) -> None:
    """Guessing would ask for the wrong password and sign as somebody else."""
    ca.provisioners.append(_entry("two", TWO))
    with pytest.raises(RequestRejected) as caught:
        unlock_from_ca(client, _secrets)
    assert "one, two" in (caught.value.hint or "")
    assert unlock_from_ca(client, _secrets, name="two").key.public() == TWO.public()
    assert unlock_from_ca(client, _secrets, kid=TWO.kid).name == "two"
    with pytest.raises(NotFound):
        unlock_from_ca(client, _secrets, name="three")


def test_one_name_with_two_keys_is_told_apart_by_kid(ca: FakeCa, client: Client) -> None:
    """step-ca allows it, for the time of a key's replacement."""
    ca.provisioners.append(_entry("one", TWO))
    with pytest.raises(RequestRejected, match="several"):
        unlock_from_ca(client, _secrets, name="one")
    assert unlock_from_ca(client, _secrets, name="one", kid=TWO.kid).key.public() == TWO.public()


def test_a_wrong_password_is_named(client: Client) -> None:
    """It must not look like a broken CA, nor show the password."""
    with pytest.raises(Unauthenticated) as caught:
        unlock_from_ca(client, lambda _name: lambda _: b"not-the-password")
    assert "not-the-password" not in caught.value.message


def test_a_swapped_key_is_refused(ca: FakeCa, client: Client) -> None:
    """Under a password that serves for two keys, a CA could make the operator sign with the other one."""
    ca.provisioners[0] = _entry("one", ONE, sealed=TWO)
    with pytest.raises(RequestRejected, match="not the one that it publishes"):
        unlock_from_ca(client, _secrets)


def test_tokens_say_whose_and_whom_they_are_for(ca: FakeCa) -> None:
    """Issuer, audience of the operation, root, and the subject of each kind of token."""
    trust = Trust(url=parse_ca_url(ca.url), roots=(ca.root,))
    minter = online_minter(trust, Operation.SIGN, _secrets)
    token = minter.sign_token("a.local", ["a.local", "10.0.0.7"], now=NOW, rng=os.urandom)
    claims = jws.verify(jws.split_unverified(token), ONE.key.public_key())
    assert (claims["iss"], claims["aud"], claims["sha"]) == ("one", f"{ca.url}/1.0/sign", ca.fingerprint)
    assert claims["sans"] == ["a.local", "10.0.0.7"]
    minter = online_minter(trust, Operation.REVOKE, _secrets)
    claims = jws.split_unverified(minter.revoke_token(1234, now=NOW, rng=os.urandom)).claims
    assert (claims["aud"], claims["sub"]) == (f"{ca.url}/1.0/revoke", "1234")
