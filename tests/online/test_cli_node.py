"""From init to a served certificate by the public commands only, in processes of their own; and what serve refuses."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.ceremony_reply import certify_request, reply_bundle
from fakes.certificates import make_root

from online.home import Home
from shared import durable
from shared.crossing import transfer
from shared.keys import fingerprint
from shared.pem import certificate_pem

ROOT = Path(__file__).parents[2]
_READY = re.compile(r"READY (https://\S+)")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A directory with an imported node in ``home``."""

    directory: Path

    @property
    def home(self) -> Home:
        """The node's home."""
        return Home(path=self.directory / "home")

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of ``online``."""
        return [sys.executable, "-m", "online", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of all commands."""
        return {**os.environ, "PYTHONPATH": str(ROOT), "COLDROOT_HOME": str(self.home.path), "COLDROOT_DEBUG": "1"}

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command and insist on its exit status."""
        done = subprocess.run(
            self.command(*arguments),
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


@pytest.fixture(name="machine", scope="module")
def _machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Init, a reply, import: with the root pinned by its file, and the reply as QR images."""
    machine = Machine(directory=tmp_path_factory.mktemp("machine"))
    root, root_key = make_root(begin=datetime.now(UTC) - timedelta(days=1))
    (machine.directory / "root.crt").write_bytes(certificate_pem(root))
    names = ("--name", "Acme", "--dns", "localhost", "--dns", "127.0.0.1", "--address", "127.0.0.1:0")
    made = machine.run("init", *names, "--root", "root.crt", "--crossing", "gap")
    assert made.stdout == "gap/request.bundle\n"
    _assert_secret(machine, made)
    request = (machine.directory / "gap" / "request.bundle").read_bytes()
    intermediate = certify_request(request, root, root_key)
    with durable.Staging() as staging:
        data = reply_bundle(request, root, intermediate)
        transfer.stage_bundle(staging, machine.directory / "gap", "reply", data)
    images = sorted(str(each) for each in (machine.directory / "gap").glob("reply-*.png"))
    taken = machine.run("import", *images)
    assert taken.stdout == f"{fingerprint(root)}\n"
    _assert_secret(machine, taken)
    return machine


def _assert_secret(machine: Machine, done: subprocess.CompletedProcess[str]) -> None:
    for file in (machine.home.intermediate_password, machine.home.provisioner_password):
        password = durable.read_secret(file).decode()
        assert password not in done.stdout + done.stderr


def test_a_node_without_its_certificate_says_where_it_comes_from(tmp_path: Path) -> None:
    """Between init and import there is a walk to the ceremony; whoever starts the node too early must be told of it."""
    machine = Machine(directory=tmp_path)
    refused = machine.run("import", "reply.bundle", status=1)
    assert "config/ca.json does not exist [file.missing]" in refused.stderr
    assert "hint: make a node with online init" in refused.stderr
    machine.run("init", "--name", "A", "--dns", "localhost", "--address", "127.0.0.1:0", "--fingerprint", "00" * 32)
    # No password can be asked for here: the certificate is missed first.
    machine.home.intermediate_password.unlink()
    refused = machine.run("serve", status=1)
    assert "intermediate_ca.crt does not exist [file.missing]" in refused.stderr
    assert "online import" in refused.stderr.partition("hint: ")[2]
    request = str(machine.directory / "crossing" / "request.bundle")
    assert "hint: a request goes from" in machine.run("import", request, status=1).stderr


@pytest.fixture(name="url", scope="module")
def _url(machine: Machine) -> Iterator[str]:
    """Serve the node until the module ends."""
    server = subprocess.Popen(
        machine.command("serve"), cwd=machine.directory, env=machine.environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        lines = []
        for line in server.stderr:
            lines.append(line)
            match = _READY.search(line)
            if match is not None:
                yield match[1]
                break
        else:
            raise AssertionError("".join(lines))
        server.send_signal(signal.SIGTERM)
        _, rest = server.communicate(timeout=60)
        assert server.returncode == 0, rest
    finally:
        if server.poll() is None:
            server.kill()
            server.communicate()


def test_a_second_init_refuses(machine: Machine) -> None:
    """The demo run twice into one directory must not make a new CA under the old one's clients."""
    before = {each: each.read_bytes() for each in machine.home.path.rglob("*") if each.is_file()}
    refused = machine.run("init", "--name", "B", "--dns", "b", "--address", ":1", "--crossing", "gap2", status=1)
    assert "never overwritten" in refused.stderr
    assert not (machine.directory / "gap2").exists()
    assert {each: each.read_bytes() for each in before} == before


def test_from_token_to_refused_renewal(machine: Machine, url: str) -> None:
    """The mayfly's whole life with the passwords that init left; no token or password in what is said."""
    where = ("--ca-url", url)
    minted = machine.run("token", "foo.local", *where)
    token = minted.stdout.strip()
    _assert_secret(machine, minted)
    got = machine.run("certificate", "foo.local", "foo.crt", "foo.key", "--token", token, *where)
    assert token not in got.stderr
    assert got.stdout == ""
    machine.run("renew", "--force", "foo.crt", "foo.key", *where)
    machine.run("rekey", "--force", "foo.crt", "foo.key", *where)
    machine.run("revoke", "--cert", "foo.crt", "--key", "foo.key", *where)
    refused = machine.run("renew", "--force", "foo.crt", "foo.key", *where, status=1)
    assert "401" in refused.stderr


def test_a_token_minted_offline_is_good(machine: Machine, url: str) -> None:
    """Minting needs no contact with the CA, only its ca.json; the node takes the token."""
    token = machine.run("token", "bar.local", "--offline").stdout.strip()
    machine.run("certificate", "bar.local", "bar.crt", "bar.key", "--token", token, "--ca-url", url)


def test_reused_and_forged_tokens_are_refused(machine: Machine, url: str) -> None:
    """One line with the CA's answer, exit 1, and not half a pair."""
    where = ("--ca-url", url)
    token = machine.run("token", "baz.local", *where).stdout.strip()
    machine.run("certificate", "baz.local", "baz.crt", "baz.key", "--token", token, *where)
    other = machine.run("token", "other.local", *where).stdout.strip()
    fresh = machine.run("token", "baz.local", *where).stdout.strip()
    forged = f"{fresh.rpartition('.')[0]}.{other.rpartition('.')[2]}"
    for bad, words in ((token, "401"), (forged, "401"), (other, "is for other.local")):
        refused = machine.run("certificate", "baz.local", "b2.crt", "b2.key", "--token", bad, *where, status=1)
        assert words in refused.stderr
        assert bad not in refused.stderr
        assert not list(machine.directory.glob("*b2*"))


def test_serve_says_what_is_wrong(machine: Machine) -> None:
    """Port in use, bad address: one line and 1; a wrong password 77, so that no service manager tries it again."""
    wrong = machine.directory / "wrong.txt"
    wrong.write_text("wrong\n")
    wrong.chmod(0o600)
    assert "password" in machine.run("serve", "--password-file", "wrong.txt", status=77).stderr
    assert "HOST:PORT" in machine.run("serve", "--address", "nowhere", status=1).stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = machine.run("serve", "--address", f"127.0.0.1:{port}", status=1)
    assert str(port) in refused.stderr
    assert refused.stderr.count("error:") == 1
