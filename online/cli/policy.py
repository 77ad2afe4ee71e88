"""``online policy``: what the CA would say, and why, without asking it."""

from __future__ import annotations

from pathlib import Path

import click

from online.cli.options import FILE, home_option, json_option, key_options
from online.home import Home
from online.key_choice import KeyChoice
from online.policy.explain import Question, check, parse_cases
from online.policy.explain import explain as explain_question
from online.shared_authority import load_node_config
from online.strict_json import parse_json
from shared import durable, terminal
from shared.command import EXIT_FAILED, Group
from shared.names import printable

_ca_config = click.option("--ca-config", type=FILE, help="Read this ca.json instead of the home's.")


@click.group(cls=Group)
def policy() -> None:
    """Ask a policy for its reasons, or test it. Reads ca.json; no CA need run, and nothing is issued.

    \b
    Examples:
      online policy explain www.example.com --san 10.0.0.7
      online policy test cases.json --ca-config new.json
    """


@policy.command()
@click.argument("subject")
@click.option(
    "--san", "sans", multiple=True, help="DNS name, IP address, e-mail or URI. Repeatable. [default: SUBJECT]"
)
@click.option(
    "--provisioner", "--issuer", "provisioner", help="Whose policy and template hold too. [default: the only one]"
)
@key_options
@_ca_config
@json_option
@home_option
def explain(
    *,
    home: Home,
    subject: str,
    sans: tuple[str, ...],
    provisioner: str | None,
    key: KeyChoice,
    ca_config: Path | None,
    as_json: bool,
) -> None:
    """Say whether a certificate would be allowed, and which rule decides.

    Prints a line for the key, the common name and each alternative name, on each level: the authority's policy, then
    the provisioner's. A rule is named by its place in ca.json. Ends with status 0 when all of it is allowed, with 1
    when something is denied.

    \b
    Examples:
      online policy explain www.example.com
      online policy explain www.example.com --san www.example.com --san 10.0.0.7 --provisioner admin
      online policy explain db.example.com --kty RSA --size 2048 --ca-config new.json --json
    """
    config = load_node_config(ca_config or home.config)
    question = Question(subject=subject, sans=sans, key=key, provisioner=provisioner)
    found = explain_question(config, question)
    if found.provisioner is None:
        terminal.warn("only the authority's policy was asked: name a provisioner by --provisioner")
    if as_json:
        terminal.result_json(found.to_json())
    else:
        for line in found.lines():
            terminal.result(line)
    if not found.allowed:
        click.get_current_context().exit(EXIT_FAILED)


@policy.command()
@click.argument("cases", type=FILE)
@_ca_config
@home_option
def test(*, home: Home, cases: Path, ca_config: Path | None) -> None:
    """Hold a policy against a file of questions and expected answers.

    CASES is a JSON list of objects with subject and allowed (true or false), and as wanted sans, provisioner, kty,
    curve, size, and rule: the place in ca.json of the rule that must decide. Run it before a changed ca.json goes
    into service. Ends with status 1 when an answer is not as expected.

    \b
    Examples:
      online policy test cases.json
      online policy test cases.json --ca-config new.json
    with a cases.json such as
      [{"subject": "www.example.com", "allowed": true},
       {"subject": "evil.test", "allowed": false, "rule": "authority.policy.x509.allow.dns"}]
    """
    config = load_node_config(ca_config or home.config)
    wanted = parse_cases(parse_json(durable.read_file(cases), what=f"file {cases}", room="config"))
    wrong = 0
    for number, case in enumerate(wanted, start=1):
        complaint = check(config, case)
        if complaint is not None:
            wrong += 1
            terminal.result(f"case {number}, {printable(case.question.subject, limit=300)}: {complaint}")
    terminal.say(f"{len(wanted) - wrong} of {len(wanted)} cases are as expected")
    if wrong:
        click.get_current_context().exit(EXIT_FAILED)
