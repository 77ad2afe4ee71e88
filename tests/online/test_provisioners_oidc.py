"""The OIDC provisioner: each way in which an ID token could get more than its holder is due ends in a refusal."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fakes.oidc import CLIENT, ENDPOINT, ISSUER, FakeIssuer, id_claims, oidc_provisioner
from fakes.tokens import AUDIENCES, NOW, SIGNER, b64, forge, header, provisioner, raw
from hypothesis import given
from hypothesis import strategies as st

from online.claims import Claims
from online.jose import jws
from online.jose.jwk import PrivateJwk
from online.oidc_discovery import IssuerKeys, parse_key_set
from online.provisioners.oidc import OidcProvisioner, authorize_identity, identity_uri, parse_oidc_provisioner
from online.provisioners.protocol import Operation
from online.provisioners.registry import Registry, open_token
from online.tokens import VerifiedToken
from shared.errors import RequestRejected, Unauthenticated
from shared.keys import KeyKind, generate

T = int(NOW.timestamp())
ISSUING = FakeIssuer()
STRANGER = PrivateJwk.of(generate(KeyKind.EC_P256))


def keys_of(issuer: FakeIssuer, *algorithms: str) -> IssuerKeys:
    """Return what a node would know of an issuer."""
    return IssuerKeys(
        issuer=issuer.issuer,
        algorithms=frozenset(algorithms or {each.algorithm for each in issuer.signers}),
        by_kid=parse_key_set(issuer.documents()[f"{issuer.issuer}/keys"]),
    )


def authorize(
    token: str,
    *,
    operation: Operation = Operation.SIGN,
    now: Any = NOW,
    keys: IssuerKeys | None = None,
    **changes: Any,
) -> VerifiedToken:
    """Verify an ID token; ``changes`` are those to the provisioner."""
    return authorize_identity(
        oidc_provisioner(**changes), operation, jws.split_unverified(token), keys=keys or keys_of(ISSUING), now=now
    )


def refused(token: str, code: str, **options: Any) -> None:
    """Insist on a refusal with a code."""
    with pytest.raises(Unauthenticated) as caught:
        authorize(token, **options)
    assert caught.value.code == code


def test_an_ordinary_user_gets_their_own_names() -> None:
    """Without this, all refusals below would prove nothing."""
    verified = authorize(ISSUING.token())
    assert verified.sans == ("jane@example.com", f"{ISSUER}#248289761001")
    assert (verified.subject, verified.aliases, verified.unbound) == ("jane@example.com", ("248289761001",), False)
    assert verified.expires == NOW + timedelta(hours=1)


@pytest.mark.parametrize("kind", [KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.RSA, KeyKind.ED25519])
def test_each_kind_of_key(kind: KeyKind) -> None:
    """Without this, an issuer with another kind of key could not be used."""
    issuer = FakeIssuer(signers=[PrivateJwk.of(generate(kind))])
    assert authorize(issuer.token(), keys=keys_of(issuer)).subject == "jane@example.com"


def test_an_rsa_key_that_names_no_algorithm() -> None:
    """Without this, a token could choose an algorithm that its issuer never uses with the key."""
    key = generate(KeyKind.RSA)
    plain = {name: each for name, each in PrivateJwk.of(key).public().to_json().items() if name != "alg"}
    issuer = FakeIssuer(signers=[PrivateJwk(key=key, kid=str(plain["kid"]), algorithm="PS256")])
    keys = IssuerKeys(
        issuer=ISSUER,
        algorithms=frozenset({"PS256"}),
        by_kid=parse_key_set(b'{"keys": [%s]}' % str(plain).replace("'", '"').encode()),
    )
    authorize(issuer.token(), keys=keys)
    for algorithm in ("PS512", "ES256"):
        signer = PrivateJwk(
            key=key if algorithm == "PS512" else STRANGER.key, kid=str(plain["kid"]), algorithm=algorithm
        )
        refused(issuer.token(signer), "token.unknown-key", keys=keys)


def test_unsigned_and_keyed_with_the_public_key() -> None:
    """Without this, alg none or HS256 with what the key set publishes would get a certificate for anybody."""
    payload = raw(id_claims())
    refused(f"{raw(header(alg='none', kid=ISSUING.signers[0].kid))}.{payload}.", "token.algorithm")
    secret = ISSUING.signers[0].key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signing_input = f"{raw(header(alg='HS256', kid=ISSUING.signers[0].kid))}.{payload}"
    mac = jwt.get_algorithm_by_name("HS256").sign(signing_input.encode(), secret)
    refused(f"{signing_input}.{b64(mac)}", "token.algorithm")


def test_a_strangers_signature() -> None:
    """Without this, whoever names the issuer's key could sign with their own."""
    refused(ISSUING.token(STRANGER), "token.unknown-key")
    named = PrivateJwk(key=STRANGER.key, kid=ISSUING.signers[0].kid, algorithm="ES256")
    refused(ISSUING.token(named), "token.signature")


def test_a_token_without_a_key_identifier() -> None:
    """Without this, issuers with one nameless key could not be used, or one of several keys would be guessed."""
    authorize(ISSUING.token(head={"kid": ...}))
    two = FakeIssuer(signers=[*ISSUING.signers, STRANGER])
    refused(two.token(head={"kid": ...}), "token.unknown-key", keys=keys_of(two))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://accounts.example.org"}, "token.issuer"),
        ({"iss": f"{ISSUER}/"}, "token.issuer"),
        ({"iss": ...}, "token.claims"),
        ({"aud": "another-client"}, "token.audience"),
        ({"aud": ["another-client"]}, "token.audience"),
        ({"aud": [CLIENT, "another-client"]}, "token.audience"),
        ({"aud": []}, "token.audience"),
        ({"aud": ...}, "token.audience"),
        ({"aud": {CLIENT: 1}}, "token.audience"),
        ({"azp": "another-client"}, "token.audience"),
        ({"azp": [CLIENT]}, "token.audience"),
        ({"aud": [CLIENT, "another-client"], "azp": "another-client"}, "token.audience"),
        ({"sub": ...}, "token.claims"),
        ({"sub": ""}, "token.claims"),
        ({"sub": 7}, "token.claims"),
    ],
)
def test_made_by_or_for_somebody_else(changes: dict[str, Any], code: str) -> None:
    """Without this, a token that any other site was given would work here (the confused deputy)."""
    refused(ISSUING.token(**changes), code)


@pytest.mark.parametrize(
    "changes",
    [{"aud": [CLIENT]}, {"azp": CLIENT}, {"azp": None}, {"aud": [CLIENT, "api"], "azp": CLIENT}, {"nonce": ...}],
)
def test_made_for_us(changes: dict[str, Any]) -> None:
    """Without this, tokens as issuers really write them would be refused."""
    authorize(ISSUING.token(**changes))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": ...}, "token.times"),
        ({"iat": ...}, "token.times"),
        ({"exp": "soon"}, "token.times"),
        ({"exp": True}, "token.times"),
        ({"nbf": None}, "token.times"),
        ({"exp": T}, "token.lifetime"),
        ({"exp": T + 86401}, "token.lifetime"),
        ({"exp": 253_402_300_799}, "token.lifetime"),
        ({"iat": T - 3600, "exp": T - 61}, "token.expired"),
        ({"iat": T + 61, "exp": T + 3600}, "token.not-yet-valid"),
        ({"nbf": T + 61}, "token.not-yet-valid"),
    ],
)
def test_out_of_time(changes: dict[str, Any], code: str) -> None:
    """Without this, an old token would work for ever, or its single use could not be remembered."""
    refused(ISSUING.token(**changes), code)


def test_just_in_time() -> None:
    """Without this, a clock a minute off would keep people out."""
    authorize(ISSUING.token(iat=T - 3600, exp=T - 60))
    authorize(ISSUING.token(iat=T + 60, exp=T + 3600))
    authorize(ISSUING.token(exp=T + 36000))


@pytest.mark.parametrize("verified", [False, ..., None, 1, "yes", "false", [True]])
def test_an_address_that_nobody_verified(verified: Any) -> None:
    """Without this, whoever writes your address into their profile gets a certificate for it, or is administrator."""
    refused(ISSUING.token(email_verified=verified), "token.email")
    refused(ISSUING.token(email_verified=verified), "token.email", admins=frozenset({"jane@example.com"}))


def test_an_address_of_ones_own_directory() -> None:
    """Without this, issuers that serve one organisation and leave the claim out could not be used."""
    authorize(ISSUING.token(email_verified=...), tenant="contoso")
    authorize(ISSUING.token(email_verified="true"))
    refused(ISSUING.token(email_verified=False), "token.email", tenant="contoso")


def test_without_an_address() -> None:
    """Without this, a robot's account could not have the one name that it has."""
    for email in (..., None, ""):
        verified = authorize(ISSUING.token(email=email, email_verified=...))
        assert verified.sans == (f"{ISSUER}#248289761001",)
    refused(ISSUING.token(email=["jane@example.com"]), "token.claims")


def test_the_uri_is_escaped_as_steps_clients_escape_it() -> None:
    """Without this, the names in request and token would not be the same."""
    assert identity_uri("https://a.b/", "auth0|5 é/'#") == "https://a.b/#auth0%7C5%20%C3%A9/%27%23"


def test_administrators_by_address_and_by_group() -> None:
    """Without this, nobody could get a server's certificate with an identity, or everybody could."""
    admins = frozenset({"jane@example.com", "pki-admins"})
    assert authorize(ISSUING.token(), admins=admins).unbound
    assert authorize(ISSUING.token(email="jane@EXAMPLE.com"), admins=admins).unbound
    assert authorize(ISSUING.token(email="joe@example.com", groups=["x", "pki-admins"]), admins=admins).unbound
    for claims in (
        {"email": "JANE@example.com"},
        {"email": "joe@example.com", "groups": ["PKI-admins"]},
        {"email": ...},
    ):
        assert not authorize(ISSUING.token(**claims), admins=admins).unbound


def test_only_administrators_revoke() -> None:
    """Without this, any employee could revoke the certificates of all others."""
    refused(ISSUING.token(), "token.not-an-admin", operation=Operation.REVOKE)
    verified = authorize(ISSUING.token(), operation=Operation.REVOKE, admins=frozenset({"jane@example.com"}))
    assert verified.unbound
    assert verified.sans == ()


def test_domains() -> None:
    """Without this, any account at a public issuer would be let in; step-ca lets those without an address in."""
    domains = frozenset({"example.com"})
    authorize(ISSUING.token(), domains=domains)
    authorize(ISSUING.token(email="jane@Example.COM"), domains=domains)
    for email in ("jane@example.org", "jane@sub.example.com", "jane@evilexample.com", "jane@x@example.org", ...):
        refused(ISSUING.token(email=email), "token.domain", domains=domains)
    elsewhere = ISSUING.token(email="root@example.org")
    assert authorize(elsewhere, domains=domains, admins=frozenset({"root@example.org"})).unbound


def test_groups() -> None:
    """Without this, everybody at the issuer would be let in."""
    groups = frozenset({"staff"})
    authorize(ISSUING.token(groups=["guests", "staff"]), groups=groups)
    authorize(ISSUING.token(groups="staff"), groups=groups)
    odd: Any
    for odd in (..., [], ["Staff"], ["staff "], [["staff"]], "staffers"):
        refused(ISSUING.token(groups=odd), "token.group", groups=groups)
    for odd in ({"staff": 1}, 7, None, ["x"] * 1001):
        refused(ISSUING.token(groups=odd), "token.claims", groups=groups)


def test_the_record_of_the_use() -> None:
    """Without this, a token whose signature was re-encoded, or that has no ID, could be used twice."""
    first = ISSUING.token()
    assert authorize(first).token_digest == authorize(ISSUING.token()).token_digest
    assert authorize(ISSUING.token(iat=T - 1)).token_digest != authorize(first).token_digest


def test_which_provisioner_is_asked() -> None:
    """Without this, a token of one issuer could be judged by the rules of another."""
    registry = Registry([provisioner(), oidc_provisioner()])
    assert isinstance(registry.by_id(f"oidc/{CLIENT}"), OidcProvisioner)
    with pytest.raises(RequestRejected) as caught:
        Registry([oidc_provisioner(), oidc_provisioner(name="again")])
    assert caught.value.code == "provisioner.duplicate"
    with pytest.raises(Unauthenticated) as unknown:
        registry.authorize(Operation.SIGN, open_token(ISSUING.token(aud="nobody")), audiences=AUDIENCES, now=NOW)
    assert unknown.value.code == "token.unknown-provisioner"


async def test_from_the_first_fetch_to_the_verdict() -> None:
    """Without this, the parts could work and the whole not."""
    issuer = FakeIssuer()
    registry = Registry([provisioner(), oidc_provisioner()], fetch=issuer.fetch)
    token = issuer.token()
    await registry.prepare(open_token(token))
    assert (
        registry.authorize(Operation.SIGN, open_token(token), audiences=AUDIENCES, now=NOW).subject
        == "jane@example.com"
    )
    # A JWK provisioner's tokens ask nobody.
    await registry.prepare(open_token(forge()))
    assert issuer.asked == [ENDPOINT, f"{ISSUER}/keys"]
    with pytest.raises(Unauthenticated) as caught:
        registry.authorize(Operation.RENEW, open_token(token), audiences=AUDIENCES, now=NOW)
    assert caught.value.code == "token.not-allowed"


def test_nothing_secret_is_published() -> None:
    """Without this, everybody could read the client secret, and who the administrators are."""
    entry: dict[str, Any] = {
        "type": "OIDC",
        "name": "people",
        "clientID": CLIENT,
        "clientSecret": "hunter2",
        "configurationEndpoint": ISSUER,
        "tenantID": "contoso",
        "admins": ["root@Example.com", "pki"],
        "domains": ["Example.com"],
        "groups": ["staff"],
        "listenAddress": ":10000",
        "scopes": ["openid", "email"],
        "authParams": ["prompt=consent"],
        "claims": {"maxTLSCertDuration": "8h0m0s", "defaultTLSCertDuration": "8h0m0s"},
    }
    found = parse_oidc_provisioner(entry, path="p", above=Claims(), home=Path("/x"))
    assert (found.endpoint, found.tenant, found.id, found.kid) == (ENDPOINT, "contoso", f"oidc/{CLIENT}", CLIENT)
    assert found.admins == {"root@example.com", "pki"}
    assert found.domains == {"example.com"}
    assert "hunter2" not in repr(found)
    public = found.public_json()
    for secret in ("hunter2", "root@", "pki", "staff", "example.com'"):
        assert secret not in str(public)
    assert public["clientSecret"] == ""
    assert (public["scopes"], public["listenAddress"]) == (["openid", "email"], ":10000")
    assert public["claims"] == entry["claims"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"clientID": ""}, "config.missing-key"),
        ({"clientID": "x" * 300}, "config.malformed"),
        ({"clientID": "a\nb"}, "config.malformed"),
        ({"configurationEndpoint": ""}, "config.missing-key"),
        ({"configurationEndpoint": "http://accounts.example.com"}, "config.malformed"),
        ({"configurationEndpoint": "https://u:p@accounts.example.com"}, "config.malformed"),
        ({"configurationEndpoint": "https://a.example.com/?x=1"}, "config.malformed"),
        ({"configurationEndpoint": "https://a.example.com:0/"}, "config.malformed"),
        ({"domains": ["*.example.com"]}, "config.malformed"),
        ({"domains": ["not a domain"]}, "config.malformed"),
        ({"admins": "root"}, "config.wrong-type"),
        ({"clientSecret": 7}, "config.wrong-type"),
        ({"roots": "x"}, "config.unknown-key"),
    ],
)
def test_a_configuration_that_is_wrong(changes: dict[str, Any], code: str) -> None:
    """Without this, a typing error would let nobody in, or everybody."""
    entry = {"type": "OIDC", "name": "people", "clientID": CLIENT, "configurationEndpoint": ISSUER, **changes}
    with pytest.raises(RequestRejected) as caught:
        parse_oidc_provisioner(entry, path="p", above=Claims(), home=Path("/x"))
    assert caught.value.code == code
    assert "p" in caught.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CLAIMS = st.sampled_from(
    ["iss", "aud", "azp", "sub", "exp", "iat", "nbf", "email", "email_verified", "groups", "nonce"]
)


@given(CLAIMS, JSON)
def test_a_signed_claim_of_any_kind_is_no_accident(name: str, value: Any) -> None:
    """Without this, an issuer's odd token would be a 500, or worse, a certificate."""
    code, unbound = "token.accepted", False
    try:
        unbound = authorize(ISSUING.token(**{name: value}), admins=frozenset({"a"})).unbound
    except Unauthenticated as error:
        code = error.code
    assert code.startswith("token.")
    assert not unbound or (name == "groups" and "a" in (value if isinstance(value, list) else [value]))


def test_a_one_time_token_is_no_identity() -> None:
    """Without this, a JWK provisioner's key could speak for an identity provider, or the reverse."""
    registry = Registry([provisioner(), oidc_provisioner()])
    token = forge(payload=id_claims(), head=header(kid=SIGNER.kid))
    with pytest.raises(Exception, match="keys are not known") as caught:
        registry.authorize(Operation.SIGN, open_token(token), audiences=AUDIENCES, now=NOW)
    assert type(caught.value).__name__ == "PeerFailed"
