"""All provisioners of a CA, and the allow-list of what each kind may authorise.

Invariants:

* an operation without an entry in the allow-list for the provisioner's type is refused, whatever the token says.
  In step-ca, provisioner types and message types without a check of their own once passed unchecked
  (CVE-2025-44005, CVE-2026-30836);
* names, IDs and key identifiers are each unique within one registry.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from cryptography import x509

from online.claims import go_time
from online.jose import jws, x5c
from online.oidc_discovery import KeySource
from online.oidc_fetch import Fetch, https_fetch
from online.provisioners.jwk import JwkProvisioner, authorize_one_time
from online.provisioners.oidc import PREFIX as OIDC_PREFIX
from online.provisioners.oidc import OidcProvisioner, authorize_identity
from online.provisioners.protocol import Operation, Provisioner, ProvisionerType
from online.provisioners.x5c import PREFIX, X5cProvisioner, authorize_by_chain, split_audience
from online.strict_json import Json
from online.tokens import Audiences, VerifiedToken, require_text
from shared.clock import whole_seconds
from shared.errors import NotFound, RequestRejected, Unauthenticated
from shared.names import printable

DEFAULT_PAGE = 20
LARGEST_PAGE = 100
_CURSOR_LENGTH = 40
_MOST_CLIENTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What an authoriser decides about."""

    provisioner: Provisioner
    operation: Operation
    token: jws.UnverifiedToken
    audiences: Audiences
    now: datetime
    source: KeySource | None
    """The keys of the provisioner's issuer, where it has one."""


def _jwk(asked: _Asked) -> VerifiedToken:
    assert isinstance(asked.provisioner, JwkProvisioner)
    return authorize_one_time(asked.provisioner, asked.operation, asked.token, audiences=asked.audiences, now=asked.now)


def _x5c(asked: _Asked) -> VerifiedToken:
    assert isinstance(asked.provisioner, X5cProvisioner)
    return authorize_by_chain(asked.provisioner, asked.operation, asked.token, audiences=asked.audiences, now=asked.now)


def _oidc(asked: _Asked) -> VerifiedToken:
    assert isinstance(asked.provisioner, OidcProvisioner)
    assert asked.source is not None
    return authorize_identity(asked.provisioner, asked.operation, asked.token, keys=asked.source.keys(), now=asked.now)


# What is not here is refused. Renewal is authorised by the certificate itself, see ``authorize_renew``.
_ALLOWED: Mapping[tuple[ProvisionerType, Operation], Callable[[_Asked], VerifiedToken]] = MappingProxyType(
    {
        (ProvisionerType.JWK, Operation.SIGN): _jwk,
        (ProvisionerType.JWK, Operation.REVOKE): _jwk,
        (ProvisionerType.X5C, Operation.SIGN): _x5c,
        (ProvisionerType.X5C, Operation.REVOKE): _x5c,
        (ProvisionerType.OIDC, Operation.SIGN): _oidc,
        (ProvisionerType.OIDC, Operation.REVOKE): _oidc,
    }
)


class Registry:
    """The provisioners of one configuration; it never changes, a reload makes a new one."""

    def __init__(self, provisioners: Iterable[Provisioner], *, fetch: Fetch | None = None) -> None:
        """Index the provisioners.

        Args:
            provisioners: all of them.
            fetch: gets documents of OIDC issuers, when a token first needs them; over HTTPS when not given.

        Raises:
            RequestRejected: ``provisioner.duplicate``.
        """
        self._all = tuple(provisioners)
        self._by_name: dict[str, Provisioner] = {}
        self._by_id: dict[str, Provisioner] = {}
        self._by_kid: dict[str, Provisioner] = {}
        for each in self._all:
            if each.name in self._by_name or each.id in self._by_id or (each.kid and each.kid in self._by_kid):
                raise RequestRejected(
                    "provisioner.duplicate",
                    f"the provisioner {printable(each.name)} has the name or key of another one",
                )
            self._by_name[each.name] = self._by_id[each.id] = each
            if each.kid:
                self._by_kid[each.kid] = each
        self._sources = {
            each.id: KeySource(each.endpoint, tenant=each.tenant, fetch=fetch or https_fetch())
            for each in self._all
            if isinstance(each, OidcProvisioner)
        }
        # A page continues behind a key, not a count: step-ca's shape, eight hex digits of rank, then a digest.
        self._ranked = [(_cursor(rank, each), each) for rank, each in enumerate(self._all)]

    def __len__(self) -> int:
        return len(self._all)

    def by_name(self, name: str) -> Provisioner:
        """Return the provisioner with a name.

        Raises:
            NotFound: ``provisioner.unknown``.
        """
        return _found(self._by_name.get(name))

    def by_id(self, identifier: str) -> Provisioner:
        """Return the provisioner with an ID, as issued certificates are recorded with it.

        Raises:
            NotFound: ``provisioner.unknown``.
        """
        return _found(self._by_id.get(identifier))

    def by_kid(self, kid: str) -> Provisioner:
        """Return the provisioner with a key identifier.

        Raises:
            NotFound: ``provisioner.unknown``.
        """
        return _found(self._by_kid.get(kid))

    def by_credential(self, kind: int, name: str, credential: str) -> Provisioner:
        """Return the provisioner that step's certificate extension names.

        Args:
            kind: the number of the type.
            name: its name.
            credential: its credential ID; for a JWK provisioner the key identifier.

        Raises:
            NotFound: ``provisioner.unknown`` unless all three agree.
        """
        each = self._by_name.get(name)
        return _found(each if each is not None and (each.type.number, each.kid) == (kind, credential) else None)

    def page(self, cursor: str, limit: int) -> tuple[tuple[Provisioner, ...], str]:
        """Return a page of provisioners and the cursor of the next one.

        Args:
            cursor: empty to begin, else what the page before returned. Any text is answered.
            limit: how many; 20 when not positive, 100 at most.

        Returns:
            The page, and the next cursor: empty on the last page.
        """
        size = min(limit, LARGEST_PAGE) if limit > 0 else DEFAULT_PAGE
        start = bisect.bisect_left(self._ranked, cursor.zfill(_CURSOR_LENGTH), key=lambda entry: entry[0])
        page = tuple(each for _, each in self._ranked[start : start + size])
        rest = self._ranked[start + size : start + size + 1]
        return page, rest[0][0].lstrip("0") if rest else ""

    async def prepare(self, token: jws.UnverifiedToken) -> None:
        """Fetch what ``authorize`` will need for a token: the keys of the issuer that it names, when they are due.

        Nothing is decided here. What is wrong with the token, ``authorize`` tells.

        Args:
            token: from ``open_token``.
        """
        if not self._sources:
            return
        try:
            provisioner = self._choose(token)
        except Unauthenticated:
            return
        if provisioner.id in self._sources:
            await self._sources[provisioner.id].refresh(token.kid)

    def authorize(
        self, operation: Operation, token: jws.UnverifiedToken, *, audiences: Audiences, now: datetime
    ) -> VerifiedToken:
        """Verify a one-time token for an operation. Nothing is consumed, and nothing waits: see ``prepare``.

        1. Choose the provisioner, see ``_choose``.
        2. The allow-list: this type, this operation.
        3. The type's own verification.

        Args:
            operation: what the caller asks for.
            token: from ``open_token``.
            audiences: the names of this CA.
            now: aware UTC.

        Raises:
            Unauthenticated: ``token.*``; callers answer one and the same text for all of them.
            PeerFailed: ``oidc.*`` when the keys of the token's issuer cannot be had.
        """
        # 1
        provisioner = self._choose(token)
        # 2
        authorizer = _ALLOWED.get((provisioner.type, operation))
        if authorizer is None:
            raise Unauthenticated(
                "token.not-allowed",
                f"a {provisioner.type.wire_name} token does not authorise the operation {operation}",
            )
        # 3
        return authorizer(
            _Asked(
                provisioner=provisioner,
                operation=operation,
                token=token,
                audiences=audiences,
                now=now,
                source=self._sources.get(provisioner.id),
            )
        )

    def _choose(self, token: jws.UnverifiedToken) -> Provisioner:
        """Choose the provisioner that a token appeals to. It decides nothing else: each type verifies all it needs.

        1. A token that brings certificates names an X5C provisioner in its audience; no other may bring them.
        2. Issuer and key identifier name a JWK provisioner.
        3. The client that an ID token was made for names an OIDC provisioner.

        Raises:
            Unauthenticated: ``token.header``, ``token.claims`` or ``token.unknown-provisioner``.
        """
        # 1
        if x5c.MEMBER in token.header:
            by_audience = self._by_id.get(f"{PREFIX}{split_audience(token.claims.get('aud'))[1]}")
            if not isinstance(by_audience, X5cProvisioner):
                raise Unauthenticated(
                    "token.header", f"the token's header has the member {x5c.MEMBER}, which is not accepted"
                )
            return by_audience
        # 2
        by_key = self._by_id.get(f"{require_text(token.claims, 'iss')}:{token.kid}")
        if isinstance(by_key, JwkProvisioner):
            return by_key
        # 3
        for client in _clients(token.claims):
            by_client = self._by_id.get(f"{OIDC_PREFIX}{client}")
            if isinstance(by_client, OidcProvisioner):
                return by_client
        raise Unauthenticated("token.unknown-provisioner", "no provisioner has the token's issuer and key")


def authorize_renew(certificate: x509.Certificate, provisioner: Provisioner, *, now: datetime) -> None:
    """Insist that a provisioner lets a certificate of its own be renewed (or rekeyed) now.

    That the certificate is ours, unrevoked and in its owner's hands is the caller's business.

    Args:
        certificate: the one to renew.
        provisioner: the one that it was issued under.
        now: aware UTC.

    Raises:
        Unauthenticated: ``renewal.disabled``, ``certificate.not-yet-valid`` or ``certificate.expired``.
    """
    moment = whole_seconds(now)
    if provisioner.claims.disable_renewal:
        raise Unauthenticated("renewal.disabled", f"renew is disabled for provisioner '{printable(provisioner.name)}'")
    if moment < certificate.not_valid_before_utc:
        raise Unauthenticated("certificate.not-yet-valid", "the certificate is not valid yet")
    if moment > certificate.not_valid_after_utc and not provisioner.claims.allow_renewal_after_expiry:
        raise Unauthenticated(
            "certificate.expired", f"certificate expired on {go_time(certificate.not_valid_after_utc)}"
        )


def _cursor(rank: int, provisioner: Provisioner) -> str:
    return f"{rank:08x}{hashlib.sha256(provisioner.id.encode('utf-8')).hexdigest()[: _CURSOR_LENGTH - 8]}"


def open_token(token: str) -> jws.UnverifiedToken:
    """Take a one-time token apart, whatever the kind of its provisioner: size and shape. Nothing of it is verified.

    Args:
        token: compact serialisation, as received.

    Raises:
        Unauthenticated: ``token.*``.
    """
    return jws.split_unverified(token, key_members=frozenset({x5c.MEMBER}))


def _clients(claims: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the client IDs that an ID token may have been made for, the one that it was handed to first."""
    audience = claims.get("aud")
    named = [claims.get("azp"), *(audience if isinstance(audience, list) else [audience])]
    return tuple(each for each in named[:_MOST_CLIENTS] if isinstance(each, str))


def _found(provisioner: Provisioner | None) -> Provisioner:
    if provisioner is None:
        raise NotFound("provisioner.unknown", "no such provisioner")
    return provisioner
