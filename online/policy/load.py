"""Reading a ``policy`` object of a ca.json: the authority's, or one beside a provisioner's ``claims``.

The shape is step-ca's ``authority.policy``, with two additions that step-ca ignores: a provisioner may have one of its
own, and ``x509.keys`` restricts the kinds of key::

    "policy": {"x509": {
        "allow": {"dns": ["*.example.com"], "ip": ["10.0.0.0/8"]},
        "deny": {"dns": ["admin.example.com"]},
        "allowWildcardNames": false,
        "keys": {"kinds": ["ec-p256", "ec-p384", "rsa"], "minRSABits": 3072}
    }}

Invariant: a rule that could never match, or could be read in two ways, is refused with its dotted path. A policy that
silently does nothing is worse than none.
"""

from __future__ import annotations

from online.policy.engine import KeyRule, Policy, Rule
from online.policy.patterns import NameKind, parse_pattern
from online.strict_json import Fields, Json
from shared.errors import RequestRejected
from shared.keys import LEAST_RSA_BITS, MOST_RSA_BITS, KeyKind

_SSH = "remove it: the node issues X.509 certificates only"


def parse_policy(value: Json, *, path: str) -> Policy:
    """Read a ``policy`` object.

    Args:
        value: the object; ``None`` when there is none.
        path: its dotted path.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-key`` for the policy of step-ca's SSH side.
    """
    where = f"{path}.x509"
    if value is None:
        return Policy(path=where)
    found = Fields(value, path=path, known={"x509"}, unsupported={"ssh": _SSH})
    if "x509" not in found:
        return Policy(path=where)
    block = Fields(found.raw("x509"), path=where, known={"allow", "deny", "allowWildcardNames", "keys"})
    return Policy(
        path=where,
        allow=_rules(block, "allow"),
        deny=_rules(block, "deny"),
        wildcards=block.flag("allowWildcardNames"),
        keys=_keys(block),
    )


def _rules(block: Fields, side: str) -> tuple[Rule, ...]:
    if side not in block:
        return ()
    found = Fields(block.raw(side), path=block.at(side), known=frozenset(NameKind))
    return tuple(
        _rule(kind, text, f"{found.at(kind)}[{index}]")
        for kind in NameKind
        for index, text in enumerate(found.texts(kind))
    )


def _rule(kind: NameKind, text: str, path: str) -> Rule:
    try:
        return Rule(path=path, text=text, kind=kind, pattern=parse_pattern(kind, text))
    except RequestRejected as error:
        raise RequestRejected("config.malformed", f"{path}: {error.message}", hint=error.hint) from None


def _keys(block: Fields) -> KeyRule | None:
    if "keys" not in block:
        return None
    found = Fields(block.raw("keys"), path=block.at("keys"), known={"kinds", "minRSABits"})
    kinds = frozenset(KeyKind)
    if "kinds" in found:
        kinds = frozenset(
            _kind(text, f"{found.at('kinds')}[{index}]") for index, text in enumerate(found.texts("kinds"))
        )
    if not kinds:
        raise RequestRejected(
            "config.malformed", f"{found.at('kinds')} allows no key at all", hint="remove it to allow every kind"
        )
    bits = found.number("minRSABits")
    if bits is None:
        return KeyRule(path=found.path, kinds=kinds)
    if not isinstance(bits, int) or not LEAST_RSA_BITS <= bits <= MOST_RSA_BITS:
        raise RequestRejected(
            "config.malformed",
            f"{found.at('minRSABits')} is not a whole number from {LEAST_RSA_BITS} to {MOST_RSA_BITS}",
        )
    if KeyKind.RSA not in kinds:
        raise RequestRejected(
            "config.malformed",
            f"{found.at('minRSABits')} has no effect: RSA is not among the kinds",
            hint="remove it, or add rsa to kinds",
        )
    return KeyRule(path=found.path, kinds=kinds, least_rsa_bits=bits)


def _kind(text: str, path: str) -> KeyKind:
    try:
        return KeyKind(text.lower())
    except ValueError:
        raise RequestRejected(
            "config.malformed", f"{path} is not a kind of key", hint=f"kinds are {', '.join(KeyKind)}"
        ) from None
