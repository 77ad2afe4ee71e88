"""Pairs in versioned directories: one link is turned, and certificate, key and all that belongs to them are new.

The layout, which the person who chose it made::

    /etc/step/certs/foo/20261124T080000Z-1a2b3c4d/foo.crt, foo.key
    /etc/step/certs/foo/current -> 20261124T080000Z-1a2b3c4d

and the pair is named through the link: ``current/foo.crt current/foo.key``.

Invariants:

* a version that the link has named is never changed again; a renewal makes a new one, complete and flushed, and then
  turns the link, which is one rename: before it the old pair is there, after it the new one, and nothing in between;
* what else lies in the old version comes along;
* the version that was just left and the one before it stay, for whoever opened them;
* a version that a link beside it leads to stays, and so does one that holds other files than this pair's: links of
  several pairs may stand side by side, with their versions around them.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cryptography import x509

from online.renewal.attributes import Attributes, add_file
from shared import durable
from shared.errors import RequestRejected, StoreFailed

_MOST_FILES = 64
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}", re.ASCII)
_UNFINISHED = re.compile(r"\.[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\.new", re.ASCII)


def is_versioned(*paths: Path) -> bool:
    """Tell whether files are named through one and the same link to a directory."""
    (parent, *others) = dict.fromkeys(path.parent for path in paths)
    return not others and parent.is_symlink()


def version_name(certificate: x509.Certificate) -> str:
    """Return the name of the version that a certificate begins: when it does, and the end of its serial number."""
    return f"{certificate.not_valid_before_utc:%Y%m%dT%H%M%SZ}-{certificate.serial_number & 0xFFFFFFFF:08x}"


def install_version(link: Path, name: str, files: Mapping[str, tuple[bytes, Attributes]]) -> None:
    """Make a new version and turn the link to it.

    1. Beside the old version a new directory, under a hidden name: the files given, and by hard links the others.
    2. Everything flushed, the directory gets its name.
    3. A new link beside the old one is renamed over it: this is the change.
    4. Versions older than the last two go away, and what interrupted runs left behind.

    Args:
        link: the symbolic link to the version in use.
        name: of the new version, from ``version_name``.
        files: content and attributes by name.

    Raises:
        RequestRejected: ``renew.version`` when the layout is another one.
        StoreFailed: ``file.write-failed``; the old version is in use.
    """
    try:
        old = link.parent / link.readlink()
        home = old.parent
        if not stat.S_ISDIR(old.lstat().st_mode) or old.name in {"", "..", "."}:
            raise RequestRejected("renew.version", f"{link} does not lead to a directory of files")
        # 1, 2.
        new = _make(home, name, old, files)
        # 3.
        target = os.path.relpath(new, link.parent) if not link.readlink().is_absolute() else str(new)
        _turn(link, target)
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{link} cannot get a new version: {error.strerror}") from None
    # 4.
    _tidy(home, keep={new.name, old.name, *_led_to(home, link.parent)}, holding=set(files))


def _make(home: Path, name: str, old: Path, files: Mapping[str, tuple[bytes, Attributes]]) -> Path:
    new, unfinished = home / name, home / f".{name}.new"
    if new == old:
        raise RequestRejected("renew.version", f"{old} is in use already")
    if new.exists():
        # Complete, but the link was never turned: made by a run that was killed. It is ours to replace.
        shutil.rmtree(new)
    shutil.rmtree(unfinished, ignore_errors=True)
    status = old.stat()
    unfinished.mkdir(mode=0o700)
    try:
        _carry_over(old, unfinished, set(files))
        with durable.Staging() as staging:
            for each, (content, attributes) in files.items():
                add_file(staging, unfinished / each, content, attributes)
        os.chown(unfinished, status.st_uid, status.st_gid)
        unfinished.chmod(stat.S_IMODE(status.st_mode))
        _flush(unfinished)
        unfinished.rename(new)
        _flush(home)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return new


def _carry_over(old: Path, new: Path, replaced: set[str]) -> None:
    others = [each for each in old.iterdir() if each.name not in replaced]
    if len(others) > _MOST_FILES:
        raise RequestRejected("renew.version", f"{old} holds too many files to be a version of a pair")
    for each in others:
        mode = each.lstat().st_mode
        if stat.S_ISLNK(mode):
            (new / each.name).symlink_to(each.readlink())
        elif stat.S_ISREG(mode):
            os.link(each, new / each.name)
        else:
            raise RequestRejected(
                "renew.version",
                f"{each} is neither a file nor a link, so it cannot come along into a new version",
                hint="keep directories beside the versions, not in them",
            )


def _turn(link: Path, target: str) -> None:
    beside = link.with_name(f".{link.name}.{secrets.token_hex(8)}.new")
    beside.symlink_to(target)
    try:
        beside.replace(link)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    _flush(link.parent)


def _led_to(home: Path, *directories: Path) -> set[str]:
    """Return the names of the versions that links beside them, and in these directories, lead to."""
    found = set()
    for directory in {home, *directories}:
        with suppress(OSError):
            found |= {each.resolve().name for each in directory.iterdir() if each.is_symlink()}
    return found


def _tidy(home: Path, *, keep: set[str], holding: set[str]) -> None:
    # Nothing depends on this: what stays is looked at again next time.
    with suppress(OSError):
        left = sorted(
            each
            for each in home.iterdir()
            if _NAME.fullmatch(each.name) and each.name not in keep and not each.is_symlink()
        )
        # The last one is the one before the version that was just left.
        surplus = [each for each in left if all((each / name).is_file() for name in holding)][:-1]
        unfinished = [each for each in home.iterdir() if _UNFINISHED.fullmatch(each.name)]
        for each in (*surplus, *unfinished):
            shutil.rmtree(each, ignore_errors=True)


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
