"""Whom a token is meant for: building and matching the ``aud`` claim (RFC 7519 §4.1.3), as step writes it.

Invariants: an audience is an absolute ``https`` URL without user, query or fragment, taken apart by one regular
expression and compared part by part; no prefix, no suffix and no second audience ever counts as a match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from online.provisioners.protocol import Operation
from online.strict_json import Json
from shared.errors import Unauthenticated

_LONGEST = 2048
_AUDIENCE = re.compile(
    r"https://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?P<path>/[A-Za-z0-9./-]+)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Audiences:
    """The names under which this CA is addressed by tokens."""

    hosts: frozenset[str]

    @classmethod
    def of(cls, dns_names: Iterable[str]) -> Audiences:
        """Build from the ``dnsNames`` of the configuration: host names and IP addresses without ports."""
        return cls(frozenset(f"[{name}]" if ":" in name else name.lower() for name in dns_names))

    def require(self, operation: Operation, claim: Json) -> None:
        """Insist that an ``aud`` claim names this CA and this operation, and nothing else.

        Accepted are ``https://HOST/OPERATION`` and ``https://HOST/1.0/OPERATION`` with any port, for the port is
        no part of a CA's identity (it may stand behind a forwarder). The host is compared as DNS compares
        names. Unlike step-ca, neither ssh-sign nor the legacy word ``step-certificate-authority`` passes
        for a sign audience, and a token for two audiences at once is refused: it could be used for either.

        Raises:
            Unauthenticated: ``token.audience``.
        """
        if isinstance(claim, list) and len(claim) == 1:
            claim = claim[0]
        match = _AUDIENCE.fullmatch(claim) if isinstance(claim, str) and len(claim) <= _LONGEST else None
        if (
            match is None
            or match["host"].lower() not in self.hosts
            or match["path"] not in {f"/{operation}", f"/1.0/{operation}"}
        ):
            raise Unauthenticated("token.audience", f"the token is not meant for this CA and the operation {operation}")


def audience(ca_url: str, operation: Operation) -> str:
    """Return the audience for a CA whose address is known, as the online ``step ca token`` writes it.

    Args:
        ca_url: ``https://host[:port]``.
        operation: what the token is for.
    """
    middle = "" if operation in {Operation.RENEW, Operation.REKEY} else "/1.0"
    return f"{ca_url.rstrip('/')}{middle}/{operation}"


def offline_audience(dns_name: str, operation: Operation) -> str:
    """Return the audience that needs no address, as ``step ca token --offline`` writes it.

    Args:
        dns_name: the first of the CA's ``dnsNames``.
        operation: what the token is for.
    """
    return f"https://{f'[{dns_name}]' if ':' in dns_name else dns_name}/{operation}"
