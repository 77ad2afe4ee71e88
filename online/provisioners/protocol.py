"""What every kind of provisioner has in common, and the operations that one may be asked to authorise.

Invariants: a provisioner is plain frozen data. What it may authorise is not decided here but by the allow-list
in ``online.provisioners.registry``, so that a new kind can do nothing until somebody wrote down what.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Protocol

from online.claims import Claims
from online.provisioners.issuance import IssuanceRules
from online.strict_json import JsonObject


class Operation(StrEnum):
    """What a caller wants to do; the value is the last part of the path in a token's audience."""

    SIGN = "sign"
    RENEW = "renew"
    REKEY = "rekey"
    REVOKE = "revoke"


class ProvisionerType(Enum):
    """The kinds of provisioner that the node knows, with the number each has in step's certificate extension."""

    JWK = ("JWK", 1)
    OIDC = ("OIDC", 2)
    X5C = ("X5C", 7)

    def __init__(self, wire_name: str, number: int) -> None:
        self.wire_name = wire_name
        self.number = number


class Provisioner(Protocol):
    """Somebody (a key, an account elsewhere) whom the operator lets authorise certificates."""

    @property
    def type(self) -> ProvisionerType:
        """The kind."""
        ...

    @property
    def name(self) -> str:
        """The operator's name for it, unique within one CA."""
        ...

    @property
    def id(self) -> str:
        """Unique and stable for as long as the key stays: single-use records of tokens hang on it."""
        ...

    @property
    def kid(self) -> str:
        """The key's identifier; it is the credential ID in step's certificate extension. May be empty."""
        ...

    @property
    def claims(self) -> Claims:
        """The limits that hold for it: its own, and the authority's where it states none."""
        ...

    @property
    def rules(self) -> IssuanceRules:
        """Its own policy and template for leaves; not published."""
        ...

    @property
    def encrypted_key(self) -> str | None:
        """The password-encrypted signing key that clients may fetch (a compact JWE), when one is published."""
        ...

    def public_json(self) -> JsonObject:
        """Return the entry of ``GET /provisioners``, in step-ca's shape and without anything secret."""
        ...
