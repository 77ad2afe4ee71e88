"""What the node takes from systemd and tells it: a socket, signs of life, a sandbox that it must be able to live in."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import node as nodes
from fakes.node import NodeHome, make_home, running
from fakes.softhsm import SoftHsm, needs_softhsm, softhsm_fixture  # noqa: F401

from online.config import load_config
from online.listener import adopt
from online.notify import Watchdog
from online.signals import Signals
from online.trial import try_node
from shared.errors import Fatal, RequestRejected
from shared.keys import KeyKind
from shared.keystore import create_key

ROOT = Path(__file__).resolve().parents[2]
# Becomes a process that systemd started: the socket is number 3, and the variables name the process.
_AS_ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[2], LISTEN_FDNAMES="x")
from online.listener import adopt
from shared.errors import RequestRejected
try:
    taken = adopt()
    left = [name for name in os.environ if name.startswith("LISTEN_")]
    print(taken and taken.getsockname()[1], taken and taken.get_inheritable(), left)
except RequestRejected as error:
    print(error.code)
"""


def activated(handed: socket.socket, count: str = "1") -> str:
    """Return what a process makes of a socket that it is handed."""
    handed.set_inheritable(True)
    done = subprocess.run(
        [sys.executable, "-c", _AS_ACTIVATED, str(handed.fileno()), count],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        pass_fds=(handed.fileno(),),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket as systemd makes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_listening_socket_is_taken_over(listening: socket.socket) -> None:
    """Without this, a node without any privilege could not serve on port 443; and its children must not be told too."""
    assert activated(listening) == f"{listening.getsockname()[1]} False []"


@pytest.mark.parametrize("count", ["2", "x", "-1"])
def test_several_sockets_are_refused(listening: socket.socket, count: str) -> None:
    """Without this, a second ListenStream= would be accepted and never answered."""
    assert activated(listening, count) == "listen.handed-over"


def test_what_does_not_listen_is_refused(tmp_path: Path) -> None:
    """Without this, a mistake in the socket unit would be a traceback, or a node that nobody can reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as idle:
        assert activated(idle) == "listen.handed-over"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        assert activated(datagrams) == "listen.handed-over"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as local:
        local.bind(str(tmp_path / "x"))
        local.listen()
        assert activated(local) == "listen.handed-over"


@pytest.mark.parametrize(
    "variables", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"}]
)
def test_without_a_socket_for_this_process_there_is_none(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """Without this, a node started by hand in a session of systemd's would take descriptor 3, whatever it is."""
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        monkeypatch.delenv(name, raising=False)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert adopt() is None


def test_a_closed_descriptor_is_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a service manager's mistake would be a traceback."""
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setattr("online.listener._FIRST_HANDED_OVER", 10_000)
    with pytest.raises(RequestRejected) as failure:
        adopt()
    assert failure.value.code == "listen.handed-over"


class Manager:
    """The service manager's end of sd_notify."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20)

    def hear(self) -> str:
        """Return the next datagram."""
        return self.socket.recv(4096).decode()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """A service manager that the process under test is told of."""
    path = tmp_path / "notify"
    found = Manager(path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    yield found
    found.socket.close()


def test_signs_of_life_come_three_times_an_interval(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, one that is late would be taken for the death of the node."""
    now = 100.0
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    watchdog = Watchdog(monotonic=lambda: now)
    assert watchdog.beat() == 10.0
    now = 105.0
    assert watchdog.beat() == 5.0
    now = 110.0
    assert watchdog.beat() == 10.0
    manager.socket.setblocking(False)
    assert [manager.hear(), manager.hear()] == ["WATCHDOG=1", "WATCHDOG=1"]
    with pytest.raises(BlockingIOError):
        manager.hear()


@pytest.mark.parametrize(("wanted", "process"), [("", None), ("x", None), ("-5", None), ("30000000", "1"), ("0", None)])
def test_nobody_who_listens_gets_no_signs(
    manager: Manager, monkeypatch: pytest.MonkeyPatch, wanted: str, process: str | None
) -> None:
    """Without this, a node without a watchdog would wake up for nothing, or answer for another process."""
    monkeypatch.setenv("WATCHDOG_USEC", wanted)
    monkeypatch.setenv("WATCHDOG_PID", process or str(os.getpid()))
    assert Watchdog().beat() == float("inf")
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.hear()


@pytest.fixture
def home(tmp_path: Path) -> NodeHome:
    """A node's home."""
    return make_home(tmp_path / "home")


def test_a_node_tells_its_manager_all_its_life(
    home: NodeHome, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this, systemd would kill a node that is well, wait for one that is ready, or miss its reload."""
    monkeypatch.setenv("WATCHDOG_USEC", "1500000")
    said: list[str] = []

    def until(text: str) -> None:
        while text not in said:
            said.extend(manager.hear().split("\n"))

    with running(home, workers=2) as node:
        until("READY=1")
        assert f"MAINPID={node.process.pid}" in said
        said.clear()
        for _ in range(3):
            until("WATCHDOG=1")
            said.clear()
        node.process.send_signal(signal.SIGHUP)
        until("RELOADING=1")
        until("READY=1")
        node.process.send_signal(signal.SIGTERM)
        until("STOPPING=1")


_IMPATIENT = "import online.supervisor as s; s._LONGEST_SILENCE_SECONDS, s._BEAT_SECONDS = 1.0, 0.1\n"


def test_a_worker_that_hangs_is_replaced(home: NodeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a worker stuck in a call that never returns would keep its share of the clients for ever."""
    monkeypatch.setattr(nodes, "_SERVE", _IMPATIENT + nodes._SERVE)
    with running(home, workers=2) as node:
        stuck = node.workers()[0]
        os.kill(stuck, signal.SIGSTOP)
        node.wait_for(f"worker {stuck} ended: serve.worker-hung")
        deadline = time.monotonic() + 20
        while len(node.workers()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert stuck not in node.workers()


def test_a_trial_that_hangs_is_given_up(home: NodeHome) -> None:
    """Without this, an HSM that hangs during a reload would keep the parent from its other duties for ever."""
    looks: list[int] = []

    def hang(prompt: str) -> bytes:
        time.sleep(600)
        return prompt.encode()

    with Signals() as signals, pytest.raises(Fatal) as failure:
        try_node(load_config(home.config), hang, signals, seconds=0.5, meanwhile=lambda: looks.append(1))
    assert failure.value.code == "serve.slow-start"
    assert looks


def test_a_wrong_password_has_an_exit_status_of_its_own(home: NodeHome, tmp_path: Path) -> None:
    """Without this, systemd would try a wrong PIN until the HSM locks itself."""
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    for text, status in (("wrong", 77), ("", 1)):
        secret.write_text(text)
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from online.cli import cli; cli()",
                "serve",
                home.config,
                "--password-file",
                secret,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        assert done.stderr.count("error: ") == 1


# prctl(2): what MemoryDenyWriteExecute= asks of a kernel from 6.3 on; children and programs they run inherit it.
_DENY_WRITE_EXECUTE = """
import ctypes
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0) != 0:
    raise SystemExit("the kernel refused PR_SET_MDWE")
"""


_SIGNING = (KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.RSA)


def knows_mdwe() -> bool:
    """Tell whether the kernel knows PR_GET_MDWE."""
    return sys.platform == "linux" and int(ctypes.CDLL(None).prctl(66, 0, 0, 0, 0)) >= 0


@pytest.mark.skipif(not knows_mdwe(), reason="this kernel has no PR_SET_MDWE (Linux 6.3)")
def test_a_node_lives_without_writable_code(home: NodeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, MemoryDenyWriteExecute= in the unit could stop the node at a request nobody tried it with.

    The start alone signs a certificate (the node's own) and writes the database; the reload forks and does it again.
    """
    monkeypatch.setattr(nodes, "_SERVE", _DENY_WRITE_EXECUTE + nodes._SERVE)
    with running(home, workers=2) as node:
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("configuration reloaded")
        with socket.create_connection(("127.0.0.1", node.port), timeout=10):
            pass


_SIGN_IN_HSM = """
import sys
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from shared.keystore import open_key
for uri in sys.argv[1:]:
    with open_key(uri, lambda _: b"user-pin-1") as key:
        if isinstance(key, ec.EllipticCurvePrivateKey):
            key.public_key().verify(key.sign(b"words", ec.ECDSA(hashes.SHA256())), b"words", ec.ECDSA(hashes.SHA256()))
        else:
            way = padding.PKCS1v15(), hashes.SHA256()
            key.public_key().verify(key.sign(b"words", *way), b"words", *way)
        print("signed")
"""


@needs_softhsm
@pytest.mark.skipif(not knows_mdwe(), reason="this kernel has no PR_SET_MDWE (Linux 6.3)")
def test_a_key_in_softhsm_signs_without_writable_code(softhsm: SoftHsm) -> None:
    """A PKCS#11 library is foreign code in the node's process; of this one, the documents say that it can live so."""
    softhsm.token()
    uris = [f"pkcs11:token=root;object={kind.name}?module-path={softhsm.path}" for kind in _SIGNING]
    for uri, kind in zip(uris, _SIGNING, strict=True):
        create_key(uri, kind, lambda _: b"user-pin-1", rsa_bits=2048)
    done = subprocess.run(
        [sys.executable, "-c", _DENY_WRITE_EXECUTE + _SIGN_IN_HSM, *uris],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split()) == (0, ["signed"] * len(uris)), done.stderr
