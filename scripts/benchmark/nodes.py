"""Our node and step-ca on one hierarchy: root, intermediate and provisioner are the same, the databases their own."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from fakes.node import KEY_PASSWORD, NodeHome, make_home
from fakes.ports import free_port
from programs import Failed, last_lines, running
from works import OURS, PEER

from shared.keystore import private_key_pem

_START = 60.0
STEP_CA = shutil.which("step-ca")
ONLINE = Path(sys.executable).parent / "online"
_SAMPLED = Path(__file__).with_name("sampled.py")


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database server that runs."""

    block: Mapping[str, str]
    """What a ca.json says of it: both products read the same."""
    pid: int


@dataclass(frozen=True, kw_only=True)
class House:
    """What both have in common, in a directory of its own."""

    path: Path
    home: NodeHome

    @property
    def password(self) -> Path:
        """The file with the password of the intermediate's key."""
        return self.path / "password"

    @property
    def provisioner_key(self) -> Path:
        """The file with the provisioner's key, for the load generator."""
        return self.path / "provisioner.key"

    @property
    def kid(self) -> str:
        """The key's identifier."""
        return self.home.signer.kid


def make_house(path: Path) -> House:
    """Make a hierarchy on P-256, which is what step-ca makes by itself."""
    path.mkdir()
    house = House(path=path, home=make_home(path / "coldroot"))
    for file, content in (
        (house.password, KEY_PASSWORD),
        (house.provisioner_key, private_key_pem(house.home.signer.key, None)),
    ):
        file.touch(mode=0o600)
        file.write_bytes(content)
    return house


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node that answers."""

    product: str
    url: str
    pid: int
    database_pid: int | None
    """Of its database server, if it has one."""
    seconds: float
    """From the command to the first healthy answer."""


@contextmanager
def node(
    product: str,
    house: House,
    *,
    database: Database | None = None,
    workers: int = 1,
    sampled: Path | None = None,
) -> Iterator[Node]:
    """Run a node until the block ends.

    Args:
        product: whose.
        house: what it serves.
        database: where it keeps its facts; None: embedded.
        workers: processes, for ours.
        sampled: where to note what ours does, in files whose names begin with this one's.

    Raises:
        Failed: it does not answer.
    """
    port = free_port()
    directory = house.path / (product if database is None else f"{product}-networked")
    log = house.path / f"{directory.name}.log"
    if product == OURS:
        command, environment = _ours(house, directory, database, port, workers)
        if sampled is not None:
            command = [sys.executable, "-I", str(_SAMPLED), str(sampled), *command[1:]]
    else:
        command, environment = _peer(house, directory, database, port)
    begun = time.monotonic()
    with running(command, log, environment=environment) as process:
        _wait(port, house.home.root, process, log)
        yield Node(
            product=product,
            url=f"https://localhost:{port}",
            pid=process.pid,
            database_pid=database.pid if database is not None else None,
            seconds=time.monotonic() - begun,
        )


def _ours(
    house: House, directory: Path, database: Database | None, port: int, workers: int
) -> tuple[list[str], dict[str, str]]:
    config = house.home.config
    if database is not None:
        document = json.loads(config.read_text())
        config = directory / "config" / "ca.json"
        if not directory.exists():
            shutil.copytree(house.home.path, directory, ignore=shutil.ignore_patterns("*.db*"))
        config.write_text(json.dumps({**document, "db": database.block}))
        subprocess.run([ONLINE, "--home", directory, "db", "upgrade"], check=True, capture_output=True)
    command = [str(ONLINE), "serve", str(config), "--password-file", str(house.password)]
    return [*command, "--address", f"127.0.0.1:{port}", "--workers", str(workers)], dict(os.environ)


def _peer(house: House, directory: Path, database: Database | None, port: int) -> tuple[list[str], dict[str, str]]:
    assert STEP_CA is not None
    (directory / "db").mkdir(parents=True, exist_ok=True)
    ours = house.home.path
    document = json.loads(house.home.config.read_text())
    document |= {
        "root": str(ours / "certs" / "root_ca.crt"),
        "crt": str(ours / "certs" / "intermediate_ca.crt"),
        "key": str(ours / "secrets" / "intermediate_ca_key"),
        "address": f"127.0.0.1:{port}",
        "logger": {"format": "text"},
        "db": database.block if database is not None else {"type": "badgerv2", "dataSource": str(directory / "db")},
    }
    config = directory / "ca.json"
    config.write_text(json.dumps(document))
    environment = {"STEPPATH": str(directory), "HOME": str(directory), "PATH": os.environ["PATH"]}
    return [STEP_CA, str(config), "--password-file", str(house.password)], environment


def _wait(port: int, root: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    context = ssl.create_default_context(cafile=str(root))
    until = time.monotonic() + _START
    while time.monotonic() < until:
        connection = HTTPSConnection("localhost", port, timeout=5, context=context)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:  # noqa: PLR2004
                return
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        if process.poll() is not None:
            break
        time.sleep(0.004)
    raise Failed(f"{process.args!r} does not answer; the end of its log:\n{last_lines(log)}")


def products(*, only_ours: bool) -> tuple[str, ...]:
    """Return whose nodes can be measured here."""
    return (OURS,) if only_ours or STEP_CA is None else (OURS, PEER)
