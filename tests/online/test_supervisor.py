"""The supervisor and its workers as processes: start, race, death, reload, end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from fakes.hierarchy import PROVISIONER, make_csr, make_pki
from fakes.node import KEY_PASSWORD, Node, NodeHome, make_home, running, start
from fakes.softhsm import SoftHsm, needs_softhsm, softhsm_fixture  # noqa: F401 (a fixture)

from online.config import load_config
from online.config.settings import DatabaseSettings
from online.provisioners.protocol import Operation
from online.store.sqlite import open_store
from online.supervisor import serve
from online.tokens import audience, mint_sign_token
from shared import names
from shared.errors import RequestRejected
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.keys import KeyKind, check_public_key, generate
from shared.pem import load_certificates
from shared.profile import intermediate_profile
from shared.serials import random_serial


@pytest.fixture
def home(tmp_path: Path) -> NodeHome:
    """A node's home."""
    return make_home(tmp_path / "home")


def until(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def connect(node: Node) -> HTTPSConnection:
    """Return a connection that trusts the node's root."""
    context = ssl.create_default_context(cafile=str(node.home.root))
    return HTTPSConnection("127.0.0.1", node.port, timeout=20, context=context)


def get(node: Node, path: str) -> tuple[int, bytes]:
    """Read something on a new connection."""
    connection = connect(node)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def sign_body(node: Node, subject: str = "a.example.com") -> bytes:
    """Return the body of a sign request with a fresh token."""
    token = mint_sign_token(
        node.home.signer,
        issuer=PROVISIONER,
        audience=audience(node.url, Operation.SIGN),
        subject=subject,
        sans=[],
        root_fingerprint=node.home.fingerprint,
        now=datetime.now(UTC),
        rng=os.urandom,
    )
    csr = make_csr(subject, key=generate(KeyKind.EC_P256)).public_bytes(Encoding.PEM).decode()
    return json.dumps({"csr": csr, "ott": token}).encode()


def post(node: Node, path: str, body: bytes) -> tuple[int, bytes]:
    """Send something on a new connection."""
    connection = connect(node)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_two_workers_race_for_one_token(home: NodeHome) -> None:
    """Without this, one token could buy a certificate from each worker."""
    with running(home, workers=2) as node:
        for _ in range(5):
            assert sorted(race(node, sign_body(node), 8)) == [201] + [401] * 7


def race(node: Node, body: bytes, clients: int) -> list[int]:
    """Send one body from several clients at once, each on its own connection; return the statuses."""
    barrier = threading.Barrier(clients)
    statuses: list[int] = []

    def attempt() -> None:
        barrier.wait()
        statuses.append(post(node, "/1.0/sign", body)[0])

    threads = [threading.Thread(target=attempt) for _ in range(clients)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return statuses


def test_an_answered_certificate_is_in_the_database(home: NodeHome) -> None:
    """Without this, a certificate could be out in the world that the node knows nothing of."""
    with running(home) as node:
        status, body = post(node, "/sign", sign_body(node))
        assert status == 201
        serial = load_certificates(json.loads(body)["crt"].encode())[0].serial_number

    async def recorded() -> bool:
        store = open_store(DatabaseSettings(data_source=str(home.path / "db" / "coldroot.db")))
        try:
            return await store.certificate(serial) is not None
        finally:
            await store.close()

    assert asyncio.run(recorded())


def test_a_token_outlives_a_restart_and_so_does_its_use(home: NodeHome) -> None:
    """Without this, a restart would kill outstanding tokens, or bring used ones back to life."""
    with running(home) as node:
        used, unused = sign_body(node), sign_body(node)
        assert post(node, "/sign", used)[0] == 201
    with running(home) as node:
        assert post(node, "/sign", used)[0] == 401
        assert post(node, "/sign", unused)[0] == 201


def test_a_killed_worker_is_replaced_while_the_other_serves(home: NodeHome) -> None:
    """Without this, a crash would take the node down, or halve it for good."""
    with running(home, workers=2) as node:
        first = node.workers()
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        until(lambda: len(node.workers()) == 2 and first[0] not in node.workers())
        node.wait_for(f"worker {first[0]} ended")
        assert get(node, "/health")[0] == 200


def test_workers_end_when_their_supervisor_is_killed(home: NodeHome) -> None:
    """Without this, orphans would go on serving on a port that nobody supervises."""
    node = start(home, workers=2)
    node.wait_for("READY ")
    workers = node.workers()
    node.process.kill()
    node.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}/fd").exists() and _running(pid) for pid in workers))
    assert node.process.stderr is not None
    node.process.stderr.close()


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_node_with_status_0(home: NodeHome, number: signal.Signals) -> None:
    """Without this, every planned stop would look like a crash."""
    with running(home, workers=2) as node:
        workers = node.workers()
        node.process.send_signal(number)
        assert node.process.wait(30) == 0
        assert not any(_running(pid) for pid in workers)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", node.port))


def test_a_stop_answers_the_request_that_is_on_its_way(home: NodeHome) -> None:
    """Without this, a restart would cost a client its certificate."""
    with running(home) as node:
        connection = connect(node)
        body = sign_body(node)
        connection.putrequest("POST", "/sign")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        connection.send(body[:10])
        time.sleep(0.3)
        node.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.send(body[10:])
        assert connection.getresponse().status == 201
        connection.close()


def test_sighup_replaces_the_workers_and_reads_the_configuration_again(home: NodeHome) -> None:
    """Without this, each change would need a restart."""
    with running(home, workers=2) as node:
        before = set(node.workers())
        body = sign_body(node)
        home.change_config(commonName="Another Name", coldroot={"logLevel": "warning"})
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("configuration reloaded")
        until(lambda: len(node.workers()) == 2 and not before & set(node.workers()))
        assert get(node, "/health")[0] == 200
        # A token from before is as good as it was; in step-ca it would be dead.
        assert post(node, "/sign", body)[0] == 201
        assert post(node, "/sign", body)[0] == 401
        node.wait_for("/sign 401")
        assert not any("/sign 201" in line for line in node.lines)


def test_sighup_under_load_drops_no_request(home: NodeHome) -> None:
    """Without this, a reload would cost some clients their request."""
    with running(home, workers=2) as node:
        failures: list[BaseException] = []
        served = 0
        stop = threading.Event()

        def load() -> None:
            nonlocal served
            while not stop.is_set():
                try:
                    assert get(node, "/roots")[0] == 201
                    served += 1
                except BaseException as error:  # noqa: BLE001 (counted)
                    failures.append(error)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for each in threads:
            each.start()
        for _ in range(3):
            since = len(node.lines)
            node.process.send_signal(signal.SIGHUP)
            node.wait_for("configuration reloaded", since=since)
        stop.set()
        for each in threads:
            each.join()
        assert failures == []
        assert served > 10


@pytest.mark.parametrize(
    ("content", "code"),
    [("{", "config.malformed"), ('{"root": "x", "zzz": 1}', "config.unknown-key")],
)
def test_sighup_with_a_bad_file_keeps_the_old_configuration(home: NodeHome, content: str, code: str) -> None:
    """Without this, a typing error could take a running node down."""
    with running(home) as node:
        before, good = node.workers(), home.config.read_text()
        home.config.write_text(content)
        node.process.send_signal(signal.SIGHUP)
        node.wait_for(code)
        assert node.workers() == before
        assert get(node, "/health")[0] == 200
        home.config.write_text(good)
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("configuration reloaded")


def test_sighup_with_a_key_that_does_not_open_keeps_the_old_one(home: NodeHome) -> None:
    """Without this, a broken key file could take a running node down."""
    with running(home) as node:
        before = node.workers()
        (home.path / "secrets" / "intermediate_ca_key").write_bytes(b"junk")
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("the configuration was not reloaded")
        assert node.workers() == before
        assert get(node, "/health")[0] == 200


def refusal(node: Node) -> str:
    """Return the only line of a node that did not start; it must have left no child behind."""
    assert node.process.wait(30) == 1
    until(lambda: bool(node.lines))
    assert node.process.stderr is not None
    node.process.stderr.close()
    assert len(node.lines) == 1, node.lines
    return node.lines[0]


def test_a_wrong_password_is_one_line(home: NodeHome) -> None:
    """Without this, an operator would read a traceback, or N lines from N workers."""
    assert "[key.wrong-password]" in refusal(start(home, workers=3, password=b"wrong"))


def test_a_missing_database_is_one_line_and_none_is_made(home: NodeHome) -> None:
    """Without this, a mistyped path would become an empty database that forgot every token."""
    (home.path / "db" / "coldroot.db").unlink()
    assert "[store.missing]" in refusal(start(home))
    assert list((home.path / "db").iterdir()) == []


def test_a_port_in_use_is_one_line(home: NodeHome) -> None:
    """Without this, an operator would read a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        config = load_config(home.config)
        with pytest.raises(RequestRejected) as failure:
            serve(config, secret=lambda _: KEY_PASSWORD, port=other.getsockname()[1])
    assert failure.value.code == "listen.in-use"


def test_another_intermediate_s_key_is_refused_at_the_start(home: NodeHome, tmp_path: Path) -> None:
    """Without this, a node could sign with a key that its certificate does not name."""
    other = make_home(tmp_path / "other")
    key = Path("secrets") / "intermediate_ca_key"
    (home.path / key).write_bytes((other.path / key).read_bytes())
    assert "[authority.wrong-key]" in refusal(start(home))


@pytest.mark.parametrize("workers", [0, -1, 65])
def test_an_odd_number_of_workers_is_refused(home: NodeHome, workers: int) -> None:
    """Without this, a typing error could fork a machine to death, or serve nobody."""
    with pytest.raises(RequestRejected) as failure:
        serve(load_config(home.config), secret=lambda _: KEY_PASSWORD, workers=workers)
    assert failure.value.code == "serve.workers"


def test_the_service_manager_is_told(home: NodeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, systemd would take a node that still starts for a ready one."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        with running(home) as node:
            assert manager.recv(4096).decode().splitlines()[:2] == ["READY=1", f"MAINPID={node.process.pid}"]
            node.process.send_signal(signal.SIGHUP)
            assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert manager.recv(4096) == b"READY=1"
        assert manager.recv(4096) == b"STOPPING=1"


def test_reloads_leak_nothing(home: NodeHome) -> None:
    """Without this, each reload could leave descriptors or processes behind."""
    with running(home) as node:

        def reload() -> None:
            since = len(node.lines)
            node.process.send_signal(signal.SIGHUP)
            node.wait_for("configuration reloaded", since=since)
            until(lambda: len(node.workers()) == 1)

        def descriptors() -> int:
            return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))

        reload()
        before = descriptors()
        for _ in range(5):
            reload()
        until(lambda: descriptors() == before)


def test_no_password_is_in_the_arguments_or_the_log(home: NodeHome) -> None:
    """Without this, whoever lists processes or reads the log, could read the key's password."""
    with running(home) as node:
        for pid in node.workers():
            assert KEY_PASSWORD not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert KEY_PASSWORD.decode() not in "\n".join(node.lines)


_MAKE_HSM_KEY = """
import os, sys
from pathlib import Path
sys.path[:0] = [".", "tests"]
from fakes.softhsm import SoftHsm
from shared.keys import KeyKind, spki
from shared.keystore import create_key
password = os.environ["TEST_PASSWORD"].encode()
hsm = SoftHsm(Path(sys.argv[1]), Path(sys.argv[2]))
token = hsm.token("issuing", user_pin=password)
uri = f"pkcs11:token=issuing;serial={token.serial};object=intermediate?module-path={hsm.path}"
print(uri, spki(create_key(uri, KeyKind.EC_P256, lambda _: password)).hex())
"""


def make_hsm_home(path: Path, softhsm: SoftHsm) -> NodeHome:
    """Make a home whose issuing key was made in, and stays in, an HSM.

    A process of its own makes it, as an operator would.
    """
    made = subprocess.run(
        [sys.executable, "-c", _MAKE_HSM_KEY, str(softhsm.directory), str(softhsm.path)],
        env={**os.environ, "TEST_PASSWORD": KEY_PASSWORD.decode()},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    uri, _, spki = made.stdout.strip().partition(" ")
    public_key = check_public_key(load_der_public_key(bytes.fromhex(spki)))
    pki = make_pki(now=datetime.now(UTC))
    request = IssuanceRequest(
        subject=names.subject(common="HSM Intermediate CA", organization="Test"),
        public_key=public_key,
        serial=random_serial(os.urandom),
        not_before=pki.root.not_valid_before_utc,
        not_after=pki.root.not_valid_before_utc + timedelta(days=365),
    )
    issuer = Issuer.from_certificate(pki.root)
    intermediate = issue(prepare(intermediate_profile(), request, issuer), pki.root_key)
    return make_home(path, pki=replace(pki, intermediate=intermediate), key_uri=uri)


@needs_softhsm
def test_a_key_in_an_hsm_serves_through_forks_deaths_and_reloads(tmp_path: Path, softhsm: SoftHsm) -> None:
    """Without this, a PKCS#11 session inherited over a fork could fail at the first signature."""
    home = make_hsm_home(tmp_path / "home", softhsm)
    with running(home, workers=2) as node:
        assert race(node, sign_body(node), 4).count(201) == 1
        dead = node.workers()[0]
        os.kill(dead, signal.SIGKILL)
        until(lambda: len(node.workers()) == 2 and dead not in node.workers())
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("configuration reloaded")
        assert post(node, "/sign", sign_body(node))[0] == 201


@needs_softhsm
def test_a_wrong_pin_is_tried_once(tmp_path: Path, softhsm: SoftHsm) -> None:
    """Without this, several workers with a wrong PIN could lock the HSM for good."""
    home = make_hsm_home(tmp_path / "home", softhsm)
    assert "[hsm.wrong-pin]" in refusal(start(home, workers=4, password=b"wrong-pin"))
