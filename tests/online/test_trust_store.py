"""The machine's trust store: Debian's own program in a scratch directory, and programs that stand for others'."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakes.hierarchy import make_pki
from fakes.node import make_home, running

from online import trust_store as module
from online.cli import cli
from online.cli import trust as trust_cli
from online.cli import trust_store as store_cli
from online.trust_store import TrustStore
from shared.errors import PeerFailed, RequestRejected, Unsupported
from shared.keys import fingerprint
from shared.pem import certificate_pem

_DEBIANS = Path("/usr/sbin/update-ca-certificates")
_SYSTEMS = {
    "debian": ("usr/local/share/ca-certificates", "update-ca-certificates", ".crt", ("", "--fresh")),
    "fedora": ("etc/pki/ca-trust/source/anchors", "update-ca-trust", ".pem", ("extract", "extract")),
    "arch": ("etc/ca-certificates/trust-source/anchors", "update-ca-trust", ".crt", ("extract", "extract")),
    "suse": ("etc/pki/trust/anchors", "update-ca-certificates", ".pem", ("", "")),
}


def machine(base: Path, system: str, program: str = 'echo "$0 $* $HOME" >> {base}/ran') -> TrustStore:
    """Make a machine of a kind, whose program does what it is told here; and its store, looked at as root."""
    anchors, name, _, _ = _SYSTEMS[system]
    (base / anchors).mkdir(parents=True)
    path = base / "usr/sbin" / name
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{program.format(base=base)}\n")
    path.chmod(0o755)
    return TrustStore(base, user=lambda: 0)


@pytest.mark.parametrize("system", _SYSTEMS)
def test_in_and_out_again_on_every_system(tmp_path: Path, system: str) -> None:
    """Each system wants the file elsewhere, under another ending, and another program told."""
    anchors, name, suffix, (adding, removing) = _SYSTEMS[system]
    store, root = machine(tmp_path, system), make_pki().root
    path = store.install(root)
    assert path == tmp_path / anchors / f"coldroot-{fingerprint(root)[:16]}{suffix}"
    assert path.read_bytes() == certificate_pem(root)
    assert path.stat().st_mode & 0o777 == 0o644
    assert store.install(root) == path
    assert store.uninstall(root) == path
    assert store.uninstall(root) is None
    assert [*(tmp_path / anchors).iterdir()] == []
    # Nothing of the caller's environment reaches a program that runs as root.
    ran = (tmp_path / "ran").read_text().splitlines()
    program = f"{tmp_path}/usr/sbin/{name}"
    assert [line.rstrip() for line in ran] == [f"{program} {each}".rstrip() for each in (adding, adding, removing)]


@pytest.mark.skipif(not _DEBIANS.exists(), reason="no update-ca-certificates (Debian: apt install ca-certificates)")
def test_debians_own_program_takes_it_up(tmp_path: Path) -> None:
    """A file that the system does not see changes nothing: OpenSSL must find the root, and afterwards not."""
    trusted = tmp_path / "etc/ssl/certs"
    for each in (trusted, tmp_path / "usr/share/ca-certificates", tmp_path / "hooks"):
        each.mkdir(parents=True)
    pki, other = make_pki(), make_pki()
    (tmp_path / "usr/share/ca-certificates/other.crt").write_bytes(certificate_pem(other.root))
    (tmp_path / "ca-certificates.conf").write_text("other.crt\n")
    options = (
        f"--certsconf {tmp_path}/ca-certificates.conf --certsdir {tmp_path}/usr/share/ca-certificates "
        f"--localcertsdir {tmp_path}/usr/local/share/ca-certificates --etccertsdir {trusted} "
        f"--hooksdir {tmp_path}/hooks"
    )
    store = machine(tmp_path, "debian", f'exec {_DEBIANS} {options} "$@"')
    leaf = tmp_path / "intermediate.pem"
    leaf.write_bytes(certificate_pem(pki.intermediate))
    verify = ["openssl", "verify", "-no-CAfile", "-no_check_time", "-CApath", str(trusted), str(leaf)]
    store.install(pki.root)
    assert subprocess.run(verify, check=False, capture_output=True).returncode == 0
    assert certificate_pem(pki.root) in (trusted / "ca-certificates.crt").read_bytes()
    store.uninstall(pki.root)
    assert subprocess.run(verify, check=False, capture_output=True).returncode != 0
    assert (trusted / "ca-certificates.crt").read_bytes() == certificate_pem(other.root)
    assert not [each for each in trusted.iterdir() if not each.exists()]


@pytest.mark.parametrize("program", ["exit 3", "kill -9 $$"])
def test_a_program_that_fails_leaves_no_file(tmp_path: Path, program: str) -> None:
    """A root that lies there would be trusted at the next update, long after somebody was told that it failed."""
    store, root = machine(tmp_path, "debian", program), make_pki().root
    with pytest.raises(PeerFailed, match="failed: exit status"):
        store.install(root)
    assert [*(tmp_path / _SYSTEMS["debian"][0]).iterdir()] == []
    shutil.rmtree(tmp_path / "usr/sbin")
    with pytest.raises(Unsupported, match="no kind that we know"):
        store.install(root)


def test_only_roots_and_only_by_root(tmp_path: Path) -> None:
    """An intermediate or a leaf in there would be trusted for whatever it says; and a half-done change helps nobody."""
    store, pki = machine(tmp_path, "debian"), make_pki()
    with pytest.raises(RequestRejected, match="not the certificate of a root CA"):
        store.install(pki.intermediate)
    with pytest.raises(RequestRejected, match="belongs to root"):
        TrustStore(tmp_path, user=lambda: 1000).install(pki.root)
    assert not (tmp_path / "ran").exists()


def _cli(*arguments: str | Path, home: Path, status: int = 0) -> Result:
    done = CliRunner().invoke(cli, [str(each) for each in arguments], env={"COLDROOT_HOME": str(home)})
    assert done.exit_code == status, done.output
    return done


@pytest.fixture(name="store")
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrustStore:
    """The commands' machine: a scratch one."""
    store = machine(tmp_path / "machine", "debian")
    for room in (module, trust_cli, store_cli):
        monkeypatch.setattr(room, "TrustStore", lambda: store)
    return store


def test_bootstrap_with_install(tmp_path: Path, store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command on a new machine: home and system trust the root that the fingerprint names, then no more."""
    anchors = tmp_path / "machine" / _SYSTEMS["debian"][0]
    with running(make_home(tmp_path / "node")) as node:
        bootstrap = ("bootstrap", "--ca-url", node.url, "--fingerprint", node.home.fingerprint, "--install")
        monkeypatch.setattr(store, "_user", lambda: 1000)
        assert "as root" in _cli(*bootstrap, home=tmp_path / "home", status=1).stderr
        assert not (tmp_path / "home").exists()
        monkeypatch.setattr(store, "_user", lambda: 0)
        assert "Trusted by this machine" in _cli(*bootstrap, home=tmp_path / "home").stderr
        (installed,) = anchors.iterdir()
        assert installed.read_bytes() == node.home.root.read_bytes()
    _cli("uninstall", home=tmp_path / "home")
    assert "nothing changed" in _cli("certificate", "uninstall", node.home.root, home=tmp_path / "none").stderr
    _cli("certificate", "install", node.home.root, home=tmp_path / "none")
    assert len([*anchors.iterdir()]) == 1


@pytest.mark.usefixtures("store")
def test_a_file_that_is_no_single_root(tmp_path: Path) -> None:
    """A bundle may hold more than one looked at; and a home that trusts nobody has nothing to install."""
    pki = make_pki()
    both = tmp_path / "both.pem"
    both.write_bytes(certificate_pem(pki.root, pki.intermediate))
    assert "2 certificates" in _cli("install", both, home=tmp_path / "home", status=1).stderr
    assert "online bootstrap" in _cli("install", home=tmp_path / "home", status=1).stderr
