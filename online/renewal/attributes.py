"""What a file is besides its content: mode, owner, group, access list, SELinux context.

Invariant: a file that takes another's place is as readable, and as private, as the one that stood there, from the
moment that it appears. What cannot be kept is an error before anything is replaced: a server that may not read its
new key is worse off than one whose certificate is old.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared import durable
from shared.errors import StoreFailed

_ACL = "system.posix_acl_access"
# Without the context a confined server may not open the file; without the list its user may not.
_LABELS = ("security.selinux", _ACL)
_OTHERS = 0o077
_NONE = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """Of one file."""

    mode: int
    owner: tuple[int, int] | None = None
    """User and group; ``None`` for what a new file gets."""
    labels: Mapping[str, bytes] = field(default_factory=dict)


def attributes_of(path: Path, *, default: int) -> Attributes:
    """Look at the file that is to be replaced.

    Args:
        path: it need not exist.
        default: mode where it does not. With a private one, what holds a key is made private if it is not yet.

    Raises:
        StoreFailed: ``file.write-failed`` when it cannot be looked at.
    """
    try:
        status = path.stat()
        labels = {name: value for name in _LABELS if (value := _label(path, name)) is not None}
    except FileNotFoundError:
        return Attributes(mode=default)
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{path} cannot be looked at: {error.strerror}") from None
    # Named also where it is our own: in a directory that hands its group down, a new file has another one.
    owner, mode = (status.st_uid, status.st_gid), stat.S_IMODE(status.st_mode)
    if not default & _OTHERS and mode & _OTHERS:
        mode &= ~_OTHERS
        labels.pop(_ACL, None)
    return Attributes(mode=mode, owner=owner, labels=labels)


def add_file(staging: durable.Staging, path: Path, content: bytes, attributes: Attributes) -> None:
    """Stage a file that may replace another.

    Raises:
        StoreFailed: ``file.write-failed``.
    """
    staging.add(path, content, mode=attributes.mode, overwrite=True, owner=attributes.owner, labels=attributes.labels)


def _label(path: Path, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise
