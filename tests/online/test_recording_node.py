"""The recorder in a real node: killed, stopped, replaced, orphaned, while clients get certificates."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import pytest
from fakes.crowd import Client
from fakes.node import Node, NodeHome, make_home, running, start

from online.store.rows import serial_text
from online.store.sqlite import create_database
from shared.keys import KeyKind, generate
from shared.pem import load_certificates

_LIMIT = 60.0
_THREADS = 4
_MOST_EACH = 400
# Less than one certificate writes, and more than all signs of life that fall between two looks.
_LEAST_BYTES = 4000


@pytest.fixture
def home(tmp_path: Path) -> NodeHome:
    """A node's home."""
    return make_home(tmp_path / "home")


def until(condition: Callable[[], object], *, pause: float = 0.02) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + _LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(pause)


def lives(pid: int) -> bool:
    """Tell whether a process runs, or could."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def has_open(pid: int, path: Path) -> bool:
    """Tell whether a process has a file open."""
    with suppress(OSError):
        return any(each.samefile(path) for each in Path(f"/proc/{pid}/fd").iterdir() if each.exists())
    return False


@dataclass(kw_only=True)
class Load:
    """Clients that each ask for one certificate after the other, for another name and with a token of its own."""

    client: Client
    node: Node
    requests: dict[str, Mapping[str, str]] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    """What each was answered; 0: no answer came."""
    serials: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self) -> Counter[int]:
        """Count the answers so far."""
        with self._lock:
            return Counter(self.statuses.values())

    def wait_for_more(self, number: int) -> None:
        """Wait until so many more certificates were given."""
        wanted = self.count()[201] + number
        until(lambda: self.count()[201] >= wanted)

    def ask(self, name: str) -> int:
        """Ask for a name's certificate, with the same token each time; return the status."""
        begun = time.monotonic()
        try:
            status, body = self.client.ask(self.node.port, "/1.0/sign", self.requests[name])
        except (OSError, HTTPException):
            status, body = 0, b""
        with self._lock:
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.statuses[name] = status
            if status == 201:
                leaf = load_certificates(json.loads(body)["crt"].encode())[0]
                assert name not in self.serials
                self.serials[name] = serial_text(leaf.serial_number)
        return status

    def one(self) -> int:
        """Ask for one more certificate; return the status."""
        name = f"{os.urandom(6).hex()}.example.com"
        self.requests[name] = self.client.request(name, generate(KeyKind.EC_P256))
        return self.ask(name)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let them work until the block ends, within bounds."""
        over = threading.Event()

        def work() -> None:
            for _ in range(_MOST_EACH):
                if over.is_set():
                    return
                if self.one() == 0:
                    time.sleep(0.05)

        threads = [threading.Thread(target=work) for _ in range(_THREADS)]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            over.set()
            for each in threads:
                each.join(_LIMIT)
        assert not any(each.is_alive() for each in threads)

    def check(self) -> None:
        """Insist that what was answered is recorded, and that no token bought two certificates."""
        found = recorded(self.node.home)
        assert set(Counter(found.values()).values()) <= {1}
        assert {(serial, name) for name, serial in self.serials.items()} <= set(found.items())

    def check_again(self) -> None:
        """Use the token of each who got none once more: it is used if there is a certificate, and buys one if not."""
        before = set(recorded(self.node.home).values())
        for name in [name for name, status in self.statuses.items() if status != 201]:
            assert self.ask(name) == (401 if name in before else 201)
        self.check()
        assert set(self.requests) == set(recorded(self.node.home).values())


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[[Node], Load]:
    """Make a load for a node."""
    (tmp_path / "client").mkdir()
    return lambda node: Load(client=Client(home=node.home, directory=tmp_path / "client"), node=node)


def recorded(home: NodeHome) -> dict[str, str]:
    """Return the names of all certificates of clients, by serial."""
    with closing(sqlite3.connect(home.path / "db" / "coldroot.db")) as database:
        rows = database.execute("SELECT serial, subject FROM certificate WHERE subject LIKE 'CN=%.example.com'")
        return {serial: subject.removeprefix("CN=") for serial, subject in rows}


def written(pid: int) -> int:
    """Return how many bytes a process has written so far (proc(5), ``io``)."""
    return int(dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())["wchar"])


def other_than(node: Node, recorders: Sequence[int]) -> int:
    """Wait for another recorder than some, and return it. A list of children that come and go may lack one."""
    found = recorders[-1]

    def is_other() -> bool:
        nonlocal found
        with suppress(IndexError, OSError):
            found = node.recorder()
        return found not in recorders

    until(is_other)
    return found


def records_all(node: Node, load: Load) -> int:
    """Wait until whatever either worker signs is written by one and the same recorder; return which."""
    found = 0

    def does() -> bool:
        nonlocal found
        with suppress(IndexError, OSError):
            found = node.recorder()
            for _ in range(6):
                before = written(found)
                # One that was killed a moment ago may have had this record in hand.
                if load.one() != 201 or written(found) < before + _LEAST_BYTES:
                    return False
            return True
        return False

    until(does)
    return found


def test_a_killed_recorder_costs_no_certificate_that_was_given(home: NodeHome, loaded: Callable[[Node], Load]) -> None:
    """Without this, a crash would leave certificates that nobody recorded, or tokens that buy two, or no recorder."""
    with running(home, workers=2) as node:
        load = loaded(node)
        first = records_all(node, load)
        workers = node.workers()
        with load.at_work():
            load.wait_for_more(10)
            os.kill(first, signal.SIGKILL)
            # The workers write by themselves meanwhile.
            load.wait_for_more(30)
        assert set(load.count()) <= {201, 503}
        second = records_all(node, load)
        assert second != first
        until(lambda: node.workers() == workers)
        load.check_again()


def test_a_killed_worker_leaves_the_recorder_to_the_others(home: NodeHome, loaded: Callable[[Node], Load]) -> None:
    """Without this, one worker's crash would cost all of them their recorder."""
    with running(home, workers=2) as node:
        load = loaded(node)
        recorder = records_all(node, load)
        with load.at_work():
            load.wait_for_more(10)
            killed = node.workers()[0]
            os.kill(killed, signal.SIGKILL)
            load.wait_for_more(20)
        until(lambda: len(node.workers()) == 2 and killed not in node.workers())
        assert records_all(node, load) == recorder
        load.check_again()


def test_a_reload_replaces_the_recorder_in_a_race_with_its_clients(
    home: NodeHome, loaded: Callable[[Node], Load]
) -> None:
    """Without this, a reload would cost clients their certificates, or leave one more recorder each time."""
    with running(home, workers=2) as node:
        load = loaded(node)
        recorders = [records_all(node, load)]
        with load.at_work():
            for _ in range(2):
                since = len(node.lines)
                load.wait_for_more(5)
                node.process.send_signal(signal.SIGHUP)
                node.wait_for("configuration reloaded", since=since)
                recorders.append(other_than(node, recorders))
                load.wait_for_more(5)
        assert set(load.count()) == {201}
        assert len(set(recorders)) == len(recorders)
        until(lambda: not any(lives(each) for each in recorders[:-1]))
        assert records_all(node, load) == recorders[-1]
        load.check()


def test_a_reload_that_a_killed_worker_ends_leaves_all_with_the_old_database(
    home: NodeHome, loaded: Callable[[Node], Load]
) -> None:
    """Without this, house would be kept, and lists of revocations made, in a database that no worker writes into."""
    with running(home, workers=2) as node:
        load = loaded(node)
        recorder, workers, since = records_all(node, load), set(node.workers()), len(node.lines)
        other = home.path / "db" / "other.db"
        create_database(other)
        home.change_config(db={"type": "sqlite", "dataSource": str(other)})
        node.process.send_signal(signal.SIGHUP)
        until(lambda: set(node.workers()) - workers, pause=0.002)
        for each in set(node.workers()) - workers:
            os.kill(each, signal.SIGKILL)
        node.wait_for("the configuration was not reloaded", since=since)
        until(lambda: len(node.children()) == 4 and not any(has_open(each, other) for each in node.children()))
        assert set(node.workers()) == workers
        assert records_all(node, load) != recorder
        load.check()


def test_a_recorder_that_somebody_tells_to_stop_is_replaced(home: NodeHome, loaded: Callable[[Node], Load]) -> None:
    """Without this, one signal by mistake would leave later workers without a recorder, and nobody would notice."""
    with running(home, workers=2) as node:
        load = loaded(node)
        told = records_all(node, load)
        with load.at_work():
            load.wait_for_more(5)
            os.kill(told, signal.SIGTERM)
            load.wait_for_more(10)
        assert set(load.count()) == {201}
        until(lambda: not lives(told))
        assert records_all(node, load) != told
        load.check()


def test_a_turn_that_somebody_holds_is_no_fault_of_the_recorder(home: NodeHome, loaded: Callable[[Node], Load]) -> None:
    """Without this, a client would wait twice as long to hear that the store is busy, or hear that nobody knows."""
    with running(home, workers=2) as node:
        load = loaded(node)
        recorder = records_all(node, load)
        with (home.path / "db" / "coldroot.db.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert load.one() == 503
        assert load.slowest < _LIMIT / 2
        node.wait_for("store.busy")
        assert not any("outcome-unknown" in line for line in node.lines)
        assert records_all(node, load) == recorder
        load.check_again()


def test_a_stop_in_a_race_with_clients_records_what_was_answered(
    home: NodeHome, loaded: Callable[[Node], Load]
) -> None:
    """Without this, the recorder could end before the last worker has what it asked for, or stay behind."""
    with running(home, workers=2) as node:
        load = loaded(node)
        records_all(node, load)
        children = node.children()
        with load.at_work():
            load.wait_for_more(10)
            node.process.send_signal(signal.SIGTERM)
            assert node.process.wait(_LIMIT) == 0
        assert not any(lives(each) for each in children)
        assert set(load.count()) <= {201, 0}
        load.check()
    with running(home) as node:
        load.node = node
        load.check_again()


def test_a_recorder_that_is_stopped_is_done_without_by_fault(home: NodeHome, loaded: Callable[[Node], Load]) -> None:
    """Without this, one process that hangs would keep all clients waiting, or write late what somebody else wrote."""
    with running(home, workers=2) as node:
        load = loaded(node)
        recorder = records_all(node, load)
        # It waits for work now, and so has nothing in hand that anybody else waits for.
        os.kill(recorder, signal.SIGSTOP)
        try:
            with load.at_work():
                load.wait_for_more(20)
                assert load.count()[503]
        finally:
            os.kill(recorder, signal.SIGCONT)
        assert set(load.count()) == {201, 503}
        assert load.slowest < _LIMIT / 2
        assert records_all(node, load) == recorder
        # Nobody had its record written while it was told that the store is busy, or that nobody knows.
        load.check_again()


def test_a_killed_parent_leaves_no_recorder_behind(home: NodeHome, loaded: Callable[[Node], Load]) -> None:
    """Without this, an orphan would go on writing into a database, or wait for workers that never come."""
    node = start(home, workers=2)
    try:
        node.port = int(node.wait_for("READY ").split("https://localhost:")[1].split()[0])
        load = loaded(node)
        records_all(node, load)
        until(lambda: len(node.children()) == 4)
        children = node.children()
        with load.at_work():
            load.wait_for_more(10)
            node.process.kill()
            node.process.wait()
            until(lambda: not any(lives(each) for each in children))
        assert set(load.count()) <= {201, 0}
        load.check()
    finally:
        node.process.kill()
        node.process.wait()
        assert node.process.stderr is not None
        node.process.stderr.close()


def test_a_database_replaced_by_fault_is_written_by_no_recorder(home: NodeHome, loaded: Callable[[Node], Load]) -> None:
    """Without this, the node would go on with a database that has forgotten which tokens were used.

    A recorder that is started after that opens the new file, and must not write there for workers that read the old.
    """
    with running(home, workers=2) as node:
        load = loaded(node)
        recorder = records_all(node, load)
        create_database(home.path / "db" / "other.db")
        (home.path / "db" / "other.db").replace(home.path / "db" / "coldroot.db")
        assert [load.one() for _ in range(6)] == [503] * 6
        os.kill(recorder, signal.SIGKILL)
        for end in ("-wal", "-shm"):
            (home.path / "db" / f"coldroot.db{end}").unlink(missing_ok=True)
        node.wait_for(f"recorder {recorder} ended")
        other_than(node, [recorder])
        for _ in range(4):
            assert [load.one() for _ in range(3)] == [503] * 3
            time.sleep(0.5)
    assert recorded(home) == {}
