"""Files that replace files: whole, private, in an order that loses nothing, and never through a link."""

from __future__ import annotations

import itertools
import os
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fakes.step_ca import FakeCa

from online.renewal.install import check_output, finish, install_certificate, install_pair
from shared import durable, keys
from shared.errors import RequestRejected, StoreFailed
from shared.keys import KeyKind
from shared.keystore import private_key_pem
from shared.pem import certificate_pem, load_certificates

CA = FakeCa()
Pair = tuple[tuple[x509.Certificate, ...], bytes]


def _pair() -> Pair:
    key = keys.generate(KeyKind.EC_P256)
    return CA.leaf(key.public_key(), "foo.local"), private_key_pem(key, None)


OLD, NEW = _pair(), _pair()


def _state(crt: Path, key: Path) -> tuple[str, str]:
    """Name what lies on disk: old, new or nothing, for certificate and key."""

    def name(path: Path, old: bytes, new: bytes) -> str:
        if not path.exists():
            return "nothing"
        return {old: "old", new: "new"}.get(path.read_bytes(), "broken")

    pems = [certificate_pem(*pair[0]) for pair in (OLD, NEW)]
    return name(crt, *pems), name(key, OLD[1], NEW[1])


@pytest.fixture(name="paths")
def _paths(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "foo.crt", tmp_path / "foo.key"


@pytest.fixture(name="old_pair")
def _old_pair(paths: tuple[Path, Path]) -> tuple[Path, Path]:
    install_pair(*paths, *OLD, overwrite=False)
    return paths


def test_a_new_pair_is_private_and_matches(paths: tuple[Path, Path]) -> None:
    """A key that anybody may read is no key, whatever the umask says."""
    before = os.umask(0)
    try:
        install_pair(*paths, *OLD, overwrite=False)
    finally:
        os.umask(before)
    crt, key = paths
    assert key.stat().st_mode & 0o777 == 0o600
    assert crt.stat().st_mode & 0o777 == 0o644
    assert load_certificates(crt.read_bytes()) == OLD[0]
    loaded = load_pem_private_key(key.read_bytes(), None)
    assert loaded.public_key() == OLD[0][0].public_key()
    assert sorted(each.name for each in crt.parent.iterdir()) == ["foo.crt", "foo.key"]


def test_a_pair_is_replaced_and_keeps_its_modes(old_pair: tuple[Path, Path]) -> None:
    """A server's group may read the certificate; a renewal must not lock it out, nor open the key."""
    crt, key = old_pair
    crt.chmod(0o640)
    key.chmod(0o400)
    install_pair(*old_pair, *NEW, overwrite=True)
    assert _state(*old_pair) == ("new", "new")
    assert (crt.stat().st_mode & 0o777, key.stat().st_mode & 0o777) == (0o640, 0o400)
    key.chmod(0o644)
    install_pair(*old_pair, *OLD, overwrite=True)
    assert key.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in crt.parent.iterdir()) == ["foo.crt", "foo.key"]


def test_nothing_is_overwritten_unasked(old_pair: tuple[Path, Path]) -> None:
    """Losing a key to a mistyped name cannot be undone."""
    with pytest.raises(RequestRejected, match="already exists"):
        install_pair(*old_pair, *NEW, overwrite=False)
    with pytest.raises(RequestRejected, match="already exists"):
        install_certificate(old_pair[0], NEW[0], overwrite=False)
    assert _state(*old_pair) == ("old", "old")


def test_one_half_present_blocks_the_pair(old_pair: tuple[Path, Path]) -> None:
    """A new certificate beside an old key would be a pair that no server takes."""
    old_pair[0].unlink()
    with pytest.raises(RequestRejected, match="already exists"):
        install_pair(*old_pair, *NEW, overwrite=False)
    assert _state(*old_pair) == ("nothing", "old")


def _link(path: Path) -> None:
    target = path.with_suffix(".target")
    target.write_bytes(b"precious")
    path.symlink_to(target)


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_suffix(".nowhere"))


@pytest.mark.parametrize("make", [_link, _dangling, os.mkfifo, os.mkdir])
@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("overwrite", [False, True])
def test_only_regular_files_are_outputs(
    paths: tuple[Path, Path], make: Callable[[Path], None], half: int, *, overwrite: bool
) -> None:
    """A link planted in a shared directory would send a key, or root's writes, elsewhere."""
    make(paths[half])
    with pytest.raises(RequestRejected):
        install_pair(*paths, *NEW, overwrite=overwrite)
    assert not paths[1 - half].exists()
    assert not paths[0].with_suffix(".nowhere").exists()
    target = paths[half].with_suffix(".target")
    assert not target.exists() or target.read_bytes() == b"precious"


def test_a_hard_link_is_left_behind_not_written_through(paths: tuple[Path, Path]) -> None:
    """Replacing must not change the other name of the same file."""
    other = paths[0].with_name("other")
    other.write_bytes(b"precious")
    paths[0].hardlink_to(other)
    install_certificate(paths[0], NEW[0], overwrite=True)
    assert other.read_bytes() == b"precious"


def test_outputs_are_judged_before_any_work(tmp_path: Path) -> None:
    """A token spent for an output that cannot be written is lost."""
    with pytest.raises(RequestRejected, match="does not exist"):
        check_output(tmp_path / "no" / "foo.crt", overwrite=False)
    with pytest.raises(RequestRejected, match="same file"):
        install_pair(tmp_path / "x", tmp_path / "x", *NEW, overwrite=False)


_STEPS = ("open", "write", "fchmod", "fsync", "replace", "link", "unlink")
_KILLED = 9


def _killed_at(number: int, action: Callable[[], object]) -> bool:
    """Run an action in a child that dies, without any cleaning up, at its n-th call to the file system."""
    with warnings.catch_warnings():
        # The child calls nothing but files before it ends; threads of other tests do not matter to it.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == _KILLED
    calls = itertools.count()
    for step in _STEPS:
        setattr(os, step, _dying(getattr(os, step), calls, number))
    try:
        action()
    finally:
        os._exit(0)


def _dying(real: Callable[..., object], calls: Iterator[int], number: int) -> Callable[..., object]:
    def call(*arguments: object, **keywords: object) -> object:
        if next(calls) == number:
            os._exit(_KILLED)
        return real(*arguments, **keywords)

    return call


def test_a_kill_at_any_step_loses_nothing(tmp_path: Path) -> None:
    """Whatever call is the last: the old pair or the new one is there, at once or after ``finish``; no other key is."""
    states = []
    for number in range(200):
        directory = tmp_path / str(number)
        directory.mkdir()
        crt, key = directory / "foo.crt", directory / "foo.key"
        install_pair(crt, key, *OLD, overwrite=False)
        killed = _killed_at(number, lambda crt=crt, key=key: install_pair(crt, key, *NEW, overwrite=True))  # type: ignore[misc]
        torn = _state(crt, key)
        finish(crt, key)
        assert _state(crt, key) in {("old", "old"), ("new", "new")}, (number, torn)
        assert [each for each in directory.iterdir() if b"PRIVATE KEY" in each.read_bytes()] == [key], number
        states.append(torn)
        if not killed:
            break
    assert states[0] == ("old", "old")
    assert states[-1] == ("new", "new")
    # The one torn state that two plain files cannot avoid was met, and mended.
    assert ("old", "new") in states


def test_only_our_own_leftovers_are_removed(old_pair: tuple[Path, Path]) -> None:
    """Beside a key lie files of other people, some of them hidden, and some of another pair."""
    ours = [f".foo.key.{'0a' * 8}.new", f"..foo.key.pending.{'0a' * 8}.new"]
    theirs = [".foo.key.new", ".foo.key.0a.new", f".xfoo.key.{'0a' * 8}.new", f".foo.key2.{'0a' * 8}.new"]
    for name in (*ours, *theirs):
        (old_pair[1].parent / name).write_bytes(b"x")
    assert not finish(*old_pair)
    assert sorted(each.name for each in old_pair[1].parent.iterdir()) == sorted(["foo.crt", "foo.key", *theirs])
    assert not finish(Path("none/foo.crt"), Path("none/foo.key"))


def test_a_kill_before_a_first_pair_leaves_no_key_behind_a_certificate(tmp_path: Path) -> None:
    """Of two new files the key comes first: a certificate that nobody has the key for must not appear."""
    for number in range(200):
        directory = tmp_path / str(number)
        directory.mkdir()
        crt, key = directory / "foo.crt", directory / "foo.key"
        killed = _killed_at(number, lambda crt=crt, key=key: install_pair(crt, key, *NEW, overwrite=False))  # type: ignore[misc]
        assert _state(crt, key) in {("nothing", "nothing"), ("nothing", "new"), ("new", "new")}, number
        if not killed:
            break
    assert _state(crt, key) == ("new", "new")


def test_a_full_disk_leaves_the_old_pair(old_pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewal on a full disk must fail, not leave a certificate whose key is gone."""
    room = iter([True, False])

    def add(self: durable.Staging, path: Path, content: bytes, **keywords: object) -> None:
        if not next(room):
            raise StoreFailed("file.write-failed", "no space")
        real(self, path, content, **keywords)  # type: ignore[arg-type]

    real = durable.Staging.add
    monkeypatch.setattr(durable.Staging, "add", add)
    with pytest.raises(StoreFailed, match="no space"):
        install_pair(*old_pair, *NEW, overwrite=True)
    assert _state(*old_pair) == ("old", "old")
    assert sorted(each.name for each in old_pair[0].parent.iterdir()) == ["foo.crt", "foo.key"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_really_full_disk(tmp_path: Path) -> None:
    """The same on a file system of 64 kB, where the kernel says no and not a patch."""
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], check=False, capture_output=True
    )
    if mount.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        crt, key = tmp_path / "foo.crt", tmp_path / "foo.key"
        install_pair(crt, key, *OLD, overwrite=False)
        (tmp_path / "ballast").write_bytes(b"x" * (64 << 10 >> 1))
        filler = tmp_path / "filler"
        with pytest.raises(OSError, match="space"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        installs: list[Callable[[], None]] = [
            lambda: install_pair(crt, key, *NEW, overwrite=True),
            lambda: install_certificate(crt, NEW[0], overwrite=True),
        ]
        for install in installs:
            with pytest.raises(StoreFailed):
                install()
            assert _state(crt, key) == ("old", "old")
        assert sorted(each.name for each in tmp_path.iterdir()) == ["ballast", "filler", "foo.crt", "foo.key"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_damaged_pending_file_is_named(old_pair: tuple[Path, Path]) -> None:
    """It may hold the only copy of a key: it must not be thrown away nor half applied."""
    pending = old_pair[1].with_name(".foo.key.pending")
    pending.write_bytes(b"half")
    pending.chmod(0o600)
    with pytest.raises(StoreFailed, match="pending"):
        finish(*old_pair)
    assert _state(*old_pair) == ("old", "old")
    assert pending.exists()
