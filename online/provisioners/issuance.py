"""What every kind of provisioner may say about the leaves that it vouches for: a policy, and a template.

In a ca.json, ``policy`` stands beside ``claims`` (step-ca ignores it there: its provisioners have none), the template
where step-ca has it, under ``options.x509``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from online.policy import Policy, parse_policy
from online.strict_json import Fields, Json, is_empty
from online.templates import DEFAULT_TEMPLATE, LeafTemplate, parse_template
from online.templates.load import LARGEST_TEMPLATE
from shared import durable
from shared.errors import RequestRejected

KEYS = frozenset({"policy", "options"})
UNSUPPORTED_OPTIONS = {
    "ssh": "remove it: the node issues X.509 certificates only",
    "webhooks": "remove it: the node calls no webhooks",
    "wire": "remove it: the node does not speak Wire's protocol",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuanceRules:
    """A provisioner's own rules for leaves; those of the authority hold as well."""

    policy: Policy = field(default_factory=lambda: Policy(path="policy.x509"))
    template: LeafTemplate = DEFAULT_TEMPLATE


def parse_issuance(found: Fields, *, home: Path) -> IssuanceRules:
    """Read ``policy`` and ``options`` of a provisioner.

    Args:
        found: the provisioner's object; ``KEYS`` are known to it.
        home: what the path of a template file hangs on.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-key`` or ``config.unsupported-template``.
    """
    return IssuanceRules(
        policy=parse_policy(found.raw("policy"), path=found.at("policy")), template=_template(found, home)
    )


def _template(found: Fields, home: Path) -> LeafTemplate:
    if "options" not in found:
        return DEFAULT_TEMPLATE
    options = Fields(found.raw("options"), path=found.at("options"), known={"x509"}, unsupported=UNSUPPORTED_OPTIONS)
    if "x509" not in options:
        return DEFAULT_TEMPLATE
    block = Fields(options.raw("x509"), path=options.at("x509"), known={"template", "templateFile", "templateData"})
    inline, file = block.raw("template"), block.text("templateFile", default="")
    data, data_path = block.raw("templateData"), block.at("templateData")
    if is_empty(inline) and not file:
        if not is_empty(data):
            raise RequestRejected(
                "config.malformed",
                f"{data_path} has no effect: there is no template",
                hint="remove it, or add template",
            )
        return DEFAULT_TEMPLATE
    if not is_empty(inline) and file:
        raise RequestRejected(
            "config.malformed", f"{block.at('template')} and {block.at('templateFile')} are both given", hint="keep one"
        )
    template, path = (
        (_text_of(home / file, block), block.at("templateFile")) if file else (inline, block.at("template"))
    )
    return parse_template(template, path=path, data=data, data_path=data_path)


def _text_of(file: Path, block: Fields) -> Json:
    path = block.at("templateFile")
    try:
        return durable.read_file(file, limit=LARGEST_TEMPLATE).decode("utf-8")
    except UnicodeDecodeError:
        raise RequestRejected("config.malformed", f"{path}: the file is not UTF-8 text") from None
    except RequestRejected as error:
        raise RequestRejected("config.malformed", f"{path}: {error.message}", hint=error.hint) from None
