"""Writes that survive a power cut, and reads that cannot be tricked or flooded.

Invariants:

* a new file is created exclusively and never through a symbolic link; its mode holds from the first byte;
* a write is done when file *and* directory are flushed (fsync), not before;
* a set of files appears completely or, on any error, not at all;
* a read is of a regular file and stops at its limit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.errors import RequestRejected, StoreFailed

PUBLIC = 0o644
PRIVATE = 0o600
DEFAULT_LIMIT_BYTES = 1 << 20
# As much as a bundle with its images: a disk with less room is full for our purposes.
_PROBE_BYTES = 256 << 10


def read_file(path: Path, *, limit: int = DEFAULT_LIMIT_BYTES, if_missing: str | None = None) -> bytes:
    """Read a regular file whole.

    Args:
        path: the file; a symbolic link is followed, a FIFO or device is refused.
        limit: bytes; a larger file is refused.
        if_missing: what to do when it does not exist, as the error's hint.

    Raises:
        RequestRejected: ``file.missing``, ``file.not-regular``, ``file.too-large`` or ``file.unreadable``.
    """
    return _read(path, limit, if_missing)[0]


def read_private(path: Path, *, limit: int = DEFAULT_LIMIT_BYTES) -> bytes:
    """Read a file that only its owner may see; refuse it when group or others may.

    Raises:
        RequestRejected: as ``read_file``, or ``file.exposed``.
    """
    content, mode = _read(path, limit)
    if mode & 0o077:
        raise RequestRejected(
            "file.exposed",
            f"{path} can be read by others than its owner (mode {mode:04o})",
            hint=f"chmod 600 {path}",
        )
    return content


def read_text(path: Path, *, limit: int = DEFAULT_LIMIT_BYTES) -> str:
    """Read a regular file as strict UTF-8.

    Raises:
        RequestRejected: as ``read_file``, or ``file.not-utf8``.
    """
    try:
        return read_file(path, limit=limit).decode("utf-8")
    except UnicodeDecodeError:
        raise RequestRejected("file.not-utf8", f"{path} is not UTF-8 text") from None


def read_secret(path: Path) -> bytes:
    """Read a password file: private, one line, trailing white space dropped as ``step`` drops it.

    Raises:
        RequestRejected: as ``read_private``, or ``file.empty``.
    """
    secret = read_private(path, limit=4096).rstrip()
    if not secret:
        raise RequestRejected("file.empty", f"{path} holds no password")
    return secret


def make_directory(path: Path, *, private: bool = False) -> None:
    """Create a directory (and its parents) unless it exists; flush the parent.

    Args:
        path: the directory.
        private: mode 0700 from its creation, else 0755.

    Raises:
        StoreFailed: ``file.write-failed``.
    """
    try:
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o700 if private else 0o755, exist_ok=True)
            _flush_directory(each.parent)
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{path} cannot be created: {error.strerror}") from None


def probe_directory(path: Path) -> None:
    """Insist that files can be created in a directory, by creating one and taking it away again.

    Raises:
        StoreFailed: ``file.write-failed``.
    """
    staging = Staging()
    try:
        staging.add(path / "probe", bytes(_PROBE_BYTES))
    finally:
        staging.discard()


def write_new(path: Path, content: bytes, *, mode: int = PUBLIC) -> None:
    """Create one file that must not exist yet.

    Raises:
        RequestRejected: ``file.exists``.
        StoreFailed: ``file.write-failed``; no partial file stays.
    """
    with Staging() as staging:
        staging.add(path, content, mode=mode)


def replace(path: Path, content: bytes, *, mode: int = PUBLIC, owner: tuple[int, int] | None = None) -> None:
    """Put new content in the place of a file, atomically: a reader sees the old or the new, whole.

    Args:
        path: the file.
        content: all of it.
        mode: permission bits.
        owner: user and group of the new file; the process's own unless given.

    Raises:
        StoreFailed: ``file.write-failed``; the old file stays.
    """
    with Staging() as staging:
        staging.add(path, content, mode=mode, overwrite=True, owner=owner)


def foreign_owner(status: os.stat_result) -> tuple[int, int] | None:
    """Return whose a file is, for what takes its place: user and group, or ``None`` when it is ours."""
    owner = (status.st_uid, status.st_gid)
    return None if owner == (os.geteuid(), os.getegid()) else owner


def staged_for(path: Path) -> tuple[Path, ...]:
    """Return what was staged for a path and never moved into place: by a process that was killed, or one at work now.

    Raises:
        StoreFailed: ``file.write-failed`` when the directory cannot be read.
    """
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.new", re.ASCII)
    try:
        return tuple(sorted(each for each in path.parent.iterdir() if ours.fullmatch(each.name)))
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{path.parent} cannot be read: {error.strerror}") from None


def append_line(path: Path, line: bytes) -> None:
    """Append one line to an existing file and flush it: when this returns, the line is on the disk.

    A line that was only partly written (full disk) is cut off again.

    Raises:
        StoreFailed: ``file.write-failed``.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, line + b"\n")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{path} cannot be written: {error.strerror}") from None


def erase(path: Path) -> None:
    """Overwrite a file with zeros, flush that, and remove it.

    A disk or file system that writes elsewhere than it is told (flash, journals, snapshots) can keep the old
    bytes: what must leave no trace belongs on a file system in memory.

    Raises:
        RequestRejected: ``file.not-regular``: a link, or what is no file, is not followed.
        StoreFailed: ``file.write-failed``; the file may still be there.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RequestRejected("file.not-regular", f"{path} is not a regular file")
            _write_all(descriptor, bytes(os.fstat(descriptor).st_size))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path.unlink()
        _flush_directory(path.parent)
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{path} cannot be removed: {error.strerror}") from None


class Staging:
    """A set of files that appear together, or not at all when anything fails before ``commit``.

    Use as a context manager: leaving it without an exception commits. Each file is written beside its place
    under a random hidden name and flushed; then all are moved into place. The moves are few and quick, but
    they are several: a power cut between two of them can leave the first files only. A pair that must never
    be seen torn (certificate and key of a running server) needs more than this.
    """

    def __init__(self) -> None:
        self._staged: list[tuple[Path, Path, bool]] = []

    def add(
        self,
        path: Path,
        content: bytes,
        *,
        mode: int = PUBLIC,
        overwrite: bool = False,
        owner: tuple[int, int] | None = None,
        labels: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write one file beside its place.

        Args:
            path: where it shall appear; its directory must exist.
            content: all of it.
            mode: permission bits from the first byte on, whatever the umask.
            overwrite: replace what stands there; otherwise an existing file is an error.
            owner: user and group of the file; the process's own unless given.
            labels: extended attributes, such as the SELinux context.

        Raises:
            RequestRejected: ``file.exists``.
            StoreFailed: ``file.write-failed``.
        """
        if not overwrite and os.path.lexists(path):
            raise _exists(path)
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(beside, flags, PRIVATE)
            self._staged.append((beside, path, overwrite))
            try:
                _write_all(descriptor, content)
                if owner is not None:
                    os.fchown(descriptor, *owner)
                os.fchmod(descriptor, mode)
                for name, value in (labels or {}).items():
                    os.setxattr(descriptor, name, value)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreFailed("file.write-failed", f"{path} cannot be written: {error.strerror}") from None

    def commit(self) -> None:
        """Move all staged files into place and flush their directories.

        Raises:
            RequestRejected: ``file.exists`` when another process was quicker; the files moved so far go away.
            StoreFailed: ``file.write-failed``.
        """
        placed: list[Path] = []
        try:
            for beside, path, overwrite in self._staged:
                if overwrite:
                    beside.replace(path)
                else:
                    _move_exclusively(beside, path)
                    placed.append(path)
            for directory in {path.parent for _, path, _ in self._staged}:
                _flush_directory(directory)
        except OSError as error:
            _remove(placed)
            self.discard()
            if isinstance(error, FileExistsError):
                raise _exists(Path(str(error.filename2 or error.filename))) from None
            raise StoreFailed("file.write-failed", f"files cannot be put in place: {error.strerror}") from None
        self._staged.clear()

    def discard(self) -> None:
        """Remove what was staged; nothing has appeared."""
        _remove([beside for beside, _, _ in self._staged])
        self._staged.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


def _read(path: Path, limit: int, if_missing: str | None = None) -> tuple[bytes, int]:
    """Return a file's content and permission bits, both of the one file that was opened."""
    try:
        # O_NONBLOCK: opening a FIFO must not hang before it can be refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RequestRejected("file.missing", f"{path} does not exist", hint=if_missing) from None
    except (OSError, ValueError) as error:
        raise RequestRejected("file.unreadable", f"{path} cannot be read: {_reason(error)}") from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise RequestRejected("file.not-regular", f"{path} is not a regular file")
        content = b""
        while len(content) <= limit and (chunk := os.read(descriptor, limit + 1 - len(content))):
            content += chunk
    except OSError as error:
        raise RequestRejected("file.unreadable", f"{path} cannot be read: {_reason(error)}") from None
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise RequestRejected("file.too-large", f"{path} is larger than {limit} bytes")
    return content, stat.S_IMODE(mode)


def _reason(error: Exception) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "the path is malformed"


def _move_exclusively(beside: Path, path: Path) -> None:
    # link() fails where rename() would silently replace what came to stand there meanwhile.
    try:
        os.link(beside, path)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}:
            raise
        # FAT, the usual file system of a USB stick, has no links: take the name first, then rename over it.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE))
        beside.replace(path)
    else:
        beside.unlink()


def _exists(path: Path) -> RequestRejected:
    return RequestRejected(
        "file.exists",
        f"{path} already exists",
        hint="choose another path; nothing is ever overwritten in silence",
    )


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
