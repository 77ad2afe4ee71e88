"""Explaining and testing a policy without issuing anything: the decisions are those that ``sign`` would make. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from online.config import Config
from online.csr import TokenNames
from online.key_choice import KeyChoice, choose_key
from online.policy.engine import Decision, KeyFacts, Wanted, decide
from online.provisioners.issuance import IssuanceRules
from online.provisioners.protocol import Provisioner
from online.strict_json import Fields, Json, JsonObject, wrong_type
from online.templates import fill
from shared.errors import NotFound, RequestRejected
from shared.keys import KeyKind
from shared.names import printable

_CASE_KEYS = frozenset({"subject", "sans", "provisioner", "kty", "curve", "size", "allowed", "rule"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What somebody might ask the CA for."""

    subject: str
    sans: tuple[str, ...]
    """None stands for the subject."""
    key: KeyChoice
    provisioner: str | None
    """``None`` asks the only provisioner; when there are several, only the authority."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answer, with its reasons."""

    provisioner: str | None
    """Who was asked beside the authority."""
    decisions: tuple[Decision, ...]

    @property
    def allowed(self) -> bool:
        """Whether a certificate would be issued, as far as policies decide."""
        return all(each.allowed for each in self.decisions)

    @property
    def deciding(self) -> tuple[Decision, ...]:
        """The decisions that the answer rests on: the refusals, or when there are none all of them."""
        return tuple(each for each in self.decisions if not each.allowed) or self.decisions

    def lines(self) -> Iterable[str]:
        """Return one line a decision, safe for a terminal."""
        for each in self.decisions:
            verdict = "allowed" if each.allowed else "denied"
            yield f"{verdict:7}  {each.kind:5}  {printable(each.name, limit=300)}  by {each.rule}: {each.why}"

    def to_json(self) -> JsonObject:
        """Return the explanation as an object."""
        decisions: list[Json] = [
            {"allowed": each.allowed, "kind": each.kind, "name": each.name, "rule": each.rule, "why": each.why}
            for each in self.decisions
        ]
        return {"allowed": self.allowed, "provisioner": self.provisioner, "decisions": decisions}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question with the answer that its author expects."""

    question: Question
    allowed: bool
    rule: str | None
    """The rule that must decide, when the author cares."""


def explain(config: Config, question: Question) -> Explanation:
    """Answer a question as ``sign`` would: the provisioner's template is filled, and both policies judge the result.

    Args:
        config: of the CA.
        question: subject, names, key, provisioner.

    Raises:
        RequestRejected: ``name.*`` for names that no policy would help.
        NotFound: ``provisioner.unknown``.
    """
    provisioner = _provisioner(config, question.provisioner)
    rules = provisioner.rules if provisioner is not None else IssuanceRules()
    names = TokenNames.of(question.subject, question.sans)
    filled = fill(
        rules.template,
        subject=names.subject,
        sans=names.sans,
        kind=question.key.kind,
        defaults=config.subject_defaults,
    )
    key = question.key
    facts = KeyFacts(kind=key.kind, rsa_bits=key.rsa_bits if key.kind is KeyKind.RSA else 0)
    wanted = Wanted(common_name=filled.common_name, sans=filled.sans, key=facts)
    levels = (config.policy,) if provisioner is None else (config.policy, rules.policy)
    return Explanation(
        provisioner=provisioner.name if provisioner is not None else None, decisions=decide(levels, wanted)
    )


def check(config: Config, case: Case) -> str | None:
    """Return what is wrong with the answer to a case; ``None`` when it is as expected.

    Raises:
        NotFound: ``provisioner.unknown``.
    """
    try:
        found = explain(config, case.question)
    except NotFound:
        raise
    except RequestRejected as error:
        return f"refused: {error.message}" if case.allowed or case.rule is not None else None
    if found.allowed != case.allowed:
        first = found.deciding[0]
        verdict = "allowed" if found.allowed else "denied"
        return f"{verdict}: {first.kind} {printable(first.name, limit=300)} by {first.rule}: {first.why}"
    if case.rule is not None and case.rule not in {each.rule for each in found.deciding}:
        decided = ", ".join(dict.fromkeys(each.rule for each in found.deciding))
        return f"decided by {decided}, not by {printable(case.rule)}"
    return None


def parse_cases(value: Json) -> tuple[Case, ...]:
    """Read the cases of a policy test: a list of objects, ``{"subject": …, "allowed": true}`` at the least.

    Raises:
        RequestRejected: ``config.*`` or ``key.choice``.
    """
    if not isinstance(value, list):
        raise wrong_type("the document", "a list of cases", value)
    if not value:
        raise RequestRejected("config.malformed", "the document has no cases", hint='write [{"subject": …}]')
    return tuple(_case(each, f"[{index}]") for index, each in enumerate(value))


def _case(value: Json, path: str) -> Case:
    found = Fields(value, path=path, known=_CASE_KEYS)
    allowed, size = found.flag("allowed"), found.number("size")
    if allowed is None:
        raise RequestRejected("config.missing-key", f"{found.at('allowed')} is missing", hint="say true or false")
    if isinstance(size, float):
        raise wrong_type(found.at("size"), "a whole number", size)
    return Case(
        question=Question(
            subject=found.text("subject"),
            sans=found.texts("sans"),
            key=choose_key(found.text("kty", default="EC"), found.text("curve", default="") or None, size),
            provisioner=found.text("provisioner", default="") or None,
        ),
        allowed=allowed,
        rule=found.text("rule", default="") or None,
    )


def _provisioner(config: Config, name: str | None) -> Provisioner | None:
    candidates: Sequence[Provisioner] = config.provisioners
    if name is None:
        return candidates[0] if len(candidates) == 1 else None
    for each in candidates:
        if each.name == name:
            return each
    raise NotFound(
        "provisioner.unknown",
        f"there is no provisioner {printable(name)}",
        hint=f"provisioners are {', '.join(printable(each.name) for each in candidates)}",
    )
