"""Several nodes over one database, their clients, and what must hold of them whatever happened."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fakes.crowd import Client, Crowd
from fakes.node import Node, NodeHome, make_home, start
from fakes.servers import descendants

from online.config import load_config
from online.store import upkeep

Block = Mapping[str, str]
"""What a ca.json says of its database."""


Sql = Callable[[str], str]
"""Returns what a statement says, line by line."""


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """Nodes that run, and a client of theirs."""

    running: Sequence[Node]
    client: Client

    @property
    def ports(self) -> list[int]:
        """Where they answer."""
        return [node.port for node in self.running]

    def crowd(self) -> Crowd:
        """Return clients of all of them."""
        return Crowd(client=self.client, ports=self.ports)

    def health(self) -> list[int]:
        """Return what each says of itself."""
        return [self.client.ask(port, "/health")[0] for port in self.ports]

    def check(self, crowd: Crowd, sql: Sql, *, ports: Sequence[int]) -> None:
        """Insist that nothing acknowledged was lost, nothing was issued twice, and nobody was told nonsense.

        Args:
            crowd: after its work.
            sql: asks the database as it is now.
            ports: of the nodes that should know.
        """
        assert set(crowd.statuses) <= {200, 201, 503, 0}, crowd.statuses
        assert set(crowd.issued) <= set(sql("SELECT serial FROM certificate").split())
        assert set(Counter(crowd.issued.values()).values()) == {1}
        assert crowd.revoked
        assert {leaf.serial for leaf in crowd.revoked} <= set(sql("SELECT serial FROM revocation").split())
        for leaf in crowd.revoked[-3:]:
            assert {self.client.renew(port, leaf) for port in ports} == {401}


@contextmanager
def nodes_over(directory: Path, blocks: Sequence[Block]) -> Iterator[Nodes]:
    """Run a node for each database address; they share keys, provisioners and the database behind the addresses.

    Each may be killed. Those that live at the end must end well.
    """
    first = make_home(directory / "node0")
    (directory / "client").mkdir()
    with ExitStack() as stack:
        nodes = []
        for number, block in enumerate(blocks):
            home = dataclasses.replace(first, path=directory / f"node{number}")
            if number:
                shutil.copytree(first.path, home.path)
            home.change_config(db=block)
            if not number:
                upkeep.upgrade(load_config(home.config).db, say=lambda _: None)
            nodes.append(stack.enter_context(_mortal(home)))
        # They begin side by side.
        for node in nodes:
            node.port = int(node.wait_for("READY ", seconds=60).split("https://localhost:")[1].split()[0])
        yield Nodes(running=nodes, client=Client(home=first, directory=directory / "client"))


@contextmanager
def _mortal(home: NodeHome) -> Iterator[Node]:
    node = start(home)
    try:
        yield node
        if node.process.poll() is None:
            node.process.send_signal(signal.SIGTERM)
            assert node.process.wait(60) == 0, "\n".join(node.lines[-30:])
    finally:
        kill(node)
        assert node.process.stderr is not None
        node.process.stderr.close()


def kill(node: Node) -> None:
    """Let a node's machine lose its power: all processes at once."""
    for pid in (node.process.pid, *descendants(node.process.pid)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.process.wait()
