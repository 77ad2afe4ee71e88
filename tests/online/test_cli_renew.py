"""``online renew`` and ``online rekey`` when the CA, the disk or the caller misbehave: nothing changes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from fakes.client_story import Shell
from fakes.step_ca import FakeCa, serving

from online.renewal.install import install_pair
from shared import keys
from shared.keys import KeyKind
from shared.keystore import private_key_pem
from shared.pem import certificate_pem

ROOT = Path(__file__).parents[2]


@pytest.fixture(name="ca")
def _ca(tmp_path: Path) -> Iterator[FakeCa]:
    directory = tmp_path / "server"
    directory.mkdir()
    with serving(FakeCa(), directory) as ca:
        yield ca


@pytest.fixture(name="shell")
def _shell(ca: FakeCa, tmp_path: Path) -> Shell:
    shell = Shell(directory=tmp_path, url=ca.url, fingerprint=ca.fingerprint, password_file=tmp_path / "none")
    shell.run("bootstrap", "--ca-url", ca.url, "--fingerprint", ca.fingerprint)
    return shell


def _write_pair(ca: FakeCa, shell: Shell, *, ago: timedelta = timedelta(hours=1)) -> tuple[Path, Path]:
    crt, key_file = shell.directory / "foo.crt", shell.directory / "foo.key"
    key = keys.generate(KeyKind.EC_P256)
    chain = ca.leaf(key.public_key(), "foo.local", begin=datetime.now(UTC) - ago)
    install_pair(crt, key_file, chain, private_key_pem(key, None), overwrite=False)
    return crt, key_file


def _other_leaf(ca: FakeCa) -> Callable[[tuple[x509.Certificate, ...]], tuple[x509.Certificate, ...]]:
    return lambda _: ca.leaf(keys.generate(KeyKind.EC_P256).public_key(), "foo.local")


def _foreign(ca: FakeCa) -> Callable[[tuple[x509.Certificate, ...]], tuple[x509.Certificate, ...]]:
    del ca
    return lambda chain: FakeCa().leaf(keys.certificate_key(chain[0]), "foo.local")


def _other_name(ca: FakeCa) -> Callable[[tuple[x509.Certificate, ...]], tuple[x509.Certificate, ...]]:
    return lambda chain: ca.leaf(keys.certificate_key(chain[0]), "bar.local")


def _older(ca: FakeCa) -> Callable[[tuple[x509.Certificate, ...]], tuple[x509.Certificate, ...]]:
    begin = datetime.now(UTC) - timedelta(hours=3)
    return lambda chain: ca.leaf(keys.certificate_key(chain[0]), "foo.local", begin=begin)


@pytest.mark.parametrize("command", ["renew", "rekey"])
@pytest.mark.parametrize("lie", [_other_leaf, _foreign, _other_name, _older])
def test_a_wrong_answer_changes_nothing(
    ca: FakeCa,
    shell: Shell,
    command: str,
    lie: Callable[[FakeCa], Callable[[tuple[x509.Certificate, ...]], tuple[x509.Certificate, ...]]],
) -> None:
    """A CA that is confused, or not the CA, must not take a server down."""
    crt, key = _write_pair(ca, shell)
    before = crt.read_bytes(), key.read_bytes()
    ca.tamper = lie(ca)
    shell.run(command, "--force", str(crt), str(key), status=1)
    assert (crt.read_bytes(), key.read_bytes()) == before
    assert not list(shell.directory.glob(".*"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 503])
def test_a_refusal_changes_nothing(ca: FakeCa, shell: Shell, status: int) -> None:
    """Whatever the status: exit 1, the CA's reason, the old certificate."""
    crt, key = _write_pair(ca, shell)
    before = crt.read_bytes()
    ca.overrides["/renew"] = (status, {"status": status, "message": "because of this"})
    refused = shell.run("renew", "--force", str(crt), str(key), status=1)
    assert f"{status}: because of this" in refused.stderr
    assert crt.read_bytes() == before


def test_due_is_renewed_without_force(ca: FakeCa, shell: Shell) -> None:
    """Cron's plain command must renew when a third of life is left, and only then."""
    crt, key = _write_pair(ca, shell, ago=timedelta(hours=17))
    before = crt.read_bytes()
    shell.run("renew", str(crt), str(key))
    assert crt.read_bytes() != before
    shell.run("renew", str(crt), str(key), status=3)


def test_an_existing_output_is_refused_before_the_ca_is_asked(ca: FakeCa, shell: Shell) -> None:
    """A certificate issued for nothing is one more that could be stolen."""
    crt, key = _write_pair(ca, shell)
    other = shell.directory / "other.crt"
    other.write_text("precious")
    asked = len(ca.requests)
    shell.run("renew", str(crt), str(key), "--out", str(other), status=1)
    link = shell.directory / "link.crt"
    link.symlink_to(crt)
    assert "symbolic link" in shell.run("renew", "--force", str(link), str(key), status=1).stderr
    assert other.read_text() == "precious"
    assert len(ca.requests) == asked


def test_an_interrupted_rekey_is_finished_first(ca: FakeCa, shell: Shell) -> None:
    """After a crash between key and certificate the next command mends the pair, then does its own work."""
    crt, key = _write_pair(ca, shell)
    new = keys.generate(KeyKind.EC_P256)
    chain = ca.leaf(new.public_key(), "foo.local")
    pem = private_key_pem(new, None)
    pending = key.with_name(".foo.key.pending")
    pending.write_bytes(pem + b"\n=====CERTIFICATE=====\n" + certificate_pem(*chain))
    pending.chmod(0o600)
    key.write_bytes(pem)
    told = shell.run("renew", "--force", str(crt), str(key))
    assert "interrupted rekey" in told.stderr
    assert not pending.exists()
    assert keys.certificate_key(shell.read("foo.crt")[0]) == new.public_key()


def test_an_exposed_key_is_refused(ca: FakeCa, shell: Shell) -> None:
    """A key that others may read is to be replaced, not renewed."""
    crt, key = _write_pair(ca, shell)
    key.chmod(0o644)
    assert "chmod 600" in shell.run("renew", "--force", str(crt), str(key), status=1).stderr


def test_an_encrypted_key_asks_and_its_file_answers(ca: FakeCa, shell: Shell) -> None:
    """Without a terminal and without --password-file there is one line; with it the key opens."""
    crt, key_file = shell.directory / "foo.crt", shell.directory / "foo.key"
    key = keys.generate(KeyKind.EC_P256)
    chain = ca.leaf(key.public_key(), "foo.local")
    install_pair(crt, key_file, chain, private_key_pem(key, b"secret"), overwrite=False)
    assert "terminal" in shell.run("renew", "--force", str(crt), str(key_file), status=1).stderr
    password = shell.directory / "pw"
    password.write_text("secret\n")
    password.chmod(0o600)
    shell.run("renew", "--force", str(crt), str(key_file), "--password-file", str(password))


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 3)])
def test_a_person_is_asked(ca: FakeCa, shell: Shell, answer: str, status: int) -> None:
    """At a terminal the production page's plain renew of a fresh certificate asks, and obeys."""
    crt, key = _write_pair(ca, shell)
    before = crt.read_bytes()
    master, slave = pty.openpty()
    try:
        os.write(master, f"{answer}\n".encode())
        done = subprocess.run(
            [sys.executable, "-m", "online", "renew", str(crt), str(key)],
            cwd=ROOT,
            env={**os.environ, "COLDROOT_HOME": str(shell.directory / shell.home)},
            stdin=slave,
            capture_output=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == status, done.stderr
    assert b"Renew it now" in done.stderr
    assert (crt.read_bytes() != before) is (status == 0)


def test_exit_statuses_tell_what_happened(ca: FakeCa, shell: Shell) -> None:
    """step exits with 0 when nothing was due: its callers reload servers for nothing, or never learn of a failure."""
    crt, key = map(str, _write_pair(ca, shell))
    mark = shell.path("mark")
    told = ("--exec", f"touch '{mark}'")
    shell.run("renew", *told, crt, key, status=3)
    shell.run("renew", *told, "--expires-in", "1h", "--force", crt, key, status=3)
    shell.run("renew", *told, "--step-compat", "--expires-in", "1h", crt, key, status=0)
    assert not Path(mark).exists()
    assert not [each for each in ca.requests if each[1] == "/renew"]
    failing = ("--exec", "false", "--pid-file", shell.path("none"), *told)
    result = shell.run("renew", "--force", *failing, crt, key, status=4)
    assert "false exited with 1" in result.stderr
    assert "does not exist" in result.stderr
    assert Path(mark).exists()
    shell.run("renew", "--force", "--step-compat", *failing, crt, key, status=1)
    shell.run("renew", "--force", *told, crt, key, status=0)
    ca.overrides["/renew"] = (401, {"status": 401, "message": "no"})
    Path(mark).unlink()
    shell.run("renew", "--force", *told, crt, key, status=1)
    assert not Path(mark).exists(), "nobody is told of what did not happen"


def test_once_with_another_key_and_further_files(ca: FakeCa, shell: Shell) -> None:
    """What the agent does at each renewal, cron's one-shot command can do, too; and it mends what was left behind."""
    crt, key = _write_pair(ca, shell)
    combined = Path(shell.path("foo.pem"))
    before = keys.certificate_key(shell.read("foo.crt")[0])
    shell.run("renew", "--force", "--rekey", "--combined", str(combined), str(crt), str(key))
    assert keys.certificate_key(shell.read("foo.crt")[0]) != before
    assert combined.read_bytes() == crt.read_bytes() + key.read_bytes()
    combined.unlink()
    shell.run("renew", "--combined", str(combined), str(crt), str(key), status=3)
    assert combined.read_bytes() == crt.read_bytes() + key.read_bytes()


def test_rekey_keeps_the_password(ca: FakeCa, shell: Shell) -> None:
    """A key that was encrypted must not come back in the clear."""
    crt, key_file = shell.directory / "foo.crt", shell.directory / "foo.key"
    key = keys.generate(KeyKind.EC_P256)
    install_pair(
        crt, key_file, ca.leaf(key.public_key(), "foo.local"), private_key_pem(key, b"secret"), overwrite=False
    )
    password = shell.directory / "pw"
    password.touch(mode=0o600)
    password.write_text("secret\n")
    shell.run("rekey", "--force", str(crt), str(key_file), "--password-file", str(password))
    assert b"ENCRYPTED" in key_file.read_bytes()
    shell.run("renew", "--force", str(crt), str(key_file), "--password-file", str(password))


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("foo.crt",),
        ("--pairs", "x"),
        ("--renew-period", "8h", "foo.crt", "foo.key"),
        ("--status-file", "x", "foo.crt", "foo.key"),
        ("--rekey", "--out", "x", "foo.crt", "foo.key"),
        ("--p12", "x", "foo.crt", "foo.key"),
    ],
)
def test_wrong_usage_is_told_apart(shell: Shell, arguments: tuple[str, ...]) -> None:
    """Half an option must not pass for a renewal that failed, or for one that was not due."""
    shell.run("renew", *arguments, status=2)
