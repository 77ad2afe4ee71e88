"""Versioned directories: the link is the only thing that changes, and what it leads to is always whole."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fakes.step_ca import FakeCa

from online.renewal.attributes import attributes_of
from online.renewal.install import install_certificate, install_pair
from online.renewal.versions import version_name
from shared import keys
from shared.errors import RequestRejected, StoreFailed
from shared.keys import KeyKind
from shared.keystore import private_key_pem
from shared.pem import load_certificates

CA = FakeCa()


def make() -> tuple[tuple[x509.Certificate, ...], bytes]:
    key = keys.generate(KeyKind.EC_P256)
    return CA.leaf(key.public_key(), "foo.local"), private_key_pem(key, None)


@pytest.fixture(name="link")
def _link(tmp_path: Path) -> Path:
    """The link to a first version, made by hand as an operator would."""
    chain, key = make()
    first = tmp_path / "first"
    first.mkdir(mode=0o750)
    install_pair(first / "foo.crt", first / "foo.key", chain, key, overwrite=False)
    (first / "ca.crt").write_text("mine")
    (first / "alias.crt").symlink_to("foo.crt")
    link = tmp_path / "current"
    link.symlink_to("first")
    return link


def read(version: Path) -> x509.Certificate:
    """Insist that a version's certificate and key match, and return the certificate."""
    leaf = load_certificates((version / "foo.crt").read_bytes())[0]
    key = load_pem_private_key((version / "foo.key").read_bytes(), None)
    assert leaf.public_key() == key.public_key()
    return leaf


def test_a_pair_becomes_a_new_version(link: Path) -> None:
    """The old version stays as it was, for whoever has it open; what else lay there comes along."""
    old, before = link.resolve(), read(link)
    chain, key = make()
    install_pair(link / "foo.crt", link / "foo.key", chain, key, overwrite=True, further={link / "foo.pem": b"both"})
    assert read(link) == chain[0]
    assert read(old) == before
    assert str(link.readlink()) == version_name(chain[0])
    assert link.resolve().stat().st_mode & 0o777 == 0o750
    assert (link / "foo.key").stat().st_mode & 0o777 == 0o600
    assert (link / "ca.crt").read_text() == "mine"
    assert (link / "alias.crt").resolve() == (link / "foo.crt").resolve()
    assert (link / "foo.pem").read_bytes() == b"both"
    assert not (old / "foo.pem").exists()
    assert not [each for each in link.parent.iterdir() if each.name.startswith(".")]


def test_a_renewed_certificate_is_a_new_version_too(link: Path) -> None:
    """Also where the key stays, a version that was in use must not change under its reader."""
    old, before = link.resolve(), read(link)
    successor = CA.leaf(keys.certificate_key(before), "foo.local")
    install_certificate(link / "foo.crt", successor, overwrite=True, key=link / "foo.key")
    assert read(link) == successor[0]
    assert read(old) == before
    assert (old / "foo.key").stat().st_ino == (link / "foo.key").stat().st_ino


def test_an_absolute_link_stays_absolute(link: Path) -> None:
    """Somebody wrote it so, perhaps because another link leads to it."""
    target = link.resolve()
    link.unlink()
    link.symlink_to(target)
    chain, key = make()
    install_pair(link / "foo.crt", link / "foo.key", chain, key, overwrite=True)
    assert str(link.readlink()) == str(link.parent / version_name(chain[0]))
    assert read(link) == chain[0]


def test_old_versions_go_but_not_the_newest(link: Path) -> None:
    """A version a day fills a disk in ten years; one that is read at this moment must stay."""
    for _ in range(6):
        chain, key = make()
        install_pair(link / "foo.crt", link / "foo.key", chain, key, overwrite=True)
        before = link.resolve()
    versions = [each.name for each in link.parent.iterdir() if each.name[0].isdigit()]
    assert len(versions) == 3
    assert before.name in versions
    # What is no version of ours is none of our business.
    assert (link.parent / "first").is_dir()


@pytest.mark.parametrize("name", ["foo", "bar"])
def test_versions_of_another_pair_stay(link: Path, name: str) -> None:
    """Where the links of two pairs stand side by side, the renewals of one would delete the other's only key."""
    chain, key = make()
    other = link.parent / "20260101T000000Z-00000002"
    other.mkdir()
    install_pair(other / f"{name}.crt", other / f"{name}.key", chain, key, overwrite=False)
    (link.parent / "other").symlink_to(other.name)
    # A third pair is named through a link that stands elsewhere.
    third = link.parent / "20260101T000000Z-00000003"
    third.mkdir()
    (third / "third.crt").touch()
    for _ in range(6):
        chain, key = make()
        install_pair(link / "foo.crt", link / "foo.key", chain, key, overwrite=True)
    assert (link.parent / "other" / f"{name}.key").is_file()
    assert (third / "third.crt").is_file()


def test_a_layout_that_is_no_version_is_refused(link: Path) -> None:
    """What would not come along would be lost with the old version."""
    (link / "subdirectory").mkdir()
    chain, key = make()
    before = read(link)
    with pytest.raises(RequestRejected, match="subdirectory"):
        install_pair(link / "foo.crt", link / "foo.key", chain, key, overwrite=True)
    assert read(link) == before
    assert not [each for each in link.parent.iterdir() if each.name.startswith(".")]


def test_a_failure_turns_nothing(link: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the midst of it leaves the old version in use, and no trace of the new one."""
    before, (chain, key) = read(link), make()

    def full(descriptor: int) -> None:
        del descriptor
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFailed, match="space"):
        install_pair(link / "foo.crt", link / "foo.key", chain, key, overwrite=True)
    monkeypatch.undo()
    assert read(link) == before
    assert sorted(each.name for each in link.parent.iterdir()) == ["current", "first"]


def test_a_reader_never_sees_a_mismatch(link: Path) -> None:
    """A server may start at any instant of a renewal: of a thousand looks, made all the while, none may be torn."""
    looks, torn, done = 0, 0, threading.Event()

    def watch() -> None:
        nonlocal looks, torn
        while not done.is_set():
            # One look at the link, as a server makes that resolves its path once.
            descriptor = os.open(link, os.O_RDONLY | os.O_DIRECTORY)
            try:
                parts = []
                for name in ("foo.crt", "foo.key"):
                    with open(os.open(name, os.O_RDONLY, dir_fd=descriptor), "rb") as file:  # noqa: PTH123
                        parts.append(file.read())
            except FileNotFoundError:
                # Here renewals follow each other in milliseconds: a version may be three behind and tidied away.
                assert os.fstat(descriptor).st_ino != link.stat().st_ino
                continue
            finally:
                os.close(descriptor)
            looks += 1
            leaf, key = load_certificates(parts[0])[0], load_pem_private_key(parts[1], None)
            torn += leaf.public_key() != key.public_key()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        pairs = [make() for _ in range(10)]
        for count in range(100):
            chain, key = pairs[count % len(pairs)]
            install_pair(link / "foo.crt", link / "foo.key", chain, key, overwrite=True)
    finally:
        done.set()
        watcher.join()
    assert looks > 50
    assert torn == 0


def test_what_a_file_is_besides_its_content_is_kept(tmp_path: Path) -> None:
    """A confined server that may not open its new certificate is down, however fresh that is."""
    chain, key = make()
    crt, key_file = tmp_path / "foo.crt", tmp_path / "foo.key"
    install_pair(crt, key_file, chain, key, overwrite=False)
    crt.chmod(0o640)
    key_file.chmod(0o400)
    label = b"system_u:object_r:cert_t:s0\0"
    try:
        os.setxattr(crt, "security.selinux", label)
    except OSError:
        label = b""
    if os.geteuid() == 0:
        os.chown(crt, 12345, 12346)
        os.chown(key_file, 12345, 12346)
    before = [attributes_of(file, default=mode) for file, mode in ((crt, 0o644), (key_file, 0o600))]
    inodes = [file.stat().st_ino for file in (crt, key_file)]
    install_pair(crt, key_file, *make(), overwrite=True)
    after = [attributes_of(file, default=mode) for file, mode in ((crt, 0o644), (key_file, 0o600))]
    assert after == before
    assert inodes != [file.stat().st_ino for file in (crt, key_file)]
    assert not label or before[0].labels == {"security.selinux": label}
    install_certificate(crt, chain, overwrite=True, key=key_file)
    assert attributes_of(crt, default=0o644) == before[0]
