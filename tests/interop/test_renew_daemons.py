"""Daemons across: step's against our node, ours against a real step-ca and against our node."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from fakes.hierarchy import make_pki
from fakes.node import PROVISIONER_PASSWORD, make_home
from fakes.node import running as running_node
from fakes.ports import free_port

from shared import keys
from shared.keystore import private_key_pem
from shared.pem import certificate_pem, load_certificates

_STEP, _STEP_CA = shutil.which("step"), shutil.which("step-ca")
pytestmark = pytest.mark.skipif(_STEP is None or _STEP_CA is None, reason="step and step-ca are not on PATH")
ROOT = Path(__file__).parents[2]
_PATIENCE = 30.0


@dataclass(kw_only=True)
class Site:
    """A CA, and a client's directory where both command lines know it."""

    directory: Path
    url: str
    fingerprint: str

    @property
    def environment(self) -> dict[str, str]:
        home = str(self.directory / "home")
        return {"STEPPATH": home, "COLDROOT_HOME": home, "HOME": str(self.directory), "PATH": os.environ["PATH"]}

    def step(self, *arguments: str) -> None:
        assert _STEP is not None
        self._run([_STEP, *arguments])

    def online(self, *arguments: str) -> None:
        self._run([sys.executable, "-m", "online", *arguments])

    def pair(self, stem: str, *times: str) -> tuple[str, str]:
        """Get a certificate with the step CLI."""
        crt, key = str(self.directory / f"{stem}.crt"), str(self.directory / f"{stem}.key")
        password = ("--provisioner", "admin", "--provisioner-password-file", str(self.directory / "password"))
        self.step("ca", "certificate", f"{stem}.local", crt, key, *times, "--force", *password)
        return crt, key

    def _run(self, command: list[str]) -> None:
        environment = {**self.environment, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, env=environment, cwd=self.directory, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@dataclass(kw_only=True)
class Daemon:
    """A daemon's process and what it said."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def wait_for(self, text: str, *, times: int = 1) -> None:
        wait(lambda: sum(text in line for line in self.lines) >= times, lambda: "\n".join(self.lines))


def wait(condition: Callable[[], bool], told: Callable[[], str] = lambda: "") -> None:
    until = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < until, told()
        time.sleep(0.05)


def leaf(crt: str) -> x509.Certificate:
    return load_certificates(Path(crt).read_bytes())[0]


@contextmanager
def started(site: Site, *command: str) -> Iterator[Daemon]:
    process = subprocess.Popen(
        command,
        env={**site.environment, "PYTHONPATH": str(ROOT)},
        cwd=site.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    daemon, talk = Daemon(process=process), process.stdout
    assert talk is not None

    def read() -> None:
        for line in talk:
            daemon.lines.append(line.rstrip())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield daemon
        process.send_signal(signal.SIGTERM)
        assert process.wait(_PATIENCE) == 0, "\n".join(daemon.lines)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        talk.close()


def _client(directory: Path, url: str, fingerprint: str) -> Site:
    directory.mkdir(exist_ok=True)
    (directory / "password").touch(mode=0o600)
    (directory / "password").write_bytes(PROVISIONER_PASSWORD)
    site = Site(directory=directory, url=url, fingerprint=fingerprint)
    site.step("ca", "bootstrap", "--ca-url", url, "--fingerprint", fingerprint, "--force")
    return site


@pytest.fixture(name="ours", scope="module")
def _ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Our node."""
    with running_node(make_home(tmp_path_factory.mktemp("node") / "home")) as node:
        yield _client(tmp_path_factory.mktemp("client"), node.url, node.home.fingerprint)


@pytest.fixture(name="theirs", scope="module")
def _theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A real step-ca that renews after expiry."""
    directory = tmp_path_factory.mktemp("step-ca")
    password = directory / "password"
    password.write_bytes(PROVISIONER_PASSWORD)
    port = free_port()
    environment = {"STEPPATH": str(directory / "home"), "HOME": str(directory), "PATH": os.environ["PATH"]}
    assert _STEP is not None
    assert _STEP_CA is not None
    init = [_STEP, "ca", "init", "--name", "J", "--provisioner", "admin", "--dns", "localhost"]
    init += ["--address", f"127.0.0.1:{port}", "--deployment-type", "standalone"]
    init += ["--password-file", str(password), "--provisioner-password-file", str(password)]
    subprocess.run(init, env=environment, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=_PATIENCE)
    config = directory / "home" / "config" / "ca.json"
    document = json.loads(config.read_text())
    document["authority"]["provisioners"][0]["claims"] = {
        "allowRenewalAfterExpiry": True,
        "minTLSCertDuration": "1s",
    }
    config.write_text(json.dumps(document))
    # It looks at an expired chain as of a minute before its end: its own certificates must be older than that.
    pki = make_pki(now=datetime.now(UTC) - timedelta(days=1))
    (directory / "home" / "certs" / "root_ca.crt").write_bytes(certificate_pem(pki.root))
    (directory / "home" / "certs" / "intermediate_ca.crt").write_bytes(certificate_pem(pki.intermediate))
    key = private_key_pem(pki.intermediate_key, PROVISIONER_PASSWORD)
    (directory / "home" / "secrets" / "intermediate_ca_key").write_bytes(key)
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [_STEP_CA, str(config), "--password-file", str(password)],
            env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:

            def is_up() -> bool:
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            wait(is_up)
            yield _client(
                tmp_path_factory.mktemp("client-of-step"), f"https://localhost:{port}", keys.fingerprint(pki.root)
            )
        finally:
            server.terminate()
            server.wait(timeout=_PATIENCE)


def test_step_s_daemon_against_our_node(ours: Site) -> None:
    """Fleets of step clients must live on when the CA behind them is replaced."""
    crt, key = ours.pair("a")
    old = leaf(crt)
    assert _STEP is not None
    with started(ours, _STEP, "ca", "renew", "--daemon", crt, key) as daemon:
        daemon.wait_for("first renewal in")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("certificate renewed, next in")
    assert leaf(crt).serial_number != old.serial_number
    assert leaf(crt).public_key() == old.public_key()


@pytest.mark.parametrize("ca", ["ours", "theirs"])
@pytest.mark.parametrize("how", [(), ("--rekey",), ("--mtls=false",)], ids=["mtls", "rekey", "token"])
def test_our_daemon(ca: str, how: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    """The client may not depend on what only our node does."""
    site: Site = request.getfixturevalue(ca)
    crt, key = site.pair("b")
    old, mark = leaf(crt), site.directory / f"told-{ca}-{len(how)}-{''.join(how).strip('-=')}"
    command = (sys.executable, "-m", "online", "renew", "--daemon", *how, "--exec", f"touch {mark}", crt, key)
    with started(site, *command) as daemon:
        daemon.wait_for("first renewal in 1")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("certificate rekeyed" if "--rekey" in how else "certificate renewed")
        wait(mark.exists)
    new = leaf(crt)
    assert new.serial_number != old.serial_number
    assert (new.public_key() == old.public_key()) is ("--rekey" not in how)
    # And step reads what we wrote.
    site.step("certificate", "verify", crt, "--roots", str(site.directory / "home" / "certs" / "root_ca.crt"))


def test_our_daemon_renews_an_expired_certificate_of_a_step_ca(theirs: Site) -> None:
    """The machine was off for a week: where the provisioner allows it, nobody needs a new token."""
    crt, key = theirs.pair("c", "--not-before", "-5m", "--not-after", "5m2s")
    wait(lambda: time.time() > leaf(crt).not_valid_after_utc.timestamp() + 1)
    old = leaf(crt)
    with started(theirs, sys.executable, "-m", "online", "renew", "--daemon", "--rekey", crt, key) as daemon:
        # A step-ca rekeys by TLS only: the first renewal keeps the key, the next one, in time, replaces it.
        daemon.wait_for("certificate renewed")
    assert leaf(crt).serial_number != old.serial_number


def test_the_page_s_one_shot_commands(ours: Site) -> None:
    """``renew --force``, and cron's ``--expires-in``: renewed or not, both are told apart and step's own agree."""
    crt, key = ours.pair("d")
    before = leaf(crt)
    ours.online("renew", "--force", crt, key)
    assert leaf(crt) != before
    before = leaf(crt)
    ours.online("renew", "--step-compat", "--force", "--expires-in", "1h", crt, key)
    ours.step("ca", "renew", "--force", "--expires-in", "1h", crt, key)
    assert leaf(crt) == before
    ours.online("renew", "--step-compat", "--force", "--expires-in", "100%", crt, key)
    assert leaf(crt) != before
