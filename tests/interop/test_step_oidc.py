"""Identity providers' tokens against the real server: by the unchanged ``step`` CLI, and by our client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from fakes.node import Node, make_home, running
from fakes.oidc import CLIENT, FakeIssuer, serving

from online.step_extension import read_step_extension
from shared.pem import load_certificates

_STEP = shutil.which("step")
pytestmark = pytest.mark.skipif(_STEP is None, reason="the step CLI is not on PATH")


@dataclass(frozen=True, kw_only=True)
class People:
    """A node that trusts an issuer, and both command lines."""

    node: Node
    issuer: FakeIssuer
    directory: Path

    def token(self, **claims: Any) -> str:
        """Sign an ID token that is good now."""
        now = int(time.time())
        return self.issuer.token(**{"iat": now, "exp": now + 600, "nonce": os.urandom(8).hex(), **claims})

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command and insist on its exit status."""
        home = str(self.directory / "step")
        done = subprocess.run(
            arguments,
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "HOME": str(self.directory), "STEPPATH": home, "COLDROOT_HOME": home,
                 "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )  # fmt: skip
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def online(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run ``online``."""
        return self.run(sys.executable, "-m", "online", *arguments, status=status)

    def sans(self, name: str) -> list[str]:
        """Return the names in a certificate."""
        leaf = load_certificates((self.directory / name).read_bytes())[0]
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [str(each.value) for each in found]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A node and an issuer on loopback."""
    issuer = FakeIssuer()
    with serving(issuer, tmp_path_factory.mktemp("issuer")) as (url, root, _), pytest.MonkeyPatch.context() as patch:
        home = make_home(tmp_path_factory.mktemp("node") / "home")
        document = json.loads(home.config.read_text())
        document["authority"]["provisioners"].append(
            {"type": "OIDC", "name": "people", "clientID": CLIENT, "configurationEndpoint": url,
             "admins": ["root@example.com"], "domains": ["example.com"]}
        )  # fmt: skip
        home.config.write_text(json.dumps(document))
        patch.setenv("SSL_CERT_FILE", str(root))
        with running(home) as node:
            found = People(node=node, issuer=issuer, directory=tmp_path_factory.mktemp("client"))
            found.run("step", "ca", "bootstrap", "--ca-url", node.url, "--fingerprint", home.fingerprint)
            yield found


def test_a_user_by_step(people: People) -> None:
    """Without this, what step writes into a request for an identity would not fit what the node expects."""
    token = people.token()
    people.run("step", "ca", "certificate", "jane@example.com", "a.crt", "a.key", "--token", token)
    assert people.sans("a.crt") == ["jane@example.com", f"{people.issuer.issuer}#248289761001"]
    leaf = load_certificates((people.directory / "a.crt").read_bytes())[0]
    extension = read_step_extension(leaf)
    assert extension is not None
    assert (extension.type, extension.name, extension.credential_id) == (2, "people", CLIENT)
    again = people.run("step", "ca", "certificate", "jane@example.com", "b.crt", "b.key", "--token", token, status=1)
    assert "lacked necessary authorization" in again.stderr
    people.run("step", "ca", "renew", "--force", "a.crt", "a.key")


def test_a_user_gets_no_other_name(people: People) -> None:
    """Without this, an account at the identity provider would be enough for any server's certificate."""
    wanted = ("ca", "certificate", "www.example.com", "c.crt", "c.key", "--token")
    assert "forbidden" in people.run("step", *wanted, people.token(), status=1).stderr
    people.online("certificate", "www.example.com", "c.crt", "c.key", "--token", people.token(), status=1)
    for stranger in ({"email": "eve@example.org"}, {"email_verified": False}, {"aud": "another"}):
        refused = people.run("step", "ca", "certificate", "eve@example.org", "c.crt", "c.key", "--token",
                             people.token(**stranger), status=1)  # fmt: skip
        assert "lacked necessary authorization" in refused.stderr


def test_an_administrator_gets_what_they_ask_for(people: People) -> None:
    """Without this, administrators would be users."""
    admin = {"email": "root@example.com"}
    people.run("step", "ca", "certificate", "www.example.com", "d.crt", "d.key", "--token", people.token(**admin))
    assert people.sans("d.crt") == ["www.example.com"]
    people.online("certificate", "www.example.com", "e.crt", "e.key", "--san", "www.example.com", "--san", "10.0.0.7",
                  "--token", people.token(**admin))  # fmt: skip
    assert people.sans("e.crt") == ["www.example.com", "10.0.0.7"]
    serial = str(load_certificates((people.directory / "e.crt").read_bytes())[0].serial_number)
    people.online("revoke", serial, "--token", people.token(), status=1)
    people.online("revoke", serial, "--token", people.token(**admin))
    people.online("renew", "e.crt", "e.key", "--force", status=1)


def test_a_user_by_our_client(people: People) -> None:
    """Without this, only step's client could use an identity."""
    people.online("certificate", "jane@example.com", "f.crt", "f.key", "--token", people.token())
    assert people.sans("f.crt") == ["jane@example.com", f"{people.issuer.issuer}#248289761001"]
    robot = people.token(email=..., sub="robot-7", email_verified=...)
    refused = people.online("certificate", "robot-7", "g.crt", "g.key", "--token", robot, status=1)
    assert "error:" in refused.stderr


def test_what_is_published(people: People) -> None:
    """Without this, step could not sign its user in, or everybody could read who the administrators are."""
    listed = json.loads(people.run("step", "ca", "provisioner", "list").stdout)
    entry = next(each for each in listed if each["type"] == "OIDC")
    assert (entry["clientID"], entry["configurationEndpoint"].startswith(people.issuer.issuer)) == (CLIENT, True)
    assert "root@example.com" not in json.dumps(listed)
