"""The unchanged ``step`` CLI against the real server: the wire format's judge."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from fakes.node import PROVISIONER_PASSWORD, Node, make_home, running

from shared.issue import lifetime
from shared.names import sans_of
from shared.pem import load_certificates

_STEP = shutil.which("step")
pytestmark = pytest.mark.skipif(_STEP is None, reason="the step CLI is not on PATH")


@dataclass(frozen=True, kw_only=True)
class Step:
    """The CLI, bootstrapped to a running node."""

    node: Node
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """Of every command."""
        return {"STEPPATH": str(self.directory / "step"), "HOME": str(self.directory), "PATH": os.environ["PATH"]}

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command and insist on its exit status."""
        assert _STEP is not None
        done = subprocess.run(
            [_STEP, *arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def token(self, *arguments: str) -> str:
        """Mint a token with the provisioner's password."""
        password = ("--provisioner", "admin", "--provisioner-password-file", "password")
        return self.run("ca", "token", *arguments, *password).stdout.strip()

    def certificate(self, subject: str, stem: str) -> x509.Certificate:
        """Obtain ``stem``.crt and ``stem``.key in one step."""
        password = ("--provisioner", "admin", "--provisioner-password-file", "password")
        self.run("ca", "certificate", subject, f"{stem}.crt", f"{stem}.key", "--force", *password)
        return self.read(f"{stem}.crt")

    def read(self, name: str) -> x509.Certificate:
        """Return the leaf in a file."""
        return load_certificates((self.directory / name).read_bytes())[0]


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Step]:
    """A node with one worker, and the CLI bootstrapped to it."""
    with running(make_home(tmp_path_factory.mktemp("node") / "home")) as node:
        directory = tmp_path_factory.mktemp("client")
        (directory / "password").write_bytes(PROVISIONER_PASSWORD)
        cli = Step(node=node, directory=directory)
        cli.run("ca", "bootstrap", "--ca-url", node.url, "--fingerprint", node.home.fingerprint)
        yield cli


def test_bootstrap_installs_the_pinned_root(step: Step) -> None:
    """Without this, /root/{sha} could answer something that step does not take for the root."""
    installed = step.directory / "step" / "certs" / "root_ca.crt"
    assert load_certificates(installed.read_bytes()) == (step.node.home.pki.root,)


def test_bootstrap_with_a_wrong_fingerprint_fails(step: Step) -> None:
    """Without this, an unknown root could be answered with something other than 404."""
    arguments = ("ca", "bootstrap", "--force", "--ca-url", step.node.url, "--fingerprint", "11" * 32)
    assert "was not found" in step.run(*arguments, status=1).stderr


def test_health(step: Step) -> None:
    """Without this, step could take a healthy node for an ill one."""
    assert step.run("ca", "health").stdout.strip() == "ok"


def test_roots_and_federation(step: Step) -> None:
    """Without this, a status other than step's odd 201 would break both commands."""
    for command in ("roots", "federation"):
        assert load_certificates(step.run("ca", command).stdout.encode()) == (step.node.home.pki.root,)


def test_root(step: Step) -> None:
    """Without this, ``step ca root`` could not fetch the root again."""
    step.run("ca", "root", "--force", "root.pem")
    assert step.read("root.pem") == step.node.home.pki.root
    wanted = ("--ca-url", step.node.url, "--fingerprint", "11" * 32)
    assert "was not found" in step.run("ca", "root", "--force", *wanted, "no.pem", status=1).stderr


def test_provisioner_list(step: Step) -> None:
    """Without this, step could not find the provisioner whose key it shall decrypt."""
    listed = json.loads(step.run("ca", "provisioner", "list").stdout)
    assert [(each["type"], each["name"]) for each in listed] == [("JWK", "admin")]


def test_token_then_certificate_then_the_token_is_spent(step: Step) -> None:
    """Without this, a token could be used twice, or not at all."""
    token = step.token("a.example.com")
    step.run("ca", "certificate", "a.example.com", "a.crt", "a.key", "--token", token)
    step.run("certificate", "verify", "a.crt", "--roots", str(step.node.home.root))
    refused = step.run("ca", "certificate", "a.example.com", "a2.crt", "a2.key", "--token", token, status=1)
    assert "lacked necessary authorization" in refused.stderr
    assert not (step.directory / "a2.crt").exists()


def test_certificate_in_one_step(step: Step) -> None:
    """Without this, the most common command of all could fail."""
    leaf = step.certificate("b.example.com", "b")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["b.example.com"]
    assert lifetime(leaf).total_seconds() == 86460


def test_certificate_of_a_chosen_length_and_kind(step: Step) -> None:
    """Without this, durations and key kinds that step offers could be refused."""
    password = ("--provisioner", "admin", "--provisioner-password-file", "password")
    step.run("ca", "certificate", "c.example.com", "c.crt", "c.key", "--not-after", "2h", "--set", "a=b", *password)
    assert lifetime(step.read("c.crt")).total_seconds() == 7260
    step.run("ca", "certificate", "d.example.com", "d.crt", "d.key", "--kty", "RSA", *password)
    too_long = ("ca", "certificate", "e.example.com", "e.crt", "e.key", "--not-after", "720h", *password)
    assert "more than the authorized maximum certificate duration of 24h1m0s" in step.run(*too_long, status=1).stderr


def test_sign_a_request(step: Step) -> None:
    """Without this, a request made elsewhere could not be signed."""
    step.run("certificate", "create", "f.example.com", "f.csr", "f.key", "--csr", "--no-password", "--insecure")
    step.run("ca", "sign", "f.csr", "f.crt", "--token", step.token("f.example.com"))
    step.run("certificate", "verify", "f.crt", "--roots", str(step.node.home.root))


@pytest.mark.parametrize("how", [(), ("--mtls=false",)], ids=["mtls", "token"])
def test_renew(step: Step, how: tuple[str, ...]) -> None:
    """Without this, fleets of step clients would lose their certificates within a day."""
    old = step.certificate("g.example.com", "g")
    step.run("ca", "renew", "--force", *how, "g.crt", "g.key")
    new = step.read("g.crt")
    assert new.serial_number != old.serial_number
    assert new.public_key() == old.public_key()
    assert lifetime(new) == lifetime(old)


def test_rekey(step: Step) -> None:
    """Without this, a key could not be replaced."""
    old = step.certificate("h.example.com", "h")
    step.run("ca", "rekey", "h.crt", "h.key", "--out-cert", "h2.crt", "--out-key", "h2.key")
    assert step.read("h2.crt").public_key() != old.public_key()
    step.run("ca", "rekey", "h2.crt", "h2.key", "--force", "--kty", "RSA", "--size", "2048")


def test_revoke_by_certificate_ends_renewal_in_both_ways(step: Step) -> None:
    """Without this, a revoked certificate could live on."""
    leaf = step.certificate("i.example.com", "i")
    step.run("ca", "revoke", "--cert", "i.crt", "--key", "i.key", "--reason", "gone", "--reasonCode", "superseded")
    again = step.run("ca", "revoke", "--cert", "i.crt", "--key", "i.key", status=1)
    assert f"certificate with serial number '{leaf.serial_number}' is already revoked" in again.stderr
    for command in (("renew", "--force"), ("renew", "--force", "--mtls=false"), ("rekey", "--force")):
        assert "lacked necessary authorization" in step.run("ca", *command, "i.crt", "i.key", status=1).stderr


def test_revoke_by_token(step: Step) -> None:
    """Without this, a certificate whose key is lost could not be revoked."""
    leaf = step.certificate("j.example.com", "j")
    serial = str(leaf.serial_number)
    token = step.token(serial, "--revoke")
    step.run("ca", "revoke", serial, "--token", token)
    assert "lacked necessary authorization" in step.run("ca", "revoke", serial, "--token", token, status=1).stderr
    fresh = step.token(serial, "--revoke")
    assert "is already revoked" in step.run("ca", "revoke", serial, "--token", fresh, status=1).stderr
    assert "lacked necessary authorization" in step.run("ca", "renew", "--force", "j.crt", "j.key", status=1).stderr


def test_revoke_a_serial_number_with_the_provisioners_password(step: Step) -> None:
    """Without this, the page's way to revoke what one does not hold would fail. step asks for it at a terminal only."""
    serial = str(step.certificate("q.example.com", "q").serial_number)
    terminal, theirs = pty.openpty()
    asking = subprocess.Popen(
        ["setsid", "--ctty", "--wait", str(_STEP), "ca", "revoke", serial, "--reasonCode", "key compromise"],
        cwd=step.directory,
        env=step.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = _until(terminal, b"password")
    os.write(terminal, PROVISIONER_PASSWORD + b"\r")
    said += _until(terminal, b"has been revoked")
    assert asking.wait(30) == 0, said
    os.close(terminal)
    step.run("ca", "renew", "--force", "q.crt", "q.key", status=1)


def _until(terminal: int, text: bytes) -> bytes:
    said, deadline = b"", time.monotonic() + 30
    while text not in said:
        assert time.monotonic() < deadline, said
        if select.select([terminal], [], [], 1)[0]:
            said += os.read(terminal, 4096)
    return said


def test_tokens_are_for_one_operation(step: Step) -> None:
    """Without this, whoever may revoke could also obtain certificates."""
    token = step.token("k.example.com", "--revoke")
    refused = step.run("ca", "certificate", "k.example.com", "k.crt", "k.key", "--token", token, status=1)
    assert "lacked necessary authorization" in refused.stderr


def test_lists_into_files(step: Step) -> None:
    """Without this, scripts that keep the roots in a file could not be kept."""
    for command in ("roots", "federation"):
        step.run("ca", command, f"{command}.pem")
        assert step.read(f"{command}.pem") == step.node.home.pki.root


def test_the_provisioners_key(step: Step) -> None:
    """Without this, ``jwe-key`` and every token that is minted with a password would fail on the key's address."""
    (listed,) = json.loads(step.run("ca", "provisioner", "list").stdout)
    shown = step.run("ca", "provisioner", "jwe-key", listed["key"]["kid"]).stdout.strip()
    assert shown == listed["encryptedKey"]
    assert "could not be found" in step.run("ca", "provisioner", "jwe-key", "nobody", status=1).stderr


def test_names_of_all_four_kinds_in_a_token(step: Step) -> None:
    """Without this, a kind of name could get lost between step's token, its request, and the certificate."""
    names = ["m.example.com", "10.0.0.7", "me@m.example.com", "spiffe://m.example.com/x"]
    sans = [part for name in names for part in ("--san", name)]
    token = step.token("m.example.com", *sans, "--not-after", "10m")
    step.run("ca", "certificate", "m.example.com", "m.crt", "m.key", "--token", token)
    assert set(sans_of(step.read("m.crt").extensions).texts()) == set(names)


def test_a_token_bound_to_a_request(step: Step) -> None:
    """Without this, ``--cnf-file`` would bind nothing: whoever sees the token could use it for a key of their own."""
    for name in ("n", "other"):
        create = ("certificate", "create", "n.example.com", f"{name}.csr", f"{name}.key", "--csr", "--no-password")
        step.run(*create, "--insecure")
    token = step.token("n.example.com", "--cnf-file", "n.csr")
    assert step.run("ca", "sign", "other.csr", "other.crt", "--token", token, status=1).stderr
    step.run("ca", "sign", "n.csr", "n.crt", "--token", token)


def test_a_token_without_asking_the_ca(step: Step) -> None:
    """Without this, tokens could not be minted where the CA cannot be reached."""
    home = step.node.home
    key = step.directory / "provisioner.jwk"
    key.touch(mode=0o600)
    key.write_bytes(home.signer.to_json_bytes())
    offline = ("--offline", "--key", key.name, "--issuer", "admin", "--kid", home.signer.kid)
    where = ("--ca-url", step.node.url, "--root", str(home.root), "--output-file", "o.token")
    step.run("ca", "token", "o.example.com", *offline, *where)
    token = (step.directory / "o.token").read_text().strip()
    step.run("ca", "certificate", "o.example.com", "o.crt", "o.key", "--token", token)


@pytest.mark.parametrize("kind", [("--kty", "OKP", "--crv", "Ed25519"), ("--kty", "EC", "--crv", "P-521")], ids=str)
def test_kinds_of_key(step: Step, kind: tuple[str, ...]) -> None:
    """Without this, a kind of key that step makes could be refused."""
    password = ("--provisioner", "admin", "--provisioner-password-file", "password")
    step.run("ca", "certificate", "p.example.com", "p.crt", "p.key", "--force", *kind, *password)
    step.run("certificate", "verify", "p.crt", "--roots", str(step.node.home.root))
    step.run("ca", "renew", "--force", "p.crt", "p.key")


def test_renew_when_it_is_near_its_end(step: Step) -> None:
    """Without this, the line that step's users have in cron could renew never, or each time."""
    old = step.certificate("q.example.com", "q")
    left = step.run("ca", "renew", "--force", "--expires-in", "1h", "q.crt", "q.key")
    assert "certificate not renewed" in left.stdout + left.stderr
    assert step.read("q.crt") == old
    step.run(
        "ca", "renew", "--force", "--expires-in", "24h", "--out", "q2.crt", "--exec", "touch told", "q.crt", "q.key"
    )
    assert step.read("q2.crt").serial_number != old.serial_number
    assert (step.directory / "told").exists()


def test_renewal_daemon(step: Step) -> None:
    """Without this, step's daemons, which read the answers for their schedule, would end or hammer the node."""
    old = step.certificate("r.example.com", "r")
    assert _STEP is not None
    daemon = subprocess.Popen(
        [_STEP, "ca", "renew", "--daemon", "--renew-period", "1s", "r.crt", "r.key"],
        cwd=step.directory, env=step.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        step.node.wait_for("/renew 201", since=len(step.node.lines))
    finally:
        daemon.terminate()
        daemon.wait(20)
    assert step.read("r.crt").serial_number != old.serial_number


def test_rekey_with_a_key_made_elsewhere(step: Step) -> None:
    """Without this, a key that somebody else made could not take over a certificate."""
    step.certificate("s.example.com", "s")
    step.run("crypto", "keypair", "s.pub", "s-new.key", "--no-password", "--insecure")
    step.run("ca", "rekey", "s.crt", "s.key", "--private-key", "s-new.key", "--out-cert", "s2.crt")
    step.run("ca", "renew", "--force", "s2.crt", "s-new.key")


def test_the_nodes_own_certificate(step: Step) -> None:
    """Without this, step could not look at the node itself: its chain, its names, how long it lasts."""
    url = step.node.url
    trusting = ("--roots", str(step.node.home.root))
    shown = json.loads(step.run("certificate", "inspect", url, "--format", "json", *trusting).stdout)
    # step lists them in the order of a map, which is none.
    assert sorted(shown["names"]) == ["127.0.0.1", "localhost"]
    step.run("certificate", "verify", url, *trusting)
    assert step.run("certificate", "needs-renewal", url, *trusting, status=1).stdout == ""


@pytest.mark.parametrize(
    "command",
    [
        ("ca", "policy", "authority", "view"),
        ("ca", "admin", "list"),
        ("ca", "acme", "eab", "list", "acme"),
        ("ca", "provisioner", "webhook", "add", "admin", "hook", "--url", "https://localhost/hook"),
    ],
    ids=lambda command: " ".join(command[1:3]),
)
def test_the_admin_api_is_not_there(step: Step, command: tuple[str, ...]) -> None:
    """Without this, a command that cannot work could seem to have worked, or hang."""
    password = ("--admin-subject", "step", "--admin-provisioner", "admin", "--admin-password-file", "password")
    assert step.run(*command, *password, status=1).stderr


def test_nothing_of_a_token_is_in_the_log(step: Step) -> None:
    """Without this, whoever reads the log could use what it shows."""
    token = step.token("l.example.com")
    step.run("ca", "certificate", "l.example.com", "l.crt", "l.key", "--token", token)
    log = "\n".join(step.node.lines)
    assert "/sign 201" in log
    assert all(part not in log for part in token.split("."))
    assert "Bearer" not in log


def test_step_edits_the_provisioners_of_a_node(tmp_path: Path) -> None:
    """Without this, whoever keeps to step's commands would write a ca.json that the node refuses."""
    home = make_home(tmp_path / "home")
    (tmp_path / "password").write_bytes(b"of bob")
    with running(home) as node:
        step = Step(node=node, directory=tmp_path)
        step.run("ca", "bootstrap", "--ca-url", node.url, "--fingerprint", home.fingerprint)
        file = ("--ca-config", str(home.config))
        step.run("ca", "provisioner", "add", "bob", "--create", "--ssh=false", "--password-file", "password", *file)
        step.run("ca", "provisioner", "update", "bob", "--x509-max-dur", "48h", "--ssh=false", *file)
        _reload(node)
        mint = ("ca", "token", "b.example.com", "--provisioner", "bob", "--provisioner-password-file", "password")
        token = step.run(*mint).stdout.strip()
        step.run("ca", "certificate", "b.example.com", "b.crt", "b.key", "--token", token, "--not-after", "47h")
        assert lifetime(step.read("b.crt")) > timedelta(hours=46)
        step.run("ca", "provisioner", "remove", "bob", *file)
        _reload(node)
        assert "bob" not in step.run("ca", "provisioner", "list").stdout


def _reload(node: Node) -> None:
    said = len(node.lines)
    node.process.send_signal(signal.SIGHUP)
    node.wait_for("configuration reloaded", since=said)
