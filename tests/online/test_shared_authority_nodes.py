"""Two real nodes over one database that has their authority: what is changed once reaches both, and nobody reloads."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.clock import NOON, FakeClock
from fakes.databases import fresh_settings, shared_server
from fakes.hierarchy import make_csr
from fakes.nodes import Block, Nodes, nodes_over

from online.accesslog import Log
from online.cli import cli
from online.config import DatabaseSettings
from online.jose.jwk import PrivateJwk
from online.keeper import watch_authority
from online.provisioners.protocol import Operation
from online.store.documents import add_document, newest_document
from online.store.protocol import Document
from online.tokens import audience, mint_sign_token
from shared.errors import StoreFailed
from shared.keys import KeyKind, generate

SECONDS = 40.0


def statuses(nodes: Nodes, signer: PrivateJwk, issuer: str) -> list[int]:
    """Return what each node says to a new token of a provisioner."""
    found = []
    for port in nodes.ports:
        token = mint_sign_token(
            signer,
            issuer=issuer,
            audience=audience("https://localhost", Operation.SIGN),
            subject="a.example.com",
            sans=[],
            root_fingerprint=nodes.client.home.fingerprint,
            now=datetime.now(UTC),
            rng=os.urandom,
        )
        csr = make_csr("a.example.com", key=generate(KeyKind.EC_P256)).public_bytes(Encoding.PEM).decode()
        found.append(nodes.client.ask(port, "/1.0/sign", {"csr": csr, "ott": token})[0])
    return found


def await_statuses(nodes: Nodes, signer: PrivateJwk, issuer: str, wanted: list[int]) -> None:
    """Wait until each node says what is wanted."""
    deadline = time.monotonic() + SECONDS
    while (found := statuses(nodes, signer, issuer)) != wanted:
        assert time.monotonic() < deadline, (found, [node.lines[-5:] for node in nodes.running])
        time.sleep(0.2)


def edit(nodes: Nodes, number: int, *arguments: str) -> str:
    """Run a command on a node's home; return what it says."""
    done = CliRunner().invoke(cli, [*arguments, "--home", str(nodes.running[number].home.path)])
    assert done.exit_code == 0, done.output
    return done.output


def reloads(nodes: Nodes, version: int) -> None:
    """Wait until each node has taken up a version."""
    for node in nodes.running:
        node.wait_for(f"authority version {version}", seconds=SECONDS)


def put(settings: DatabaseSettings, text: str) -> int:
    """Write the next version past everything that would look at it; return its number."""
    newest = newest_document(settings)
    assert newest is not None
    add_document(settings, Document(version=newest.version + 1, text=text, changed_at=NOON, changed_by="somebody"))
    return newest.version + 1


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_change_reaches_every_node_by_itself(kind: str, tmp_path: Path) -> None:
    """Without this, a removed provisioner would go on issuing on the node that somebody forgot."""
    if kind != "sqlite":
        shared_server(kind)
    settings = fresh_settings(kind, tmp_path)
    block: Block = {"type": settings.type, "dataSource": settings.data_source, "database": settings.database}
    signer = PrivateJwk.of(generate(KeyKind.EC_P256))
    public = tmp_path / "public.json"
    public.write_text(json.dumps(signer.public().to_json()))
    with nodes_over(tmp_path, [block, block]) as nodes:
        for number, node in enumerate(nodes.running):
            edit(nodes, number, "authority", "share")
            node.process.send_signal(signal.SIGHUP)
        reloads(nodes, 1)
        assert statuses(nodes, signer, "web") == [401, 401]
        assert "within seconds" in edit(nodes, 1, "provisioner", "add", "web", "--public-key", str(public))
        await_statuses(nodes, signer, "web", [201, 201])
        # What no node can use changes nothing, and is said once.
        newest = newest_document(settings)
        assert newest is not None
        bad = put(settings, '{"authority": {"provisioners": [{"type": "SSHPOP"}]}}')
        for node in nodes.running:
            node.wait_for(
                f"version {bad} of the authority, in the database: authority.provisioners[0]", seconds=SECONDS
            )
        assert statuses(nodes, signer, "web") == [201, 201]
        good = put(settings, newest.text)
        reloads(nodes, good)
        for node in nodes.running:
            assert len([line for line in node.lines if "not reloaded" in line]) == 1
        edit(nodes, 0, "provisioner", "remove", "web")
        await_statuses(nodes, signer, "web", [401, 401])
        nodes.client.leaf(nodes.ports[0], "b.example.com")


class Away:
    """A database that is away, comes back, and is asked no more."""

    def __init__(self) -> None:
        """Begin."""
        self.asked = 0

    async def authority_version(self) -> int | None:
        """Fail twice, then answer; then let the asker go."""
        self.asked += 1
        if self.asked <= 2:
            raise StoreFailed("store.unreachable", "nobody is there")
        if self.asked > 4:
            raise asyncio.CancelledError
        return 7 if self.asked == 3 else None


async def test_a_database_that_is_away_is_said_once() -> None:
    """It must end no keeper, nor fill the log every 2 seconds."""
    lines: list[str] = []
    found: list[int] = []
    with suppress(asyncio.CancelledError):
        await watch_authority(Away(), Log(FakeClock(), sink=lines.append), found.append, look=0)
    assert len(lines) == 1
    assert "store.unreachable" in lines[0]
    assert found == [7]
