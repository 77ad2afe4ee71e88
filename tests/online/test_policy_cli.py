"""``online policy``: the reasons as a person reads them, as JSON, and by exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.governed import document, provisioner_entry

from online.cli import cli

POLICY = {"x509": {"allow": {"dns": ["*.example.com"]}, "deny": {"dns": ["evil.example.com"]}}}


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    own = {"policy": {"x509": {"keys": {"kinds": ["ec-p256", "rsa"], "minRSABits": 3072}}}}
    (tmp_path / "config" / "ca.json").write_bytes(document(policy=POLICY, provisioner=own))
    return tmp_path


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["policy", *arguments, "--home", str(home)])


def cases(home: Path, *entries: dict[str, Any]) -> str:
    (home / "cases.json").write_text(json.dumps(entries))
    return str(home / "cases.json")


def test_an_allowed_request_ends_with_zero(home: Path) -> None:
    """A script goes by the status, a person by the rule."""
    result = run(home, "explain", "www.example.com")
    assert result.exit_code == 0
    assert "dns    www.example.com  by authority.policy.x509.allow.dns[0]: the rule *.example.com" in result.stdout
    assert "authority.provisioners[0].policy.x509.keys" in result.stdout
    assert "denied" not in result.stdout


def test_a_denied_one_ends_with_one_and_says_why(home: Path) -> None:
    """The point of the command: which of many rules it was."""
    result = run(home, "explain", "www.example.com", "--san", "evil.example.com", "--san", "10.0.0.1")
    assert result.exit_code == 1
    assert "denied   dns    evil.example.com  by authority.policy.x509.deny.dns[0]" in result.stdout
    assert "denied   ip     10.0.0.1  by authority.policy.x509.allow: " in result.stdout


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], 0),
        (["--kty", "RSA"], 1),
        (["--kty", "RSA", "--size", "3072"], 0),
        (["--kty", "OKP"], 1),
        (["--curve", "P-384"], 1),
    ],
)
def test_keys_are_judged_without_making_one(home: Path, options: list[str], status: int) -> None:
    """An RSA key of 8192 bits takes a minute to make; nobody should wait to be told no."""
    assert run(home, "explain", "www.example.com", *options).exit_code == status


def test_json_says_the_same(home: Path) -> None:
    """Monitoring reads it."""
    result = run(home, "explain", "evil.example.com", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["allowed"] is False
    assert found["provisioner"] == "admin"
    assert {
        "allowed": False,
        "kind": "dns",
        "name": "evil.example.com",
        "rule": "authority.policy.x509.deny.dns[0]",
        "why": "the rule evil.example.com",
    } in found["decisions"]


def test_one_of_several_provisioners_must_be_named(home: Path) -> None:
    """Silence about whose policy was asked would be taken for a yes of all of them."""
    path = home / "config" / "ca.json"
    whole = json.loads(path.read_text())
    entry, _ = provisioner_entry("team", policy={"x509": {"allow": {"dns": ["a.example.com"]}}})
    whole["authority"]["provisioners"].append(entry)
    path.write_text(json.dumps(whole))
    result = run(home, "explain", "b.example.com")
    assert result.exit_code == 0
    assert "only the authority's policy was asked" in result.stderr
    assert run(home, "explain", "b.example.com", "--provisioner", "team").exit_code == 1
    assert run(home, "explain", "a.example.com", "--provisioner", "team").exit_code == 0
    result = run(home, "explain", "a.example.com", "--provisioner", "nobody")
    assert result.exit_code == 1
    assert "provisioners are admin, team" in result.stderr


def test_names_that_are_none_are_refused_in_one_line(home: Path) -> None:
    """No policy would help them; no traceback either."""
    result = run(home, "explain", "a b\n\x1b[2J")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "\x1b" not in result.stderr


def test_a_template_is_taken_into_account(home: Path, tmp_path: Path) -> None:
    """A template that adds a forbidden name makes every request fail; the explanation must show it."""
    template = {"subject": "{{ toJson .Subject }}", "sans": "{{ toJson .SANs }}", "dnsNames": "evil.example.com"}
    file = tmp_path / "new.json"
    file.write_bytes(document(policy=POLICY, provisioner={"options": {"x509": {"template": template}}}))
    result = run(home, "explain", "www.example.com", "--ca-config", str(file))
    assert result.exit_code == 1
    assert "denied   dns    evil.example.com" in result.stdout


def test_cases_that_are_as_expected(home: Path) -> None:
    """What a change of the policy must not change, written down."""
    file = cases(
        home,
        {"subject": "a.example.com", "allowed": True},
        {"subject": "evil.example.com", "allowed": False, "rule": "authority.policy.x509.deny.dns[0]"},
        {"subject": "a.example.com", "sans": ["a.example.com", "b.test"], "allowed": False, "provisioner": "admin"},
        {"subject": "a.example.com", "kty": "RSA", "size": 2048, "allowed": False},
        {"subject": "not a name", "allowed": False},
    )
    result = run(home, "test", file)
    assert result.exit_code == 0, result.output
    assert "5 of 5 cases are as expected" in result.stderr


def test_cases_that_are_not(home: Path) -> None:
    """Each wrong answer is told with its rule, and the status stops the deployment."""
    file = cases(
        home,
        {"subject": "evil.example.com", "allowed": True},
        {"subject": "a.example.com", "allowed": False},
        {"subject": "evil.example.com", "allowed": False, "rule": "authority.policy.x509.allow"},
        {"subject": "not a name", "allowed": True},
    )
    result = run(home, "test", file)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("case 1, evil.example.com: denied: ")
    assert lines[1].startswith("case 2, a.example.com: allowed: ")
    assert "not by authority.policy.x509.allow" in lines[2]
    assert lines[3].startswith("case 4, not a name: refused: ")
    assert "0 of 4 cases" in result.stderr


@pytest.mark.parametrize(
    "entries",
    [
        {},
        [],
        [{"subject": "a.b"}],
        [{"allowed": True}],
        [{"subject": "a.b", "allowed": 1}],
        [{"subject": "a.b", "allowed": True, "san": []}],
        [{"subject": "a.b", "allowed": True, "size": 2048.5, "kty": "RSA"}],
        [{"subject": "a.b", "allowed": True, "kty": "DSA"}],
        [{"subject": "a.b", "allowed": True, "provisioner": "nobody"}],
    ],
)
def test_a_file_of_cases_that_says_something_else(home: Path, entries: Any) -> None:
    """A test that tests nothing must not pass."""
    (home / "cases.json").write_text(json.dumps(entries))
    result = run(home, "test", str(home / "cases.json"))
    assert result.exit_code == 1
    assert "error:" in result.stderr
    assert "unexpected" not in result.stderr
