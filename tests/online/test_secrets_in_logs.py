"""Canaries: whatever is secret in a whole run must be in no line of the node's log, in text and in JSON."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes.client_story import Shell
from fakes.node import KEY_PASSWORD, PROVISIONER_PASSWORD, Node, make_home, running, start

from online.enrol import make_csr
from online.jose import b64
from shared.keys import KeyKind, PrivateKey, generate


@dataclass(kw_only=True)
class Run:
    """A node, a client of it, and everything that nobody may find in the log."""

    node: Node
    client: Shell
    secrets: set[str] = field(default_factory=set)

    def token(self, *arguments: str) -> str:
        """Mint a token; it and each of its parts are secret."""
        token = self.client.run("token", *arguments, *self.client.password()).stdout.strip()
        self.secrets |= {token, *token.split(".")}
        return token

    def canary(self, name: str) -> str:
        """Return a secret of a kind that the node cannot know as one."""
        text = f"c4n4ry-{name}-{len(self.secrets)}"
        self.secrets.add(text)
        return text

    def send(self, method: str, path: str, body: object = None, **headers: str) -> int:
        """Send a request by hand; return its status."""
        context = ssl.create_default_context(cafile=str(self.node.home.root))
        connection = http.client.HTTPSConnection("localhost", self.node.port, context=context, timeout=20)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body=data, headers=named)
            return connection.getresponse().status
        finally:
            connection.close()


def _of_key(key: PrivateKey) -> set[str]:
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {der.hex(), *pem.splitlines()[1:-1]}


@pytest.fixture(name="run", params=["text", "json"])
def _run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    home = make_home(tmp_path / "home")
    home.change_config(logger={"format": request.param})
    password_file = tmp_path / "password"
    password_file.touch(mode=0o600)
    password_file.write_bytes(PROVISIONER_PASSWORD)
    with running(home, workers=2) as node:
        client = Shell(directory=tmp_path, url=node.url, fingerprint=home.fingerprint, password_file=password_file)
        client.run("bootstrap", "--ca-url", node.url, "--fingerprint", home.fingerprint)
        run = Run(node=node, client=client)
        run.secrets |= {KEY_PASSWORD.decode(), PROVISIONER_PASSWORD.decode()}
        run.secrets |= _of_key(home.pki.intermediate_key)
        members = json.loads(home.signer.to_json_bytes())
        run.secrets.add(members["d"])
        yield run


def test_nothing_secret_in_a_whole_run(run: Run) -> None:
    """Logs are collected, shipped and kept: a token, password or key in one line is a key in many hands."""
    shell, node = run.client, run.node
    # What goes well.
    crt, key = shell.path("a.crt"), shell.path("a.key")
    shell.run("certificate", "a.local", crt, key, "--token", token := run.token("a.local"))
    shell.run("renew", "--force", crt, key)
    shell.run("renew", "--force", "--no-mtls", crt, key)
    run.secrets.add(
        bearer := shell.run("token", "--renew", "a.local", "--x5c-cert", crt, "--x5c-key", key).stdout.strip()
    )
    assert run.send("POST", "/renew", Authorization=f"Bearer {bearer}") == 201
    shell.run("rekey", "--force", crt, key)
    serial = str(shell.read("a.crt")[0].serial_number)
    shell.run("revoke", "--token", run.token("--revoke", serial), serial)
    # What is refused: used, for something else, of nobody, cut off, under a wrong signature.
    used = {"csr": _csr(), "ott": token}
    assert run.send("POST", "/sign", used) == 401
    assert run.send("POST", "/sign", {**used, "ott": run.token("b.local")[:-6]}) == 401
    assert run.send("POST", "/revoke", {"serial": "1", "ott": run.token("c.local"), "passive": True}) == 401
    assert run.send("POST", "/renew", Authorization=f"Bearer {bearer}") == 401
    assert run.send("POST", "/renew", Authorization=f"Bearer {run.canary('bearer')}") == 401
    # What a confused client may send, and where.
    assert run.send("POST", f"/sign?ott={run.canary('query')}", {"csr": "", "ott": run.canary("body")}) == 400
    assert run.send("POST", "/sign", f'{{"ott": "{run.canary("malformed")}"'.encode()) == 400
    assert run.send("POST", "/sign", {run.canary("member"): 1}) == 400
    assert run.send("GET", "/health", Cookie=run.canary("cookie"), X_Api_Key=run.canary("header")) == 200
    assert run.send("GET", "/provisioners?cursor=" + run.canary("cursor")) == 200
    assert run.send("DELETE", f"/health?{run.canary('delete')}", run.canary("text")) == 405
    forged = b64.encode(json.dumps({"alg": "none", "kid": run.canary("kid")}).encode())
    run.secrets.add(forged)
    assert run.send("POST", "/sign", {**used, "ott": f"{forged}.e30."}) == 401
    # What an operator may do wrong: a configuration with a password in the wrong place, then the right one.
    good = node.home.config.read_text()
    before = len(node.lines)
    node.home.change_config(password=run.canary("password"), pasword=run.canary("misspelt"))
    node.process.send_signal(signal.SIGHUP)
    node.wait_for("config.", since=before)
    before = len(node.lines)
    node.home.config.write_text(good)
    node.process.send_signal(signal.SIGHUP)
    node.wait_for("reload", since=before)
    log = "\n".join(node.lines)
    assert log.count("201") >= 5
    # JSON writes some characters differently; a secret in that form is one, too.
    for secret in run.secrets:
        assert secret not in log, "a secret is in the log"
        assert json.dumps(secret)[1:-1] not in log
    assert "Bearer" not in log
    assert "PRIVATE KEY" not in log


def test_a_wrong_password_is_not_repeated(tmp_path: Path) -> None:
    """A password that is wrong here is right somewhere else."""
    node = start(make_home(tmp_path / "home"), password=b"c4n4ry of another machine")
    assert node.process.wait(60) != 0
    node.wait_for("wrong-password")
    assert "c4n4ry" not in "\n".join(node.lines)
    assert node.process.stderr is not None
    node.process.stderr.close()


def _csr() -> str:
    """Return a request for the name that tokens here are for."""
    return make_csr(generate(KeyKind.EC_P256), "a.local", ["a.local"]).public_bytes(Encoding.PEM).decode()
