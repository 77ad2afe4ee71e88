"""The settings that every kind of provisioner has in a ca.json, read in one way for all of them.

Invariant: a provisioner's name shows as it is, and its limits do not contradict each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from online.claims import Claims, StatedClaims, merge, parse_claims
from online.strict_json import Fields, JsonObject
from shared.errors import RequestRejected
from shared.names import printable

KNOWN = frozenset({"type", "name", "claims", "options"})
"""The keys that ``read_common`` reads; a kind adds its own."""
_LONGEST_NAME = 256
_X509_OPTIONS = {
    "template": "remove it: the node's leaf profile is fixed",
    "templateFile": "remove it: the node's leaf profile is fixed",
    "templateData": "remove it: the node's leaf profile is fixed",
}
_OPTIONS = {
    "ssh": "remove it: the node issues X.509 certificates only",
    "webhooks": "remove it: the node calls no webhooks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all kinds have."""

    name: str
    stated: StatedClaims
    """What its own configuration says; ``claims`` is what holds."""
    claims: Claims


def read_common(found: Fields, *, above: Claims) -> Common:
    """Read what all kinds of provisioner have.

    Args:
        found: the provisioner's object.
        above: the authority's limits.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-key``.
    """
    _refuse_options(found)
    name = found.text("name")
    if len(name) > _LONGEST_NAME or printable(name, limit=_LONGEST_NAME) != name:
        raise RequestRejected("config.malformed", f"{found.at('name')} is too long or has characters that do not show")
    stated = parse_claims(found.raw("claims"), path=found.at("claims"))
    try:
        claims = merge(above, stated)
    except RequestRejected as error:
        raise RequestRejected("config.malformed", f"{found.path}: {error.message}", hint=error.hint) from None
    return Common(name=name, stated=stated, claims=claims)


def with_claims(entry: JsonObject, stated: StatedClaims) -> JsonObject:
    """Return the entry of a provisioner with the claims that it states, if it states any."""
    members = stated.to_json()
    return {**entry, "claims": members} if members else entry


def _refuse_options(found: Fields) -> None:
    """Accept the empty option objects that step-ca's admin API writes, refuse any that say something."""
    if "options" not in found:
        return
    options = Fields(found.raw("options"), path=found.at("options"), known={"x509"}, unsupported=_OPTIONS)
    if "x509" in options:
        Fields(options.raw("x509"), path=options.at("x509"), known=(), unsupported=_X509_OPTIONS)
