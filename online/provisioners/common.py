"""The settings that every kind of provisioner has in a ca.json, read in one way for all of them.

Invariant: a provisioner's name shows as it is, and its limits do not contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from online.claims import Claims, StatedClaims, merge, parse_claims
from online.provisioners.issuance import KEYS, IssuanceRules, parse_issuance
from online.strict_json import Fields, Json, JsonObject
from shared.errors import RequestRejected
from shared.names import printable

_KNOWN = KEYS | {"type", "name", "claims"}
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all kinds have: each is one of these, and more."""

    name: str
    stated: StatedClaims = field(default_factory=StatedClaims)
    """What its own configuration says; ``claims`` is what holds."""
    claims: Claims = field(default_factory=Claims)
    rules: IssuanceRules = field(default_factory=IssuanceRules)


class CommonMembers(TypedDict):
    """The arguments of ``Common``, for the kinds to hand on."""

    name: str
    stated: StatedClaims
    claims: Claims
    rules: IssuanceRules


def open_entry(
    value: Json, *, path: str, keys: frozenset[str], above: Claims, home: Path
) -> tuple[Fields, CommonMembers]:
    """Open the object of a provisioner, and read what all kinds have.

    Args:
        value: the object.
        path: its dotted path.
        keys: those that the kind has for itself.
        above: the authority's limits.
        home: what the path of a template file hangs on.

    Returns:
        The object, for the kind to read its own keys, and what all kinds have.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-key`` or ``config.unsupported-template``.
    """
    found = Fields(value, path=path, known=_KNOWN | keys)
    rules = parse_issuance(found, home=home)
    name = found.text("name")
    if len(name) > _LONGEST_NAME or printable(name, limit=_LONGEST_NAME) != name:
        raise RequestRejected("config.malformed", f"{found.at('name')} is too long or has characters that do not show")
    stated = parse_claims(found.raw("claims"), path=found.at("claims"))
    with at_fault(path):
        claims = merge(above, stated)
    return found, {"name": name, "stated": stated, "claims": claims, "rules": rules}


@contextmanager
def at_fault(where: str) -> Iterator[None]:
    """Turn what is refused within a ``with`` block into a fault of the configuration at a place.

    Args:
        where: the dotted path.

    Raises:
        RequestRejected: ``config.malformed``; what is of the configuration's room already stays as it is.
    """
    try:
        yield
    except RequestRejected as error:
        if error.code.startswith("config."):
            raise
        raise RequestRejected("config.malformed", f"{where}: {error.message}", hint=error.hint) from None


def with_claims(entry: JsonObject, stated: StatedClaims) -> JsonObject:
    """Return the entry of a provisioner with the claims that it states, if it states any."""
    members = stated.to_json()
    return {**entry, "claims": members} if members else entry
