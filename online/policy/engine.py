"""The policy engine: names and a key in, decisions that explain themselves out. Pure.

A name is decided on one level (the authority's policy, a provisioner's) in this order; the numbers return in the code:

1. a wildcard name passes only where wildcard names are allowed;
2. a deny rule for its kind that matches stops it: deny wins;
3. an allow rule for its kind that matches lets it pass; when there are allow rules for its kind and none matches, it
   is stopped;
4. when names of other kinds are allowed and this kind is not spoken of, it is stopped: to allow one kind is to deny
   the others;
5. otherwise nothing speaks against it.

A common name is held against the rules for common names and against those for the kind of name that it looks like.

Invariants: every level must let every name and the key pass; whatever no rule can judge (a URI without a host, a
common name that is no name of any kind) does not pass where there are rules; a ``Decision`` names the rule that fell
the decision by its dotted path in the configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import rsa

from online.policy.patterns import NameKind, Pattern
from shared.errors import PolicyDenied, RequestRejected
from shared.keys import KeyKind, PublicKey, kind_of
from shared.names import SanSet, parse_sans, printable

KEY = "key"
_SHOWN = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a policy."""

    path: str = field(compare=False)
    """Where it stands, for example ``authority.policy.x509.deny.dns[2]``."""
    text: str
    """As it is written there."""
    kind: NameKind
    pattern: Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRule:
    """Which kinds of subject key are allowed. step-ca has no such rule and ignores it."""

    path: str = field(compare=False)
    kinds: frozenset[KeyKind] = frozenset(KeyKind)
    least_rsa_bits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of one level."""

    path: str = field(compare=False)
    """The dotted path of the level's ``x509`` object."""
    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    wildcards: bool | None = None
    """Whether wildcard names may be certified; ``None`` when it is not stated: then not where there are rules."""
    keys: KeyRule | None = None

    def says_nothing(self) -> bool:
        """Tell whether it lets everything pass, because it has neither rules nor a word on wildcard names."""
        return not (self.allow or self.deny) and self.keys is None and self.wildcards is not False

    def allows_wildcards(self) -> bool:
        """Tell whether wildcard names may be certified, if the rules let them pass."""
        return self.wildcards if self.wildcards is not None else not (self.allow or self.deny)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """What the rules about keys look at."""

    kind: KeyKind
    rsa_bits: int = 0
    """Bits of the modulus; 0 for other kinds."""

    @classmethod
    def of(cls, key: PublicKey) -> KeyFacts:
        """Return the facts of a checked public key."""
        return cls(kind=kind_of(key), rsa_bits=key.key_size if isinstance(key, rsa.RSAPublicKey) else 0)

    def __str__(self) -> str:
        return f"{self.kind}-{self.rsa_bits}" if self.rsa_bits else str(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody wants certified."""

    common_name: str
    """Empty when there is none."""
    sans: SanSet
    key: KeyFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one level says about one name, or about the key."""

    allowed: bool
    kind: str
    """``cn``, ``dns``, ``ip``, ``email``, ``uri`` or ``key``."""
    name: str
    """The name; of a key, its kind. Not yet made safe for a terminal."""
    rule: str
    """Dotted path of the rule that decided, or of the place where a rule is missing."""
    why: str
    """The reason, for people; no full stop."""

    def refusal(self) -> str:
        """Return step-ca's words for a name that is not allowed."""
        shown = printable(self.name, limit=_SHOWN)
        return f"{shown} key not allowed" if self.kind == KEY else f'{self.kind} name "{shown}" not allowed'


def decide(policies: Iterable[Policy], wanted: Wanted) -> tuple[Decision, ...]:
    """Decide about everything that is wanted, on every level.

    Args:
        policies: the levels, the authority's first.
        wanted: common name, alternative names and key.

    Returns:
        One decision for each level and name, level by level.
    """
    return tuple(decision for policy in policies for decision in _decide_level(policy, wanted))


def enforce(policies: Sequence[Policy], wanted: Wanted) -> None:
    """Insist that every level lets everything pass.

    Args:
        policies: the levels, the authority's first.
        wanted: common name, alternative names and key.

    Raises:
        PolicyDenied: ``policy.not-allowed`` in step-ca's words; the hint names the rule.
    """
    for decision in decide([each for each in policies if not each.says_nothing()], wanted):
        if not decision.allowed:
            raise PolicyDenied(
                "policy.not-allowed", decision.refusal(), hint=f"decided by {decision.rule}: {decision.why}"
            )


def _decide_level(policy: Policy, wanted: Wanted) -> Iterable[Decision]:
    yield _decide_key(policy, wanted.key)
    if wanted.common_name:
        yield _decide_common_name(policy, wanted.common_name)
    for kind, name in _kinds(wanted.sans):
        yield _decide_name(policy, kind, name, shown=kind)


def _decide_key(policy: Policy, key: KeyFacts) -> Decision:
    rule, name = policy.keys, str(key)
    if rule is None:
        return Decision(allowed=True, kind=KEY, name=name, rule=policy.path, why="no rule speaks of keys")
    if key.kind not in rule.kinds:
        return Decision(
            allowed=False,
            kind=KEY,
            name=name,
            rule=f"{rule.path}.kinds",
            why=f"{key.kind} is not among the kinds of key that are allowed",
        )
    if key.kind is KeyKind.RSA and key.rsa_bits < rule.least_rsa_bits:
        return Decision(
            allowed=False,
            kind=KEY,
            name=name,
            rule=f"{rule.path}.minRSABits",
            why=f"RSA keys need {rule.least_rsa_bits} bits",
        )
    return Decision(allowed=True, kind=KEY, name=name, rule=rule.path, why="the kind of key is allowed")


def _decide_common_name(policy: Policy, name: str) -> Decision:
    kind, canonical = _looks_like(name)
    candidates = [(NameKind.COMMON_NAME, name)]
    if kind is not None:
        candidates.append((kind, canonical))
    for each, text in candidates:
        denied = _denied(policy, each, text, shown=NameKind.COMMON_NAME)
        if denied is not None:
            return denied
    allowed = _first_allowing(policy, NameKind.COMMON_NAME, name)
    if allowed is not None:
        return _by_rule(allowed, name, shown=NameKind.COMMON_NAME, allowed=True)
    if kind is not None:
        return _decide_name(policy, kind, canonical, shown=NameKind.COMMON_NAME)
    if policy.allow or policy.deny:
        return Decision(
            allowed=False,
            kind=NameKind.COMMON_NAME,
            name=name,
            rule=f"{policy.path}.allow.{NameKind.COMMON_NAME}",
            why="it is no DNS name, IP address, e-mail address or URI, so only a rule there could allow it",
        )
    return _unspoken(policy, name, shown=NameKind.COMMON_NAME)


def _decide_name(policy: Policy, kind: NameKind, name: str, *, shown: NameKind) -> Decision:
    # 1.
    if kind is NameKind.DNS and name.startswith("*.") and not policy.allows_wildcards():
        return Decision(
            allowed=False,
            kind=shown,
            name=name,
            rule=f"{policy.path}.allowWildcardNames",
            why="wildcard names are not allowed",
        )
    # 2.
    denied = _denied(policy, kind, name, shown=shown)
    if denied is not None:
        return denied
    # 3.
    allowed = _first_allowing(policy, kind, name)
    if allowed is not None:
        return _by_rule(allowed, name, shown=shown, allowed=True)
    if any(rule.kind is kind for rule in policy.allow):
        return Decision(
            allowed=False, kind=shown, name=name, rule=f"{policy.path}.allow.{kind}", why="no rule there matches"
        )
    # 4.
    if policy.allow:
        return Decision(
            allowed=False,
            kind=shown,
            name=name,
            rule=f"{policy.path}.allow",
            why=f"it allows names of other kinds, and so denies all of the kind {kind}",
        )
    # 5.
    return _unspoken(policy, name, shown=shown)


def _denied(policy: Policy, kind: NameKind, name: str, *, shown: NameKind) -> Decision | None:
    for rule in policy.deny:
        if rule.kind is kind and rule.pattern.forbids(name):
            return _by_rule(rule, name, shown=shown, allowed=False)
    return None


def _first_allowing(policy: Policy, kind: NameKind, name: str) -> Rule | None:
    return next((rule for rule in policy.allow if rule.kind is kind and rule.pattern.allows(name)), None)


def _by_rule(rule: Rule, name: str, *, shown: NameKind, allowed: bool) -> Decision:
    return Decision(allowed=allowed, kind=shown, name=name, rule=rule.path, why=f"the rule {printable(rule.text)}")


def _unspoken(policy: Policy, name: str, *, shown: NameKind) -> Decision:
    return Decision(allowed=True, kind=shown, name=name, rule=policy.path, why="no rule speaks of it")


def _kinds(sans: SanSet) -> Iterable[tuple[NameKind, str]]:
    for kind, values in (
        (NameKind.DNS, sans.dns),
        (NameKind.EMAIL, sans.emails),
        (NameKind.IP, sans.ips),
        (NameKind.URI, sans.uris),
    ):
        for value in values:
            yield kind, str(value)


def _looks_like(name: str) -> tuple[NameKind | None, str]:
    """Tell as what kind of alternative name a common name would be read, with its canonical form."""
    try:
        return next(iter(_kinds(parse_sans((name,)))))
    except RequestRejected:
        return None, name
