"""The unchanged ``step`` CLI with a certificate as its credential, against the real server; and our client likewise."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from fakes.certificates import make_intermediate, make_root
from fakes.node import PROVISIONER_PASSWORD, Node, make_home, running

from online.provisioners.x5c import X5cProvisioner
from online.step_extension import read_step_extension
from shared.pem import certificate_pem, load_certificates

_STEP = shutil.which("step")
pytestmark = pytest.mark.skipif(_STEP is None, reason="the step CLI is not on PATH")

JWK = ("--provisioner", "admin", "--provisioner-password-file", "password")


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Both command lines, bootstrapped to a running node that has an X5C provisioner for its own leaves."""

    node: Node
    directory: Path

    def step(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run ``step`` and insist on its exit status."""
        assert _STEP is not None
        return self._run([_STEP, *arguments], status)

    def online(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run ``online`` and insist on its exit status."""
        return self._run([sys.executable, "-m", "online", *arguments], status)

    def _run(self, command: list[str], status: int) -> subprocess.CompletedProcess[str]:
        environment = {
            "STEPPATH": str(self.directory / "step"),
            "COLDROOT_HOME": str(self.directory / "step"),
            "HOME": str(self.directory),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def read(self, name: str) -> x509.Certificate:
        """Return the leaf in a file."""
        return load_certificates((self.directory / name).read_bytes())[0]


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """A node that lets its own leaves vouch for others, and one such leaf: ``a.crt`` with ``a.key``."""
    home = make_home(tmp_path_factory.mktemp("node") / "home")
    document = json.loads(home.config.read_text())
    document["authority"]["provisioners"].append(X5cProvisioner(name="host keys", roots=(home.pki.root,)).public_json())
    home.config.write_text(json.dumps(document))
    with running(home) as node:
        directory = tmp_path_factory.mktemp("client")
        (directory / "password").write_bytes(PROVISIONER_PASSWORD)
        (directory / "password").chmod(0o600)
        both = Clients(node=node, directory=directory)
        both.step("ca", "bootstrap", "--ca-url", node.url, "--fingerprint", home.fingerprint)
        both.step("ca", "certificate", "a.example.com", "a.crt", "a.key", "--not-after", "2h", *JWK)
        yield both


CREDENTIAL = ("--x5c-cert", "a.crt", "--x5c-key", "a.key")


def test_certificate_by_certificate(clients: Clients) -> None:
    """Without this, ``--x5c-cert`` would not get past the node, or get more life than the credential has."""
    clients.step("ca", "certificate", "b.example.com", "b.crt", "b.key", "--provisioner", "host keys", *CREDENTIAL)
    vouching, leaf = clients.read("a.crt"), clients.read("b.crt")
    assert leaf.not_valid_after_utc == vouching.not_valid_after_utc
    extension = read_step_extension(leaf)
    assert extension is not None
    assert (extension.type, extension.name, extension.credential_id) == (7, "host keys", "")
    clients.step("certificate", "verify", "b.crt", "--roots", str(clients.node.home.root))
    # What was issued renews by itself, and stays within its own length of life.
    clients.step("ca", "renew", "--force", "b.crt", "b.key")


def test_longer_than_the_credential(clients: Clients) -> None:
    """Without this, a certificate of two hours could be turned into one of a day."""
    wanted = (
        "ca",
        "certificate",
        "c.example.com",
        "c.crt",
        "c.key",
        "--not-after",
        "20h",
        "--provisioner",
        "host keys",
    )
    refused = clients.step(*wanted, *CREDENTIAL, status=1)
    assert "is after the expiration of the provisioning credential" in refused.stderr


def test_token_then_revoke(clients: Clients) -> None:
    """Without this, tokens of a certificate could be used twice, or not revoke what they vouched for."""
    token = clients.step("ca", "token", "d.example.com", "--provisioner", "host keys", *CREDENTIAL).stdout.strip()
    clients.step("ca", "certificate", "d.example.com", "d.crt", "d.key", "--token", token)
    again = clients.step("ca", "certificate", "d.example.com", "d2.crt", "d2.key", "--token", token, status=1)
    assert "lacked necessary authorization" in again.stderr
    serial = str(clients.read("d.crt").serial_number)
    revoke = ("ca", "token", serial, "--revoke", "--provisioner", "host keys", *CREDENTIAL)
    clients.step("ca", "revoke", serial, "--token", clients.step(*revoke).stdout.strip())
    assert "lacked necessary" in clients.step("ca", "renew", "--force", "d.crt", "d.key", status=1).stderr


def test_sign_renew_and_rekey(clients: Clients) -> None:
    """Without this, what a certificate vouched for could not be had for a request, or not live on."""
    create = ("certificate", "create", "m.example.com", "m.csr", "m.key", "--csr", "--no-password", "--insecure")
    clients.step(*create)
    clients.step("ca", "sign", "m.csr", "m.crt", "--provisioner", "host keys", *CREDENTIAL)
    clients.step("ca", "renew", "--force", "--mtls=false", "m.crt", "m.key")
    clients.step("ca", "rekey", "--force", "--kty", "RSA", "--size", "3072", "m.crt", "m.key")
    clients.step("certificate", "verify", "m.crt", "--roots", str(clients.node.home.root))
    extension = read_step_extension(clients.read("m.crt"))
    assert extension is not None
    assert extension.name == "host keys"
    clients.step("ca", "revoke", "--cert", "m.crt", "--key", "m.key")
    assert "lacked necessary" in clients.step("ca", "rekey", "--force", "m.crt", "m.key", status=1).stderr


def test_a_strangers_certificate(clients: Clients) -> None:
    """Without this, any certificate under any root of that name would do."""
    root, root_key = make_root()
    intermediate, key = make_intermediate(root, root_key)
    del key
    (clients.directory / "foreign.crt").write_bytes(
        (clients.directory / "a.crt").read_bytes().split(b"-----END CERTIFICATE-----\n")[0]
        + b"-----END CERTIFICATE-----\n"
        + certificate_pem(intermediate)
    )
    wanted = ("ca", "certificate", "e.example.com", "e.crt", "e.key", "--provisioner", "host keys")
    refused = clients.step(*wanted, "--x5c-cert", "foreign.crt", "--x5c-key", "a.key", status=1)
    assert "lacked necessary authorization" in refused.stderr


def test_a_revoked_credential_mints_no_more(clients: Clients) -> None:
    """Without this, whoever stole a key could go on after its certificate was revoked."""
    clients.step("ca", "certificate", "f.example.com", "f.crt", "f.key", *JWK)
    stolen = ("--x5c-cert", "f.crt", "--x5c-key", "f.key", "--provisioner", "host keys")
    clients.step("ca", "certificate", "g.example.com", "g.crt", "g.key", *stolen)
    clients.step("ca", "revoke", "--cert", "f.crt", "--key", "f.key")
    refused = clients.step("ca", "certificate", "h.example.com", "h.crt", "h.key", *stolen, status=1)
    assert "lacked necessary authorization" in refused.stderr


def test_our_client_does_the_same(clients: Clients) -> None:
    """Without this, only step's client could use a certificate as its credential."""
    clients.online("certificate", "i.example.com", "i.crt", "i.key", *CREDENTIAL)
    assert clients.read("i.crt").not_valid_after_utc == clients.read("a.crt").not_valid_after_utc
    token = clients.online("token", "j.example.com", *CREDENTIAL, "--provisioner", "host keys").stdout.strip()
    clients.step("ca", "certificate", "j.example.com", "j.crt", "j.key", "--token", token)
    serial = str(clients.read("j.crt").serial_number)
    clients.online("revoke", serial, *CREDENTIAL)
    alone = clients.online("token", "k.example.com", "--x5c-cert", "a.crt", status=2)
    assert "--x5c-key" in alone.stderr
