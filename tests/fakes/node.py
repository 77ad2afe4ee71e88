"""A node's home on disk with short-cut ceremony, and the real server on it in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fakes.hierarchy import PROVISIONER, Pki, make_pki

from online.config import render_config
from online.jose import jwe
from online.jose.jwk import PrivateJwk
from online.provisioners.jwk import JwkProvisioner
from online.store.sqlite import create_database
from shared.keys import KeyKind, fingerprint, generate
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

KEY_PASSWORD = b"correct horse"
PROVISIONER_PASSWORD = b"battery staple"
_READY = re.compile(r"READY (https://\S+:(\d+)) root fingerprint ([0-9a-f]{64})")
# The passwords come from the environment here only; the product takes them by callback.
_SERVE = """
import os, sys
from datetime import timedelta
from pathlib import Path
from online.server import Pace
from online.shared_authority import load_node_config
from online.supervisor import serve
from shared.errors import ColdrootError
password = os.environ["TEST_PASSWORD"].encode()
pace = Pace(look=0.1, drain=5.0)
try:
    config = load_node_config(Path(sys.argv[1]))
    serve(config, secret=lambda prompt: password, workers=int(sys.argv[2]), port=0, pace=pace)
except ColdrootError as error:
    print(f"error: {error.message} [{error.code}]", file=sys.stderr)
    sys.exit(1)
"""


@dataclass(frozen=True, kw_only=True)
class NodeHome:
    """The files of a node."""

    path: Path
    pki: Pki
    signer: PrivateJwk

    @property
    def config(self) -> Path:
        """Its ca.json."""
        return self.path / "config" / "ca.json"

    @property
    def root(self) -> Path:
        """Its root certificate."""
        return self.path / "certs" / "root_ca.crt"

    @property
    def fingerprint(self) -> str:
        """The root's fingerprint."""
        return fingerprint(self.pki.root)

    def change_config(self, **changes: object) -> None:
        """Rewrite ca.json with changed top-level keys."""
        document = json.loads(self.config.read_text())
        self.config.write_text(json.dumps({**document, **changes}))


def make_home(
    path: Path, *, password: bytes = KEY_PASSWORD, pki: Pki | None = None, key_uri: str | None = None
) -> NodeHome:
    """Make a home as ``online init`` and ``online import`` leave it.

    Args:
        path: must not exist.
        password: of the key file.
        pki: root and intermediate; made when not given.
        key_uri: where the intermediate's key is, instead of a file in the home.
    """
    pki = pki or make_pki(now=datetime.now(UTC))
    signer = PrivateJwk.of(generate(KeyKind.EC_P256))
    encrypted = jwe.encrypt(signer.to_json_bytes(), PROVISIONER_PASSWORD, rng=os.urandom, p2c=1000)
    provisioner = JwkProvisioner(name=PROVISIONER, key=signer.public(), encrypted_key=encrypted)
    for name in ("config", "certs", "secrets", "db"):
        (path / name).mkdir(parents=True)
    home = NodeHome(path=path, pki=pki, signer=signer)
    home.root.write_bytes(certificate_pem(pki.root))
    (path / "certs" / "intermediate_ca.crt").write_bytes(certificate_pem(pki.intermediate))
    if key_uri is None:
        key = path / "secrets" / "intermediate_ca_key"
        key.touch(mode=0o600)
        key.write_bytes(private_key_pem(pki.intermediate_key, password))
    create_database(path / "db" / "coldroot.db")
    document = render_config(dns_names=("localhost", "127.0.0.1"), address="127.0.0.1:0", provisioners=(provisioner,))
    if key_uri is not None:
        document["key"] = key_uri
    home.config.write_text(json.dumps(document))
    return home


@dataclass(kw_only=True)
class Node:
    """A running node: the supervisor's process, its URL and what it said."""

    home: NodeHome
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    url: str = ""
    port: int = 0

    def wait_for(self, text: str, *, seconds: float = 30.0, since: int = 0) -> str:
        """Wait until a line holds a text; return the line."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.lines[since:]:
                if text in line:
                    return line
            if self.process.poll() is not None and not any(text in line for line in self.lines):
                break
            time.sleep(0.02)
        raise AssertionError(f"no line with {text!r} in:\n" + "\n".join(self.lines))

    def workers(self) -> list[int]:
        """Return the pids of the workers."""
        return self._shown_as("online-worker")

    def keeper(self) -> int:
        """Return the pid of the keeper."""
        return self._shown_as("online-keeper")[0]

    def recorder(self) -> int:
        """Return the pid of the recorder, the newest one when an older one waits for its workers to end."""
        return self._shown_as("online-recorder")[-1]

    def children(self) -> list[int]:
        """Return the pids of all of the supervisor's children."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def _shown_as(self, name: str) -> list[int]:
        found = []
        for pid in self.children():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == f"{name}\n":
                    found.append(pid)
        return found


def start(home: NodeHome, *, workers: int = 1, password: bytes = KEY_PASSWORD, wrapper: tuple[str, ...] = ()) -> Node:
    """Start the server's process without waiting for it; ``wrapper`` is a command that executes the rest."""
    process = subprocess.Popen(
        [*wrapper, sys.executable, "-c", _SERVE, str(home.config), str(workers)],
        env={**os.environ, "TEST_PASSWORD": password.decode()},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    node = Node(home=home, process=process)
    assert process.stderr is not None
    stderr = process.stderr

    def read() -> None:
        for line in stderr:
            node.lines.append(line.rstrip("\n"))

    threading.Thread(target=read, daemon=True).start()
    return node


@contextlib.contextmanager
def running(home: NodeHome, *, workers: int = 1, wrapper: tuple[str, ...] = ()) -> Iterator[Node]:
    """Run a node until the block ends; it must end well."""
    node = start(home, workers=workers, wrapper=wrapper)
    try:
        match = _READY.search(node.wait_for("READY "))
        assert match is not None
        node.url, node.port = match[1], int(match[2])
        assert match[3] == home.fingerprint
        yield node
        if node.process.poll() is None:
            node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(30) == 0, "\n".join(node.lines)
    finally:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait()
        assert node.process.stderr is not None
        node.process.stderr.close()
