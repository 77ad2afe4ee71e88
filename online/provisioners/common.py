"""The settings that every kind of provisioner has in a ca.json, read in one way for all of them.

Invariant: a provisioner's name shows as it is, and its limits do not contradict each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from online.claims import Claims, StatedClaims, merge, parse_claims
from online.provisioners.issuance import KEYS, IssuanceRules, parse_issuance
from online.strict_json import Fields, JsonObject
from shared.errors import RequestRejected
from shared.names import printable

KNOWN = KEYS | {"type", "name", "claims"}
"""The keys that ``read_common`` reads; a kind adds its own."""
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all kinds have: each is one of these, and more."""

    name: str
    stated: StatedClaims = field(default_factory=StatedClaims)
    """What its own configuration says; ``claims`` is what holds."""
    claims: Claims = field(default_factory=Claims)
    rules: IssuanceRules = field(default_factory=IssuanceRules)


def read_common(found: Fields, *, above: Claims, home: Path) -> Common:
    """Read what all kinds of provisioner have.

    Args:
        found: the provisioner's object.
        above: the authority's limits.
        home: what the path of a template file hangs on.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-key`` or ``config.unsupported-template``.
    """
    rules = parse_issuance(found, home=home)
    name = found.text("name")
    if len(name) > _LONGEST_NAME or printable(name, limit=_LONGEST_NAME) != name:
        raise RequestRejected("config.malformed", f"{found.at('name')} is too long or has characters that do not show")
    stated = parse_claims(found.raw("claims"), path=found.at("claims"))
    try:
        claims = merge(above, stated)
    except RequestRejected as error:
        raise RequestRejected("config.malformed", f"{found.path}: {error.message}", hint=error.hint) from None
    return Common(name=name, stated=stated, claims=claims, rules=rules)


def with_claims(entry: JsonObject, stated: StatedClaims) -> JsonObject:
    """Return the entry of a provisioner with the claims that it states, if it states any."""
    members = stated.to_json()
    return {**entry, "claims": members} if members else entry
