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
from datetime import datetime
from types import MappingProxyType

from cryptography import x509

from online.claims import go_time
from online.jose import jws
from online.provisioners.jwk import JwkProvisioner, authorize_one_time
from online.provisioners.protocol import Operation, Provisioner, ProvisionerType
from online.tokens import Audiences, VerifiedToken, require_text
from shared.clock import whole_seconds
from shared.errors import NotFound, RequestRejected, Unauthenticated
from shared.names import printable

DEFAULT_PAGE = 20
LARGEST_PAGE = 100
_CURSOR_LENGTH = 40

_Authorizer = Callable[[Provisioner, Operation, jws.UnverifiedToken, Audiences, datetime], VerifiedToken]


def _jwk(
    provisioner: Provisioner, operation: Operation, token: jws.UnverifiedToken, audiences: Audiences, now: datetime
) -> VerifiedToken:
    assert isinstance(provisioner, JwkProvisioner)
    return authorize_one_time(provisioner, operation, token, audiences=audiences, now=now)


# What is not here is refused. Renewal is authorised by the certificate itself, see ``authorize_renew``.
_ALLOWED: Mapping[tuple[ProvisionerType, Operation], _Authorizer] = MappingProxyType(
    {
        (ProvisionerType.JWK, Operation.SIGN): _jwk,
        (ProvisionerType.JWK, Operation.REVOKE): _jwk,
    }
)


class Registry:
    """The provisioners of one configuration; it never changes, a reload makes a new one."""

    def __init__(self, provisioners: Iterable[Provisioner]) -> None:
        """Index the provisioners.

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

    def authorize(self, operation: Operation, token: str, *, audiences: Audiences, now: datetime) -> VerifiedToken:
        """Verify a one-time token for an operation. Nothing is consumed.

        1. Size and shape.
        2. Choose the provisioner by issuer and key identifier; nothing else in the token has a say in it.
        3. The allow-list: this type, this operation.
        4. The type's own verification.

        Args:
            operation: what the caller asks for.
            token: compact serialisation, as received.
            audiences: the names of this CA.
            now: aware UTC.

        Raises:
            Unauthenticated: ``token.*``; callers answer one and the same text for all of them.
        """
        # 1
        unverified = jws.split_unverified(token)
        # 2
        provisioner = self._by_id.get(f"{require_text(unverified.claims, 'iss')}:{unverified.kid}")
        if provisioner is None:
            raise Unauthenticated("token.unknown-provisioner", "no provisioner has the token's issuer and key")
        # 3
        authorizer = _ALLOWED.get((provisioner.type, operation))
        if authorizer is None:
            raise Unauthenticated(
                "token.not-allowed",
                f"a {provisioner.type.wire_name} token does not authorise the operation {operation}",
            )
        # 4
        return authorizer(provisioner, operation, unverified, audiences, now)


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


def _found(provisioner: Provisioner | None) -> Provisioner:
    if provisioner is None:
        raise NotFound("provisioner.unknown", "no such provisioner")
    return provisioner
