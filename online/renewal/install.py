"""Putting a certificate, or a certificate and its key, where a server reads them.

Invariants:

* a key lies on disk, flushed and 0600, before the certificate for it appears;
* a single file is replaced atomically and keeps its mode;
* a pair that replaces a pair goes through a *pending file*: one hidden file beside the key that holds both. Once it
  is on disk the change will happen, whatever is killed; until then nothing has. ``finish`` completes it.

The order for a pair, and what a crash after each step leaves:

1. pending file written beside the key, flushed, renamed into place — before: the old pair, after: the old pair, and
   the next command finishes the change;
2. key replaced — for a moment the files do not match; the pending file holds both new parts, nothing is lost;
3. certificate replaced — the new pair;
4. pending file removed — the new pair.

Two plain files cannot be replaced in one instant; a server that reads between 2 and 3 sees a mismatch and must read
again. A link is refused: replacing it would leave the file behind it stale.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from shared import durable
from shared.errors import RequestRejected, StoreFailed
from shared.pem import certificate_pem

_END_OF_KEY = b"\n=====CERTIFICATE=====\n"


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output path before any work is done for it, and before a token is spent.

    Args:
        path: where a file shall appear.
        overwrite: whether a regular file may stand there.

    Raises:
        RequestRejected: ``file.exists``, ``file.not-regular``, ``file.is-link`` or ``file.no-directory``.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise RequestRejected("file.no-directory", f"the directory {path.parent} does not exist") from None
        return
    except OSError as error:
        raise RequestRejected("file.unreadable", f"{path} cannot be looked at: {error.strerror}") from None
    if stat.S_ISLNK(mode):
        raise RequestRejected("file.is-link", f"{path} is a symbolic link", hint="give the path of the file itself")
    if not stat.S_ISREG(mode):
        raise RequestRejected("file.not-regular", f"{path} is not a regular file")
    if not overwrite:
        raise RequestRejected("file.exists", f"{path} already exists", hint="choose another path, or give --force")


def install_certificate(path: Path, chain: Sequence[x509.Certificate], *, overwrite: bool) -> None:
    """Write a chain, leaf first, in one step; what stood there stays whole until then.

    Args:
        path: the file.
        chain: leaf and intermediates.
        overwrite: replace a file that stands there, keeping its mode.

    Raises:
        RequestRejected: as ``check_output``.
        StoreFailed: ``file.write-failed``; nothing changed.
    """
    check_output(path, overwrite=overwrite)
    with durable.Staging() as staging:
        staging.add(path, certificate_pem(*chain), mode=_mode(path, durable.PUBLIC), overwrite=overwrite)


def install_pair(
    certificate: Path, key: Path, chain: Sequence[x509.Certificate], key_pem: bytes, *, overwrite: bool
) -> None:
    """Write a new key and its certificate.

    Without ``overwrite`` both files appear or neither does. With it, the order of this module's head holds.

    Args:
        certificate: file of the chain.
        key: file of the key.
        chain: leaf and intermediates.
        key_pem: the private key as it shall lie on disk.
        overwrite: replace files that stand there.

    Raises:
        RequestRejected: as ``check_output``, or ``renew.one-file`` when both paths are the same.
        StoreFailed: ``file.write-failed``.
    """
    check_pair_outputs(certificate, key, overwrite=overwrite)
    if not certificate.exists() and not key.exists():
        with durable.Staging() as staging:
            staging.add(key, key_pem, mode=durable.PRIVATE)
            staging.add(certificate, certificate_pem(*chain), mode=durable.PUBLIC)
        return
    # 1.
    pending = _pending(key)
    durable.replace(pending, key_pem + _END_OF_KEY + certificate_pem(*chain), mode=durable.PRIVATE)
    staging = durable.Staging()
    try:
        _stage(staging, certificate, key, key_pem, certificate_pem(*chain))
    except StoreFailed:
        # Nothing was replaced yet (a full disk): the old pair stays, and no trace of the new one.
        staging.discard()
        _remove(pending)
        raise
    staging.commit()
    _remove(pending)


def check_pair_outputs(certificate: Path, key: Path, *, overwrite: bool) -> None:
    """Refuse the output paths of a pair before any work is done for it.

    Raises:
        RequestRejected: as ``check_output``, or ``renew.one-file``.
    """
    for path in (certificate, key):
        check_output(path, overwrite=overwrite)
    if certificate.resolve() == key.resolve():
        raise RequestRejected("renew.one-file", "certificate and key cannot go into the same file")


def finish(certificate: Path, key: Path) -> bool:
    """Complete a change of this pair that was interrupted; do nothing when there is none.

    Returns:
        Whether there was something to complete.

    Raises:
        StoreFailed: ``renew.pending-damaged`` or ``file.write-failed``.
    """
    pending = _pending(key)
    try:
        content = durable.read_private(pending)
    except RequestRejected as error:
        if error.code == "file.missing":
            return False
        raise
    key_pem, mark, chain_pem = content.partition(_END_OF_KEY)
    if not mark:
        raise StoreFailed(
            "renew.pending-damaged",
            f"{pending} should hold a new key and its certificate, and does not",
            hint="move it away and look at it: it was written by an interrupted rekey",
        )
    with durable.Staging() as staging:
        _stage(staging, certificate, key, key_pem, chain_pem)
    _remove(pending)
    return True


def _stage(staging: durable.Staging, certificate: Path, key: Path, key_pem: bytes, chain_pem: bytes) -> None:
    """Write both files beside their places; the commit then does 2 and 3 in this order."""
    staging.add(key, key_pem, mode=_mode(key, durable.PRIVATE) & ~0o077 | durable.PRIVATE, overwrite=True)
    staging.add(certificate, chain_pem, mode=_mode(certificate, durable.PUBLIC), overwrite=True)


def _remove(pending: Path) -> None:
    # 4. A leftover only repeats the same change.
    with contextlib.suppress(OSError):
        pending.unlink()


def _pending(key: Path) -> Path:
    return key.with_name(f".{key.name}.pending")


def _mode(path: Path, default: int) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return default
