"""Every type of provisioner, every operation: a token that nobody signed, or anybody, never gets through.

CVE-2025-44005 and CVE-2026-30836 were of this kind: a token chose a provisioner, or a message type, for which nobody
had written a check, and was let in. The tables here are made from the enumerations, so a type or an operation that is
added is attacked as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fakes.hierarchy import make_pki
from fakes.leaves import sloppy_leaf
from fakes.oidc import CLIENT, ISSUER, FakeIssuer, oidc_provisioner
from fakes.tokens import AUDIENCES, NOW, SIGNER, b64, forge, provisioner, raw

from online.jose.jwk import PrivateJwk
from online.jose.x5c import write_chain
from online.provisioners.protocol import Operation, ProvisionerType
from online.provisioners.registry import Registry, open_token
from online.provisioners.x5c import X5cProvisioner
from shared.errors import Unauthenticated
from shared.keys import KeyKind, PrivateKey, generate

PKI = make_pki(now=NOW)
T = int(NOW.timestamp())
ANYBODY = PrivateJwk.of(generate(KeyKind.EC_P256))
LEAF_KEY = generate(KeyKind.EC_P256)
LEAF = sloppy_leaf(PKI, public_key=LEAF_KEY.public_key(), not_before=PKI.root.not_valid_before_utc,
                   not_after=PKI.intermediate.not_valid_after_utc)  # fmt: skip
# Anybody's own CA, with the names of ours.
FORGED = make_pki(now=NOW)
FORGED_LEAF = sloppy_leaf(FORGED, public_key=ANYBODY.key.public_key(), not_before=PKI.root.not_valid_before_utc,
                          not_after=FORGED.intermediate.not_valid_after_utc)  # fmt: skip
ISSUING = FakeIssuer()

BASE: dict[str, object] = {
    "iat": T, "nbf": T, "exp": T + 300, "jti": "1", "sub": "foo.local", "sans": ["foo.local"],
    "email": "root@example.com", "email_verified": True, "groups": ["admins"],
}  # fmt: skip


def fragments() -> list[str]:
    """Return the fragments by which step's tokens choose a provisioner of each of its types, and ours."""
    names = ("acme", "scep", "x5c", "sshpop", "aws", "gcp", "azure", "nebula", "k8ssa", "oidc", "jwk", "wire", "")
    return ["", *(f"#{kind}/{name}" for kind in names for name in ("admin", "hosts", "people"))]


def appeals(operation: Operation) -> dict[ProvisionerType, tuple[dict[str, object], dict[str, object]]]:
    """Return, for each type, the header and claims that choose its provisioner."""
    path = "" if operation is Operation.RENEW else "/1.0"
    address = f"https://ca.local{path}/{operation}"
    return {
        ProvisionerType.JWK: ({"kid": SIGNER.kid}, {"iss": "admin", "aud": address}),
        ProvisionerType.X5C: (
            {"x5c": write_chain((FORGED_LEAF, FORGED.intermediate))},
            {"iss": "hosts", "aud": f"{address}#x5c/hosts"},
        ),
        ProvisionerType.OIDC: ({"kid": ISSUING.signers[0].kid}, {"iss": ISSUER, "aud": CLIENT, "azp": CLIENT}),
    }


async def registry() -> Registry:
    """Return one provisioner of each type, the issuer's keys fetched."""
    found = Registry(
        [
            provisioner(),
            X5cProvisioner(name="hosts", roots=(PKI.root,)),
            oidc_provisioner(admins=frozenset({"root@example.com", "admins"})),
        ],
        fetch=ISSUING.fetch,
    )
    await found.prepare(open_token(ISSUING.token()))
    return found


def refuse(by: Registry, operation: Operation, token: str) -> None:
    """Insist that a token gets nothing."""
    with pytest.raises(Unauthenticated):
        by.authorize(operation, open_token(token), audiences=AUDIENCES, now=NOW)


async def test_each_type_is_reached_and_works_when_it_is_signed() -> None:
    """Without this, the refusals below could be those of a door that nobody ever gets to."""
    by = await registry()
    for operation in (Operation.SIGN, Operation.REVOKE):
        chosen = appeals(operation)
        chosen[ProvisionerType.X5C][0]["x5c"] = write_chain((LEAF, PKI.intermediate))
        keys: Mapping[ProvisionerType, PrivateKey] = {
            ProvisionerType.JWK: SIGNER.key,
            ProvisionerType.X5C: LEAF_KEY,
            ProvisionerType.OIDC: ISSUING.signers[0].key,
        }
        assert set(chosen) == set(keys) == set(ProvisionerType)
        for kind, (head, claims) in chosen.items():
            text = forge({**BASE, **claims}, {"alg": "ES256", "typ": "JWT", **head}, key=keys[kind])
            verified = by.authorize(operation, open_token(text), audiences=AUDIENCES, now=NOW)
            assert verified.provisioner.type is kind


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("kind", ProvisionerType)
async def test_nobodys_signature(kind: ProvisionerType, operation: Operation) -> None:
    """Without this, an unsigned token would be enough for one type or one operation."""
    by = await registry()
    head, claims = appeals(operation)[kind]
    payload = raw({**BASE, **claims})
    for algorithm in ("none", "None", "NONE", "", "ES256", "HS256"):
        header = raw({"alg": algorithm, "typ": "JWT", **head})
        for signature in ("", b64(bytes(64)), b64(b"\xff" * 64)):
            refuse(by, operation, f"{header}.{payload}.{signature}")


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("kind", ProvisionerType)
async def test_anybodys_signature(kind: ProvisionerType, operation: Operation) -> None:
    """Without this, a good signature by a key that nobody trusts would be enough."""
    by = await registry()
    head, claims = appeals(operation)[kind]
    bring: list[dict[str, Any]] = [{}, {"jwk": ANYBODY.public().to_json()}, {"kid": ANYBODY.kid}, {"kid": ...}]
    for more in bring:
        header = {"alg": "ES256", "typ": "JWT", **head, **more}
        header = {name: value for name, value in header.items() if value is not ...}
        refuse(by, operation, forge({**BASE, **claims}, header, key=ANYBODY.key))


@pytest.mark.parametrize("operation", Operation)
async def test_anybodys_signature_under_every_fragment(operation: Operation) -> None:
    """Without this, an audience's fragment could choose a provisioner that checks nothing."""
    by = await registry()
    for head, claims in appeals(operation).values():
        address = f"https://ca.local/{operation}"
        for fragment in fragments():
            changed = {**BASE, **claims, "aud": address + fragment}
            refuse(by, operation, forge(changed, {"alg": "ES256", "typ": "JWT", **head}, key=ANYBODY.key))


@pytest.mark.parametrize("operation", Operation)
async def test_one_types_key_does_not_open_another(operation: Operation) -> None:
    """Without this, who may mint tokens for one provisioner could act as another one, with its limits and rules."""
    by = await registry()
    keys = {
        ProvisionerType.JWK: SIGNER.key,
        ProvisionerType.X5C: LEAF_KEY,
        ProvisionerType.OIDC: ISSUING.signers[0].key,
    }
    for owner, key in keys.items():
        for kind, (head, claims) in appeals(operation).items():
            if kind is not owner:
                refuse(by, operation, forge({**BASE, **claims}, {"alg": "ES256", "typ": "JWT", **head}, key=key))


async def test_no_token_renews() -> None:
    """Without this, a one-time token would renew certificates: renewal is proved by the certificate's own key."""
    by = await registry()
    chosen = appeals(Operation.RENEW)
    keys = {
        ProvisionerType.JWK: SIGNER.key,
        ProvisionerType.X5C: LEAF_KEY,
        ProvisionerType.OIDC: ISSUING.signers[0].key,
    }
    chosen[ProvisionerType.X5C][0]["x5c"] = write_chain((LEAF, PKI.intermediate))
    for kind, (head, claims) in chosen.items():
        refuse(by, Operation.RENEW, forge({**BASE, **claims}, {"alg": "ES256", "typ": "JWT", **head}, key=keys[kind]))
