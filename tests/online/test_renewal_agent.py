"""The agent as a process: signals, the service manager, files of pairs, and ends that are clean."""

from __future__ import annotations

import json
import os
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
from click.testing import CliRunner
from cryptography import x509
from fakes.client_story import Shell
from fakes.step_ca import FakeCa, serving

from online.cli import cli
from online.renewal.install import install_pair
from shared import keys
from shared.keys import KeyKind
from shared.keystore import private_key_pem
from shared.pem import load_certificates

ROOT = Path(__file__).parents[2]
_PATIENCE = 30.0


@pytest.fixture(name="ca")
def _ca(tmp_path: Path) -> Iterator[FakeCa]:
    directory = tmp_path / "server"
    directory.mkdir()
    with serving(FakeCa(), directory) as ca:
        Shell(directory=tmp_path, url=ca.url, fingerprint=ca.fingerprint, password_file=tmp_path / "none").run(
            "bootstrap", "--ca-url", ca.url, "--fingerprint", ca.fingerprint
        )
        yield ca


def write_pair(ca: FakeCa, directory: Path, stem: str = "foo", *, ago: float = 1) -> tuple[str, str]:
    key = keys.generate(KeyKind.EC_P256)
    chain = ca.leaf(key.public_key(), f"{stem}.local", begin=datetime.now(UTC) - timedelta(hours=ago))
    crt, key_file = directory / f"{stem}.crt", directory / f"{stem}.key"
    install_pair(crt, key_file, chain, private_key_pem(key, None), overwrite=crt.exists())
    return str(crt), str(key_file)


def leaf(crt: str) -> x509.Certificate:
    return load_certificates(Path(crt).read_bytes())[0]


@dataclass(kw_only=True)
class Running:
    """The agent's process and what it said."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def wait_for(self, text: str, *, times: int = 1) -> None:
        wait(lambda: sum(text in line for line in self.lines) >= times, lambda: "\n".join(self.lines))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(_PATIENCE)


def wait(condition: Callable[[], bool], told: Callable[[], str] = lambda: "") -> None:
    until = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < until, told()
        time.sleep(0.02)


@contextmanager
def running(directory: Path, *arguments: str, **environment: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [sys.executable, "-m", "online", "renew", "--daemon", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLDROOT_HOME": str(directory / "client-home"), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    agent = Running(process=process)
    stderr = process.stderr
    assert stderr is not None

    def read() -> None:
        for line in stderr:
            agent.lines.append(line.rstrip())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield agent
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_renews_what_is_due_and_ends_with_success(ca: FakeCa, tmp_path: Path, number: int) -> None:
    """The production page's daemon, from its start to its end."""
    crt, key = write_pair(ca, tmp_path, ago=17)
    old, mark = leaf(crt), tmp_path / "told"
    with running(tmp_path, "--exec", f"touch {mark}", crt, key) as agent:
        agent.wait_for("certificate renewed, next in 1")
        wait(mark.exists)
        assert "first renewal now" in agent.lines[0]
        assert agent.stop(number) == 0
        assert agent.lines[-1].endswith("stopped")
    assert leaf(crt) != old
    assert len([each for each in ca.requests if each[1] == "/renew"]) == 1


def test_hangup_renews_now_and_a_replaced_pair_is_read_again(ca: FakeCa, tmp_path: Path) -> None:
    """step goes on with the pair that it read at its start: revoked or rekeyed by somebody else, it asks in vain."""
    crt, key = write_pair(ca, tmp_path)
    with running(tmp_path, crt, key) as agent:
        agent.wait_for("first renewal in 1")
        write_pair(ca, tmp_path)
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for("certificate renewed")
        assert agent.stop() == 0
    # The certificate that was shown was the new pair's.
    shown = ca.requests[-1][4]
    assert shown is not None
    assert shown.public_key() == leaf(crt).public_key()


def test_it_rekeys_each_time(ca: FakeCa, tmp_path: Path) -> None:
    """step's rekeying daemon keeps the key for ever."""
    crt, key = write_pair(ca, tmp_path, ago=17)
    known = {keys.public_key_digest(keys.certificate_key(leaf(crt)))}
    with running(tmp_path, "--rekey", crt, key) as agent:
        for times in (1, 2):
            agent.wait_for("certificate rekeyed", times=times)
            known.add(keys.public_key_digest(keys.certificate_key(leaf(crt))))
            agent.process.send_signal(signal.SIGHUP)
        assert agent.stop() == 0
    assert len(known) == 3


def test_a_failing_ca_and_a_failing_command_are_seen_in_the_status(ca: FakeCa, tmp_path: Path) -> None:
    """Monitoring must see both: the certificate that gets old, and the server that goes on with the old one."""
    crt, key = write_pair(ca, tmp_path, ago=17)
    status = tmp_path / "status.json"
    ca.overrides["/renew"] = (503, {"status": 503, "message": "later"})

    def entry() -> dict[str, object]:
        found: dict[str, object] = json.loads(status.read_text())["pairs"][0] if status.exists() else {}
        return found

    with running(tmp_path, "--status-file", str(status), "--exec", "false", crt, key) as agent:
        wait(lambda: entry().get("last_result") == "failed")
        assert entry()["error"] == {"code": "ca.failed", "message": "the CA answers 503: later"}
        assert entry()["serial"] == str(leaf(crt).serial_number)
        assert agent.process.poll() is None
        del ca.overrides["/renew"]
        agent.process.send_signal(signal.SIGHUP)
        wait(lambda: bool(entry().get("not_told")))
        assert entry()["serial"] == str(leaf(crt).serial_number)
        assert entry()["last_success"] is not None
        assert agent.stop() == 0


def test_many_pairs_and_a_reload(ca: FakeCa, tmp_path: Path) -> None:
    """One agent for a machine; a pair that fails keeps none waiting, and files are read again without a restart."""
    pairs = tmp_path / "pairs"
    pairs.mkdir()

    def add(stem: str, more: str = "") -> str:
        crt, key = write_pair(ca, tmp_path, stem, ago=17)
        (pairs / f"{stem}.toml").write_text(f'certificate = "{crt}"\nkey = "{key}"\n{more}')
        return crt

    for stem in ("a", "b", "c", "d", "e", "f"):
        add(stem)
    (tmp_path / "c.crt").write_text("broken")
    with running(tmp_path, "--pairs", str(pairs)) as agent:
        agent.wait_for("certificate renewed", times=5)
        agent.wait_for("c: error")
        (pairs / "g.toml").write_text("nonsense")
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for("the pairs stay as they are")
        (pairs / "a.toml").unlink()
        crt = add("g", "rekey = true\n")
        before = leaf(crt)
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for("g: certificate rekeyed")
        assert leaf(crt).public_key() != before.public_key()
        assert agent.stop() == 0


def test_one_pair_that_is_gone_keeps_no_other_from_being_renewed(ca: FakeCa, tmp_path: Path) -> None:
    """After a start of the machine without one of its disks, or with a broken file, all other certificates would end.

    A file that leads nowhere must not end an agent that runs, either.
    """
    pairs, status = tmp_path / "pairs", tmp_path / "status.json"
    pairs.mkdir(mode=0o700)
    crt, key = write_pair(ca, tmp_path, ago=17)
    (pairs / "bar.toml").write_text("certificate = '/nowhere/bar.crt'\nkey = '/nowhere/bar.key'")
    (pairs / "foo.toml").write_text(f"certificate = '{crt}'\nkey = '{key}'")
    (pairs / "broken.toml").write_text("nonsense")
    (pairs / "nowhere.toml").symlink_to("nothing")
    with running(tmp_path, "--pairs", str(pairs), "--status-file", str(status)) as agent:
        agent.wait_for("foo: certificate renewed")
        agent.wait_for("bar: error: ", times=2)
        agent.wait_for("the other pairs are kept", times=2)
        assert [each["code"] for each in json.loads(status.read_text())["refused"]] == ["pair.toml", "file.unreadable"]
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for("the pairs stay as they are")
        (pairs / "broken.toml").unlink()
        (pairs / "nowhere.toml").unlink()
        agent.process.send_signal(signal.SIGHUP)
        wait(lambda: not json.loads(status.read_text())["refused"])
        assert agent.stop() == 0


def test_the_service_manager_is_told(ca: FakeCa, tmp_path: Path) -> None:
    """Type=notify and WatchdogSec=: without READY systemd kills it at the start, without WATCHDOG a little later."""
    crt, key = write_pair(ca, tmp_path)
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(_PATIENCE)
        with running(tmp_path, crt, key, NOTIFY_SOCKET=str(address), WATCHDOG_USEC="300000") as agent:
            told: list[str] = []
            while sum("WATCHDOG=1" in each for each in told) < 3:
                told.append(manager.recv(4096).decode())
            assert "READY=1" in told
            assert any(each.startswith("STATUS=1 certificates, 0 failing, next at ") for each in told)
            assert agent.stop() == 0
        while "STOPPING=1" not in told:
            told.append(manager.recv(4096).decode())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--out", "x", "foo.crt", "foo.key"), "--out"),
        ((), "--pairs"),
        (("--pairs", "p", "foo.crt", "foo.key"), "--pairs"),
        (("--pairs", "p", "--rekey"), "files say everything"),
        (("--expires-in", "8h", "--renew-period", "8h", "foo.crt", "foo.key"), "contradict"),
        (("--exec", "'", "foo.crt", "foo.key"), "quotation"),
        (("--pid", "7", "--pid-file", "x", "foo.crt", "foo.key"), "not both"),
        (("--pairs", "/nonexistent"), "cannot be read"),
        (("--status-file", "/nonexistent/x", "foo.crt", "foo.key"), "does not exist"),
    ],
)
def test_what_makes_no_sense_is_said_at_the_start(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    """Found at the first renewal instead, it is found by the certificate's end."""
    result = CliRunner().invoke(cli, ["renew", "--daemon", *arguments], env={"COLDROOT_HOME": str(tmp_path)})
    assert result.exit_code in {1, 2}
    assert told in result.output
