"""What the endpoints need from the node, as they see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from cryptography import x509

from online.api.messages import json_response
from online.authority import PeerCertificate, RenewToken
from online.config import TlsSettings
from online.crl_serving import PublishedCrls
from online.hierarchy import Chain, Hierarchy
from online.provisioners.registry import Registry
from online.readiness import Readiness
from online.vitals import Vitals

_MARK = "@"


class Issuing(Protocol):
    """The operations of ``online.authority.Authority``; its docstrings say what each raises."""

    @property
    def hierarchy(self) -> Hierarchy:
        """The certificates that the node publishes."""
        ...

    @property
    def registry(self) -> Registry:
        """The provisioners that the node publishes."""
        ...

    @property
    def crls(self) -> PublishedCrls | None:
        """The revocation lists that the node publishes; ``None`` when it publishes none."""
        ...

    @property
    def vitals(self) -> Vitals:
        """The parts that must be well for issuing."""
        ...

    async def sign(
        self, csr: x509.CertificateSigningRequest, token: str, *, not_before: str = "", not_after: str = ""
    ) -> Chain:
        """Issue a leaf to whoever holds a provisioner's token."""
        ...

    async def renew(self, proof: PeerCertificate | RenewToken) -> Chain:
        """Issue the successor of a leaf, for the same key."""
        ...

    async def rekey(self, proof: PeerCertificate | RenewToken, csr: x509.CertificateSigningRequest) -> Chain:
        """Issue the successor of a leaf, for another key."""
        ...

    async def revoke(
        self, *, serial: int, token: str | None, peer: PeerCertificate | None, reason_code: int, reason: str
    ) -> None:
        """Revoke a certificate."""
        ...

    async def ready(self) -> None:
        """Return when the node could issue now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The node behind the endpoints."""

    authority: Issuing
    tls: TlsSettings
    """Told to clients in each reply that has a certificate."""
    version: str
    readiness: Readiness = field(init=False)
    around_leaf: tuple[bytes, bytes, bytes] = field(init=False, repr=False)
    """What stands before, between and behind the two places of the leaf's PEM in the answer to who gets one (JSON)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "readiness", Readiness(self.authority.ready))
        object.__setattr__(self, "around_leaf", _around_leaf(self))


def _around_leaf(service: Service) -> tuple[bytes, bytes, bytes]:
    """Write the answer with a mark in the place of the leaf, and cut it there: the leaf is all that changes."""
    above = service.authority.hierarchy.chain_pem
    value = {"crt": _MARK, "ca": above[0], "certChain": [_MARK, *above], "tlsOptions": service.tls.to_json()}
    before, between, behind = json_response(201, value).body.split(_MARK.encode())
    return before, between, behind
