"""A renewal whose agent dies before all were told: the next run tells them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.client_story import Shell
from fakes.step_ca import FakeCa, serving

from online.renewal import untold
from online.renewal.hooks import Hooks
from online.renewal.install import install_pair
from online.renewal.pair import Pair
from online.renewal.renew import load_chain
from shared import keys
from shared.keys import KeyKind
from shared.keystore import private_key_pem
from shared.pem import certificate_pem, load_certificates

ROOT = Path(__file__).parents[2]
KEY = keys.generate(KeyKind.EC_P256)


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


def write_pair(ca: FakeCa, directory: Path) -> tuple[str, str]:
    crt, key_file = directory / "foo.crt", directory / "foo.key"
    key = keys.generate(KeyKind.EC_P256)
    chain = ca.leaf(key.public_key(), "foo.local", begin=datetime.now(UTC) - timedelta(hours=1))
    install_pair(crt, key_file, chain, private_key_pem(key, None), overwrite=False)
    return str(crt), str(key_file)


def versioned(directory: Path) -> Path:
    """Make a link to a first version; return the link."""
    (directory / "first").mkdir()
    (directory / "current").symlink_to("first")
    return directory / "current"


@pytest.mark.parametrize("layout", ["plain", "versioned"])
@pytest.mark.parametrize("rekey", [False, True], ids=["renewed", "rekeyed"])
def test_killed_between_the_certificate_and_its_reload(ca: FakeCa, shell: Shell, layout: str, *, rekey: bool) -> None:
    """Without this, a server keeps a certificate that ends, and each later run says that nothing is due."""
    directory = versioned(shell.directory) if layout == "versioned" else shell.directory
    crt, key = write_pair(ca, directory)
    before = Path(crt).read_bytes()
    more = ["--rekey"] if rekey else []
    killed = subprocess.run(
        [sys.executable, "-m", "online", "renew", "--force", *more, "--exec-shell", "kill -9 $PPID", crt, key],
        cwd=ROOT,
        env={**os.environ, "COLDROOT_HOME": str(shell.directory / shell.home)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    after = Path(crt).read_bytes()
    assert after != before
    told = shell.directory / "told"
    command = f'echo "$COLDROOT_EVENT $COLDROOT_OLD_SERIAL" >>{told}'
    shell.run("renew", "--exec-shell", command, crt, key, status=3)
    shell.run("renew", "--exec-shell", command, crt, key, status=3)
    assert Path(crt).read_bytes() == after
    old = load_certificates(before)[0].serial_number
    assert told.read_text() == f"{'rekeyed' if rekey else 'renewed'} {old}\n"
    assert not [*shell.directory.glob(".*untold"), *directory.glob(".*untold")]


def test_a_command_that_failed_is_run_by_the_next_run(ca: FakeCa, shell: Shell) -> None:
    """A reload that failed once, by a timer, must not wait for the next renewal."""
    crt, key = write_pair(ca, shell.directory)
    told = shell.directory / "told"
    shell.run("renew", "--force", "--exec", "false", crt, key, status=4)
    shell.run("renew", "--exec", "false", crt, key, status=4)
    shell.run("renew", "--exec", f"touch {told}", crt, key, status=3)
    assert told.exists()


def test_a_note_about_a_renewal_that_never_was(ca: FakeCa, tmp_path: Path) -> None:
    """After a crash before the change there is nothing to tell, and the note goes."""
    crt, key = write_pair(ca, tmp_path)
    pair = Pair(name="foo", certificate=Path(crt), key=key, hooks=Hooks(commands=(("true",),)))
    chain = load_chain(pair.certificate)
    untold.promise(pair, chain[0])
    assert untold.owed(pair) is None
    assert not list(tmp_path.glob(".*untold"))


def test_a_note_that_cannot_be_read(ca: FakeCa, tmp_path: Path) -> None:
    """Somebody is told once too often, and renewal goes on."""
    crt, key = write_pair(ca, tmp_path)
    pair = Pair(name="foo", certificate=Path(crt), key=key, hooks=Hooks(commands=(("true",),)))
    (tmp_path / ".foo.crt.untold").write_text("nothing")
    owed = untold.owed(pair)
    assert owed is not None
    assert owed.old == owed.new


def test_nobody_to_tell_leaves_no_note(ca: FakeCa, tmp_path: Path) -> None:
    """A file that nobody takes away again would be clutter."""
    crt, key = write_pair(ca, tmp_path)
    pair = Pair(name="foo", certificate=Path(crt), key=key)
    untold.promise(pair, load_chain(pair.certificate)[0])
    assert not list(tmp_path.glob(".*untold"))
    (tmp_path / ".foo.crt.untold").write_bytes(certificate_pem(*ca.leaf(KEY.public_key(), "foo.local")))
    assert untold.owed(pair) is None


def killed_before_telling(shell: Shell, crt: str, key: str) -> int:
    """Renew, and die before anybody was told; return the serial number that the server still uses."""
    old = load_certificates(Path(crt).read_bytes())[0].serial_number
    done = subprocess.run(
        [sys.executable, "-m", "online", "renew", "--force", "--exec-shell", "kill -9 $PPID", crt, key],
        cwd=ROOT,
        env={**os.environ, "COLDROOT_HOME": str(shell.directory / shell.home)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return old


@pytest.mark.parametrize("between", ["no-hooks", "out", "failed-install"])
def test_what_happens_before_the_next_run_does_not_settle_it(ca: FakeCa, shell: Shell, between: str) -> None:
    """A timer without commands, a copy elsewhere, or a renewal that came to nothing told the server nothing."""
    crt, key = write_pair(ca, shell.directory)
    old = killed_before_telling(shell, crt, key)
    told = shell.directory / "told"
    if between == "no-hooks":
        shell.run("renew", "--force", crt, key)
    elif between == "out":
        shell.run("renew", "--force", "--out", str(shell.directory / "copy.crt"), "--exec", "true", crt, key)
    else:
        # As a crash between the note and the change leaves it.
        pair = Pair(name="foo", certificate=Path(crt), key=key, hooks=Hooks(commands=(("true",),)))
        untold.promise(pair, load_chain(pair.certificate)[0])
    shell.run("renew", "--exec-shell", f"echo $COLDROOT_OLD_SERIAL $COLDROOT_SERIAL >>{told}", crt, key, status=3)
    assert told.read_text() == f"{old} {load_certificates(Path(crt).read_bytes())[0].serial_number}\n"


def test_telling_of_one_renewal_does_not_settle_the_next(ca: FakeCa, tmp_path: Path) -> None:
    """While one process tells, another may renew again, and die before it tells anybody."""
    crt, key = write_pair(ca, tmp_path)
    pair = Pair(name="foo", certificate=Path(crt), key=key, hooks=Hooks(commands=(("true",),)))
    first = load_chain(pair.certificate)[0]
    untold.promise(pair, first)
    second, third = (ca.leaf(KEY.public_key(), "foo.local") for _ in range(2))
    pair.certificate.write_bytes(certificate_pem(*second))
    told = untold.owed(pair)
    assert told is not None
    pair.certificate.write_bytes(certificate_pem(*third))
    untold.fulfilled(pair, told)
    still = untold.owed(pair)
    assert still is not None
    assert (still.old, still.new) == (first, third[0])
    untold.fulfilled(pair, still)
    assert untold.owed(pair) is None


def test_a_failure_is_seen_where_ends_of_children_are_ignored(ca: FakeCa, shell: Shell) -> None:
    """Some starters leave SIGCHLD ignored: a reload that failed would count as done, and never be tried again."""
    crt, key = write_pair(ca, shell.directory)
    code = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
        "os.execv(sys.executable, [sys.executable, '-m', 'online', 'renew', *sys.argv[1:]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--force", "--exec", "false", crt, key],
        cwd=ROOT,
        env={**os.environ, "COLDROOT_HOME": str(shell.directory / shell.home)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 4, done.stderr
    assert list(shell.directory.glob(".*untold"))
