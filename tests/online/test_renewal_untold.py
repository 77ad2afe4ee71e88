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
