"""Changing a ca.json in place, so that what stands there is a good configuration at every moment.

The steps (the numbers return in the code):

1. nobody else edits it meanwhile: the directory is locked;
2. the new content is made from the old, and read as the node will read it; a bad one never reaches the disk;
3. the file is replaced in one step, with the mode and the owner that it had. A symbolic link stays one.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from online.config.load import parse_config
from online.config.settings import Config
from shared import durable
from shared.errors import RequestRejected, StoreFailed


def edit_config(path: Path, change: Callable[[str], str]) -> Config:
    """Change a ca.json.

    Args:
        path: the file.
        change: makes the new text out of the old; what it raises leaves the file as it is.

    Returns:
        The new configuration.

    Raises:
        RequestRejected: ``file.*``, ``config.*``, or what ``change`` raises.
        Unsupported: ``config.unsupported-*``.
        StoreFailed: ``file.write-failed``; the old file stays.
    """
    file = Path(os.path.realpath(path))
    # 1.
    with _alone_in(file.parent):
        # 2.
        before = durable.read_text(file)
        after = change(before).encode("utf-8")
        # Relative paths hang on where the operator says that the file is, not on what a link leads to.
        config = parse_config(after, path=path)
        # 3.
        try:
            status = file.stat()
        except OSError as error:
            raise RequestRejected("file.unreadable", f"{file} cannot be read: {error.strerror}") from None
        durable.replace(file, after, mode=stat.S_IMODE(status.st_mode), owner=durable.foreign_owner(status))
    return config


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RequestRejected("file.missing", f"{directory} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{directory} cannot be locked: {error.strerror}") from None
    finally:
        os.close(descriptor)
