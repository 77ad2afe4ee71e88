"""The database goes away under a serving node: 503 over real TLS, nothing issued unrecorded, and back again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.client_story import Shell
from fakes.disk import Disk, disk_full
from fakes.hierarchy import make_csr, make_pki, make_world
from fakes.live import Answer, Live, live
from fakes.node import PROVISIONER_PASSWORD, make_home, running

from online.hierarchy import Chain
from online.store.sqlite import SqliteStore, create_database
from shared.clock import SystemClock
from shared.keys import KeyKind, PrivateKey, generate
from shared.pem import load_certificate

_MOUNT_SMALL_DISK = """
mount -t tmpfs -o size=3m tmpfs "$1" && cp "$2" "$1/coldroot.db" && shift 2 && exec "$@"
"""


@dataclass(kw_only=True)
class Node:
    """A node over real TLS, on a database that a test takes away."""

    server: Live
    path: Path
    disk: Disk
    issued: set[int]
    """The serials of every certificate that a client got."""

    def sign(self, token: str | None = None) -> Answer:
        """Ask for a certificate."""
        world = self.server.world
        csr = make_csr("a.example.com", key=generate(KeyKind.EC_P256)).public_bytes(Encoding.PEM).decode()
        body = json.dumps({"csr": csr, "ott": token or world.token("a.example.com", now=datetime.now(UTC))})
        return self._note(self.server.request("POST", "/sign", body.encode()))

    def renew(self, chain: Chain, key: PrivateKey) -> Answer:
        """Ask for a renewal over mTLS."""
        return self._note(self.server.request("POST", "/renew", context=self.server.context(chain, key)))

    def revoke(self, chain: Chain, key: PrivateKey) -> Answer:
        """Ask for a revocation over mTLS."""
        body = json.dumps({"serial": str(chain[0].serial_number), "passive": True, "reasonCode": 0})
        return self.server.request("POST", "/revoke", body.encode(), context=self.server.context(chain, key))

    def recorded(self) -> set[int]:
        """Return the serials in the database, read past the node."""
        database = sqlite3.connect(self.path)
        try:
            return {int(row[0], 16) for row in database.execute("SELECT serial FROM certificate")}
        finally:
            database.close()

    def _note(self, answer: Answer) -> Answer:
        if answer.status == 201:
            self.issued.add(load_certificate(json.loads(answer.body)["crt"].encode()).serial_number)
        return answer


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    create_database(tmp_path / "ca.db")
    disk = Disk()
    store = SqliteStore(tmp_path / "ca.db", connect=disk.connect)
    now = datetime.now(UTC)
    world = make_world(pki=make_pki(now=now), now=now, clock=SystemClock(), store=store)
    with live(tmp_path, world=world) as server:
        yield Node(server=server, path=tmp_path / "ca.db", disk=disk, issued=set())
        server.call(store.close())


@contextlib.contextmanager
def moved_away(node: Node) -> Iterator[None]:
    away = node.path.with_name("elsewhere.db")
    node.path.rename(away)
    yield
    away.rename(node.path)


@contextlib.contextmanager
def replaced(node: Node) -> Iterator[None]:
    original = node.path.with_name("original.db")
    node.path.rename(original)
    create_database(node.path)
    yield
    original.rename(node.path)


def failing(error: Callable[[], Exception]) -> Callable[[Node], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def fail(node: Node) -> Iterator[None]:
        node.disk.error = error
        node.disk.fail_statement = lambda statement: statement.startswith(("BEGIN", "INSERT"))
        yield
        node.disk.fail_statement = lambda _: False

    return fail


def readonly() -> Exception:
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY
    return error


@contextlib.contextmanager
def failing_commit(node: Node) -> Iterator[None]:
    node.disk.fail_commit_before = 1 << 30
    yield
    node.disk.fail_commit_before = 0


AWAY: dict[str, Callable[[Node], contextlib.AbstractContextManager[None]]] = {
    "moved away": moved_away,
    "replaced by another": replaced,
    "full": failing(disk_full),
    "read-only": failing(readonly),
    "failing to flush": failing_commit,
}


@pytest.mark.parametrize("trouble", AWAY)
def test_503_until_it_is_back(node: Node, trouble: str) -> None:
    """Clients that are told to come back find a node that works again, with the token that they still have."""
    chain, key = node.server.leaf()
    node.issued.add(chain[0].serial_number)
    assert node.sign().status == 201
    token = node.server.world.token("a.example.com", now=datetime.now(UTC))
    before = node.recorded()
    with AWAY[trouble](node):
        for answer in (node.sign(token), node.renew(chain, key), node.revoke(chain, key)):
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert json.loads(answer.body)["status"] == 503
            assert str(node.path) not in answer.body.decode()
        # What needs no database goes on.
        assert node.server.request("GET", "/roots").status == 201
        assert node.server.request("GET", "/health").status == 503
    assert node.recorded() == before
    assert node.sign(token).status == 201
    assert node.renew(chain, key).status == 201
    assert node.revoke(chain, key).status == 200
    assert node.renew(chain, key).status == 401
    assert node.sign(token).status == 401
    # The node's own leaf is recorded and was not asked for by a client.
    assert node.issued < node.recorded()
    assert len(node.recorded() - node.issued) == 1


def test_an_answer_that_got_lost_is_not_given_twice(node: Node) -> None:
    """Rows may be there although the disk said no: the caller hears 503, the token counts, nothing is handed out."""
    token = node.server.world.token("a.example.com", now=datetime.now(UTC))
    before = node.recorded()

    def only_a_certificate(statement: str) -> bool:
        # The node's own housekeeping commits, too.
        if statement.startswith("INSERT INTO certificate ") and not node.recorded() - before:
            node.disk.fail_commit_after = 1
        return False

    node.disk.fail_statement = only_a_certificate
    assert node.sign(token).status == 503
    assert len(node.recorded() - before) == 1
    assert node.sign(token).status == 401
    assert node.issued == set()


def can_mount() -> bool:
    """Tell whether a private disk of a few megabytes can be had."""
    try:
        return subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_mount(), reason="mount namespaces are not allowed here")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """The kernel's own ENOSPC under two real workers; a file is deleted, and they go on without a restart."""
    home = make_home(tmp_path / "home")
    backup = tmp_path / "empty.db"
    folder = home.path / "db"
    shutil.copy(folder / "coldroot.db", backup)
    password = tmp_path / "password"
    password.write_bytes(PROVISIONER_PASSWORD)
    password.chmod(0o600)
    wrapper = ("unshare", "-m", "sh", "-c", _MOUNT_SMALL_DISK, "sh", str(folder), str(backup))
    with running(home, workers=2, wrapper=wrapper) as node:
        shell = Shell(directory=tmp_path, url=node.url, fingerprint=home.fingerprint, password_file=password)
        shell.run("bootstrap", "--ca-url", node.url, "--fingerprint", home.fingerprint)
        crt, key = shell.pair("a")
        # The namespace of the node, seen from outside.
        small = Path(f"/proc/{node.process.pid}/root{folder}")
        workers = node.workers()
        filler = small / "filler"
        _fill(filler)
        refusals = [_outcome(shell, "renew", "--force", crt, key) for _ in range(20)]
        # A page of the log may have been free; then it is full for good.
        assert refusals[-5:] == ["503"] * 5
        filler.unlink()
        said = len(node.lines)
        assert _outcome(shell, "renew", "--force", crt, key) == "201"
        assert node.workers() == workers
        # An answer may be here before the line about it has come through the pipe.
        node.wait_for(" /renew 201 ", since=said)
        recorded = {line.rpartition("serial=")[2] for line in node.lines if " /renew 201 " in line}
        # Copied first: SQLite resolves the link in this path, and would open the file of this side.
        for name in ("coldroot.db", "coldroot.db-wal"):
            shutil.copy(small / name, tmp_path / name)
    database = sqlite3.connect(tmp_path / "coldroot.db")
    rows = {str(int(row[0], 16)) for row in database.execute("SELECT serial FROM certificate WHERE kind = 'renewed'")}
    database.close()
    assert rows == recorded


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(os.urandom(4096)):
            pass


def _outcome(shell: Shell, *arguments: str) -> str:
    try:
        shell.run(*arguments)
    except AssertionError as error:
        return "503" if "the CA answers 503" in str(error) else str(error)
    return "201"
