"""Files that survive, appear whole, and never through a trap."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared import durable
from shared.errors import ColdrootError, RequestRejected, StoreFailed


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """A careless umask must neither expose a key nor make a certificate unreadable."""
    old = os.umask(umask)
    try:
        durable.write_new(tmp_path / "key", b"k", mode=durable.PRIVATE)
        durable.write_new(tmp_path / "crt", b"c")
    finally:
        os.umask(old)
    assert (_mode(tmp_path / "key"), _mode(tmp_path / "crt")) == (0o600, 0o644)


@pytest.mark.parametrize("trap", ["file", "symlink", "dangling", "fifo", "directory"])
def test_new_file_needs_a_free_place(tmp_path: Path, trap: str) -> None:
    """Writing through a planted link would overwrite a file of the attacker's choice."""
    target, path = tmp_path / "target", tmp_path / "out"
    target.write_bytes(b"precious")
    traps: dict[str, Callable[[], object]] = {
        "file": lambda: path.write_bytes(b"old"),
        "symlink": lambda: path.symlink_to(target),
        "dangling": lambda: path.symlink_to(tmp_path / "nowhere"),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
    }
    traps[trap]()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(RequestRejected) as refused:
        durable.write_new(path, b"new")
    assert refused.value.code == "file.exists"
    assert sorted(os.listdir(tmp_path)) == before
    assert target.read_bytes() == b"precious"


def test_a_set_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """A certificate without its key, left behind by a failure, would mislead the next person."""
    (tmp_path / "b").write_bytes(b"here already")
    with pytest.raises(RequestRejected), durable.Staging() as staging:
        staging.add(tmp_path / "a", b"1")
        staging.add(tmp_path / "b", b"2")
    assert os.listdir(tmp_path) == ["b"]


def test_a_place_taken_meanwhile_undoes_the_set(tmp_path: Path) -> None:
    """Another process may be quicker between the check and the move; nothing of it may be lost."""
    staging = durable.Staging()
    staging.add(tmp_path / "a", b"1")
    staging.add(tmp_path / "b", b"2")
    (tmp_path / "b").write_bytes(b"theirs")
    with pytest.raises(RequestRejected):
        staging.commit()
    assert os.listdir(tmp_path) == ["b"]
    assert (tmp_path / "b").read_bytes() == b"theirs"


def test_an_error_inside_the_block_leaves_nothing(tmp_path: Path) -> None:
    """A half-written output of a failed command could be taken for a result."""
    with pytest.raises(ZeroDivisionError), durable.Staging() as staging:
        staging.add(tmp_path / "a", b"1")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_replace_keeps_the_old_file_when_the_new_cannot_be_written(tmp_path: Path) -> None:
    """A renewal on a full disk must not destroy the certificate that still works."""
    path = tmp_path / "crt"
    durable.write_new(path, b"old")
    durable.replace(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(StoreFailed):
        durable.replace(tmp_path / "missing" / "crt", b"x")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_full_disk(tmp_path: Path) -> None:
    """With no space left the old pair must stay and no fragment may lie beside it."""
    script = (
        "import sys, pathlib; from shared import durable; from shared.errors import StoreFailed\n"
        "d = pathlib.Path(sys.argv[1]); durable.write_new(d / 'crt', b'old'); durable.write_new(d / 'log', b'')\n"
        "for act in (lambda: durable.replace(d / 'crt', bytes(200_000)),\n"
        "            lambda: durable.append_line(d / 'log', bytes(200_000))):\n"
        "    try: act()\n"
        "    except StoreFailed as e: print(e.code)\n"
        "print((d / 'crt').read_bytes(), (d / 'log').stat().st_size, len(list(d.iterdir())))\n"
    )
    mount = f'mount -t tmpfs -o size=64k none {tmp_path} && exec "$0" -c "$1" {tmp_path}'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, sys.executable, script], capture_output=True, text=True, check=False
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("this machine does not let a test mount a file system")
    assert done.stdout.splitlines() == ["file.write-failed", "file.write-failed", "b'old' 0 2"], done.stderr


def test_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A USB stick is FAT, which has no hard links; an answer must still get onto it, and never over a file."""

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    durable.write_new(tmp_path / "a", b"1", mode=durable.PRIVATE)
    assert (tmp_path / "a").read_bytes() == b"1"
    assert _mode(tmp_path / "a") == 0o600
    staging = durable.Staging()
    staging.add(tmp_path / "b", b"2")
    (tmp_path / "b").write_bytes(b"theirs")
    with pytest.raises(RequestRejected):
        staging.commit()
    assert (tmp_path / "b").read_bytes() == b"theirs"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_reads_are_bounded_and_of_files(tmp_path: Path) -> None:
    """A device or an endless file handed in as a certificate must not hang or fill the machine."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes(11))
    (tmp_path / "latin").write_bytes(b"\xff")
    cases = {
        "fifo": "file.not-regular",
        "large": "file.too-large",
        "missing": "file.missing",
        ".": "file.not-regular",
    }
    for name, code in cases.items():
        with pytest.raises(RequestRejected) as refused:
            durable.read_file(tmp_path / name, limit=10)
        assert refused.value.code == code
    with pytest.raises(RequestRejected) as refused:
        durable.read_text(tmp_path / "latin")
    assert refused.value.code == "file.not-utf8"
    assert durable.read_file(tmp_path / "large", limit=11) == bytes(11)


def test_endless_device() -> None:
    """/dev/zero never ends."""
    with pytest.raises(RequestRejected) as refused:
        durable.read_file(Path("/dev/zero"))
    assert refused.value.code == "file.not-regular"


def test_private_files_must_be_private(tmp_path: Path) -> None:
    """A password that the group can read is no password."""
    path = tmp_path / "password"
    path.write_bytes(b" secret \n\n")
    path.chmod(0o640)
    with pytest.raises(RequestRejected) as refused:
        durable.read_secret(path)
    assert refused.value.code == "file.exposed"
    assert "secret" not in refused.value.message
    path.chmod(0o600)
    assert durable.read_secret(path) == b" secret"
    path.write_bytes(b"\n")
    with pytest.raises(RequestRejected) as refused:
        durable.read_secret(path)
    assert refused.value.code == "file.empty"


def test_directories(tmp_path: Path) -> None:
    """A directory of secrets is closed from its creation, parents included."""
    durable.make_directory(tmp_path / "a" / "b", private=True)
    assert (_mode(tmp_path / "a"), _mode(tmp_path / "a" / "b")) == (0o700, 0o700)
    durable.make_directory(tmp_path / "a" / "b")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ColdrootError):
        durable.make_directory(tmp_path / "file" / "x")


def test_append_line_needs_the_file(tmp_path: Path) -> None:
    """Creating a missing transcript in silence would hide that the real one is elsewhere."""
    with pytest.raises(StoreFailed):
        durable.append_line(tmp_path / "log", b"x")
    durable.write_new(tmp_path / "log", b"")
    durable.append_line(tmp_path / "log", b"one")
    durable.append_line(tmp_path / "log", b"two")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_erased_files_are_overwritten_first(tmp_path: Path) -> None:
    """A secret that is merely unlinked lies on the disk until something else is written there."""
    path, twin = tmp_path / "sheet.pdf", tmp_path / "twin"
    path.write_bytes(b"secret" * 1000)
    os.link(path, twin)
    durable.erase(path)
    assert not path.exists()
    assert twin.read_bytes() == bytes(6000)
    link = tmp_path / "link"
    link.symlink_to(twin)
    with pytest.raises(StoreFailed):
        durable.erase(link)
    assert link.is_symlink()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ColdrootError):
        durable.erase(tmp_path / "pipe")
    with pytest.raises(StoreFailed):
        durable.erase(path)
