"""The OIDC provisioner: an OpenID Connect issuer says who somebody is, and that person gets certificates for that name.

Ordinary users get their own e-mail address and the URI ``iss#sub``, nothing else. Administrators, named by address or
group, may ask for any names and may revoke.

Invariants:

* an ID token counts only for the client ID of the provisioner, signed by a key of the issuer;
* an address counts only when the issuer says that it verified it, or is one organisation's own directory (a tenant);
  nobody is an administrator, or in a domain, by an address that nobody verified;
* a token is good for one use: it is recorded by its content, for most issuers give it no ID;
* no client secret is kept or published, and neither is who the administrators are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from online.claims import Claims
from online.jose import jws
from online.oidc_discovery import IssuerKeys, configuration_url
from online.provisioners.common import Common, at_fault, open_entry, with_claims
from online.provisioners.protocol import Operation, ProvisionerType
from online.strict_json import Json, JsonObject
from online.tokens import LEEWAY, VerifiedToken, require_moment, require_text, use_digest
from shared.errors import RequestRejected, Unauthenticated
from shared.names import canonical_dns

PREFIX = "oidc/"
"""What stands before the client ID in a provisioner's ID."""
LONGEST_LIFE = timedelta(hours=24)
"""The longest life of an ID token. Issuers give them minutes to hours; its single use must be remembered as long."""
_KEYS = frozenset({
    "clientID", "clientSecret", "configurationEndpoint", "tenantID", "admins", "domains", "groups", "listenAddress",
    "scopes", "authParams",
})  # fmt: skip
_LONGEST_CLIENT_ID = 256
_MOST_GROUPS = 1000
# What Go's net/url leaves unescaped in a fragment: step's clients write the same URI into their requests.
_FRAGMENT_SAFE = "$&+,/:;=?@!()*-._~"


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcProvisioner(Common):
    """A provisioner that is an account elsewhere; see ``online.provisioners.protocol.Provisioner``."""

    client_id: str
    endpoint: str
    """Address of the issuer's configuration document."""
    tenant: str = ""
    admins: frozenset[str] = frozenset()
    """Addresses (domain in lower case) and names of groups."""
    domains: frozenset[str] = frozenset()
    """Where not empty: whose addresses may have certificates."""
    groups: frozenset[str] = frozenset()
    """Where not empty: who is in one of them may have certificates."""
    flow: JsonObject = field(default_factory=dict)
    """What clients need to know for signing in: ``listenAddress``, ``scopes``, ``authParams``."""

    @property
    def type(self) -> ProvisionerType:
        """The kind."""
        return ProvisionerType.OIDC

    @property
    def id(self) -> str:
        """The client ID: that is what the issuer's tokens name."""
        return f"{PREFIX}{self.client_id}"

    @property
    def kid(self) -> str:
        """The client ID, which step's certificate extension has as the credential."""
        return self.client_id

    @property
    def encrypted_key(self) -> None:
        """None."""
        return

    def public_json(self) -> JsonObject:
        """Return the entry of ``GET /provisioners``: what a client needs for signing in, nothing about people."""
        result: JsonObject = {
            "type": self.type.wire_name,
            "name": self.name,
            "clientID": self.client_id,
            # step's clients expect the member. A client that runs on its user's machine can keep no secret.
            "clientSecret": "",
            "configurationEndpoint": self.endpoint,
        }
        if self.tenant:
            result["tenantID"] = self.tenant
        return with_claims({**result, **self.flow}, self.stated)


def parse_oidc_provisioner(value: Json, *, path: str, above: Claims, home: Path) -> OidcProvisioner:
    """Read an OIDC provisioner of a ca.json. Nothing is fetched.

    Args:
        value: its object.
        path: the dotted path of the object.
        above: the authority's limits.
        home: what the path of a template file hangs on.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-key`` or ``config.unsupported-template``.
    """
    found, common = open_entry(value, path=path, keys=_KEYS, above=above, home=home)
    client_id = found.text("clientID")
    if len(client_id) > _LONGEST_CLIENT_ID or not client_id.isprintable():
        raise RequestRejected("config.malformed", f"{found.at('clientID')} is too long or does not show")
    # Read for its type only: the node verifies tokens and never signs in itself, so it needs no secret.
    found.text("clientSecret", default="")
    with at_fault(found.at("configurationEndpoint")):
        endpoint = configuration_url(found.text("configurationEndpoint"))
    flow: JsonObject = {}
    if listen := found.text("listenAddress", default=""):
        flow["listenAddress"] = listen
    for key in ("scopes", "authParams"):
        if texts := found.texts(key):
            flow[key] = [*texts]
    return OidcProvisioner(
        client_id=client_id,
        endpoint=endpoint,
        tenant=found.text("tenantID", default=""),
        admins=frozenset(map(_canonical_address, found.texts("admins"))),
        domains=frozenset(_domain(each, found.at("domains")) for each in found.texts("domains")),
        groups=frozenset(found.texts("groups")),
        flow=flow,
        **common,
    )


def authorize_identity(
    provisioner: OidcProvisioner,
    operation: Operation,
    token: jws.UnverifiedToken,
    *,
    keys: IssuerKeys,
    now: datetime,
) -> VerifiedToken:
    """Verify an ID token (OpenID Connect Core 1.0 §3.1.3.7), for signing or for revoking.

    1. The signature holds, by a key of the issuer and an algorithm that the issuer uses with it.
    2. It was made by this issuer and for this client alone.
    3. It is within its time, and its time is bounded.
    4. Who it is about: the subject, an address if it was verified, groups.
    5. That person is let in: by group, by domain.
    6. Administrators ask for what they like; others get their own names, and revoke nothing.

    Args:
        provisioner: chosen by what the unverified token says.
        operation: what the caller asks for.
        token: well-formed, unverified. A ``nonce`` is between the issuer and the client, and is not looked at.
        keys: of the issuer.
        now: aware UTC.

    Raises:
        Unauthenticated: ``token.*``.
    """
    # 1
    claims = _verified_claims(token, keys)
    # 2
    _check_parties(claims, provisioner, keys)
    # 3
    expires = _check_times(claims, now)
    # 4
    subject = require_text(claims, "sub")
    address = _verified_address(claims, provisioner)
    groups = _groups(claims)
    # 5
    is_admin = not provisioner.admins.isdisjoint({*groups, *([address] if address else [])})
    _check_let_in(provisioner, address, groups, is_admin=is_admin)
    # 6
    if operation is Operation.REVOKE and not is_admin:
        raise Unauthenticated("token.not-an-admin", "only the provisioner's administrators may revoke")
    own = (*([address] if address else []), identity_uri(keys.issuer, subject))
    return VerifiedToken(
        provisioner=provisioner,
        operation=operation,
        subject=own[0],
        sans=own if operation is Operation.SIGN else (),
        # step's clients write the opaque subject into the request.
        aliases=(subject,),
        token_digest=use_digest(provisioner.id, token.content_digest),
        expires=expires,
        cnf=None,
        unbound=is_admin,
    )


def identity_uri(issuer: str, subject: str) -> str:
    """Return the URI that stands for somebody at an issuer: ``iss#sub``, escaped as step's clients escape it."""
    return f"{issuer}#{quote(subject, safe=_FRAGMENT_SAFE)}"


def _verified_claims(token: jws.UnverifiedToken, keys: IssuerKeys) -> Mapping[str, Json]:
    refusal = Unauthenticated("token.unknown-key", "no key of the identity provider fits the token")
    for candidate in keys.candidates(token.kid, token.algorithm):
        try:
            return jws.verify(token, candidate.key.key, algorithm=token.algorithm)
        except Unauthenticated as error:
            refusal = error
        except RequestRejected:
            # The algorithm does not suit this kind of key.
            continue
    raise refusal


def _check_parties(claims: Mapping[str, Json], provisioner: OidcProvisioner, keys: IssuerKeys) -> None:
    if require_text(claims, "iss") != keys.issuer:
        raise Unauthenticated("token.issuer", "the token is another issuer's")
    audience, party = claims.get("aud"), claims.get("azp")
    audiences = audience if isinstance(audience, list) else [audience]
    if provisioner.client_id not in audiences:
        raise Unauthenticated("token.audience", "the token was made for another client")
    if party not in {None, provisioner.client_id} if isinstance(party, str | None) else True:
        raise Unauthenticated("token.audience", "the token was handed to another client (azp)")
    if len(audiences) != 1 and party is None:
        raise Unauthenticated("token.audience", "the token is for several clients and does not say whose it is (azp)")


def _check_times(claims: Mapping[str, Json], now: datetime) -> datetime:
    expires, issued = require_moment(claims, "exp"), require_moment(claims, "iat")
    begins = require_moment(claims, "nbf") if "nbf" in claims else issued
    if not timedelta(0) < expires - issued <= LONGEST_LIFE:
        raise Unauthenticated("token.lifetime", "the token's life is not between nothing and a day")
    if now - LEEWAY > expires:
        raise Unauthenticated("token.expired", "the token has expired")
    if now + LEEWAY < max(issued, begins):
        raise Unauthenticated("token.not-yet-valid", "the token is not valid yet")
    return expires


def _verified_address(claims: Mapping[str, Json], provisioner: OidcProvisioner) -> str | None:
    if claims.get("email") in {None, ""} if isinstance(claims.get("email"), str | None) else False:
        return None
    address = _canonical_address(require_text(claims, "email"))
    # Some issuers write the word as text. One that leaves it out vouches for nothing, but for a tenant of its own.
    verified = claims.get("email_verified", bool(provisioner.tenant))
    if verified is not True and verified != "true":
        raise Unauthenticated("token.email", "the identity provider does not say that it verified the address")
    return address


def _groups(claims: Mapping[str, Json]) -> frozenset[str]:
    value = claims.get("groups", [])
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or len(listed) > _MOST_GROUPS:
        raise Unauthenticated("token.claims", "the token's claim groups is not a list of names")
    return frozenset(each for each in listed if isinstance(each, str) and each)


def _check_let_in(provisioner: OidcProvisioner, address: str | None, groups: frozenset[str], *, is_admin: bool) -> None:
    if provisioner.groups and provisioner.groups.isdisjoint(groups):
        raise Unauthenticated("token.group", "the token's holder is in none of the groups that are let in")
    if provisioner.domains and not is_admin:
        domain = (address or "").rpartition("@")[2]
        if domain not in provisioner.domains:
            raise Unauthenticated("token.domain", "the token's holder has no address in a domain that is let in")


def _canonical_address(text: str) -> str:
    """Lower the case of a domain, and of nothing else: the local part belongs to its host (RFC 5321 §2.4)."""
    local, at, domain = text.rpartition("@")
    return f"{local}{at}{domain.lower()}" if at else text


def _domain(text: str, where: str) -> str:
    try:
        domain = canonical_dns(text)
    except RequestRejected as error:
        raise RequestRejected("config.malformed", f"{where}: {error.message}") from None
    if domain.startswith("*."):
        raise RequestRejected("config.malformed", f"{where}: a domain has no wildcard; each counts by itself")
    return domain
