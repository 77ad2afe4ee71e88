"""Putting a certificate, or a certificate and its key, where a server reads them.

Invariants:

* a key lies on disk, flushed and private, before the certificate for it appears;
* a single file is replaced atomically and keeps mode, owner, group and SELinux context;
* a pair that replaces a pair goes through a *pending file*: one hidden file beside the key that holds both. Once it
  is on disk the change will happen, whatever is killed; until then nothing has. ``finish`` completes it.

The order for a pair, and what a crash after each step leaves:

1. pending file written beside the key, flushed, renamed into place — before: the old pair, after: the old pair, and
   the next command finishes the change;
2. key replaced — for a moment the files do not match; the pending file holds both new parts, nothing is lost;
3. certificate replaced — the new pair;
4. pending file removed — the new pair.

Two plain files cannot be replaced in one instant; a server that reads between 2 and 3 sees a mismatch and must read
again. Where that must not be, the pair is named through a link to a directory (``online.renewal.versions``), which is
turned in one instant. A link in the place of a file is refused: replacing it would leave the file behind it stale.

Of several processes that install a pair, one does at a time: the directory of the key is their lock. Whoever has it
removes what killed ones left behind: hidden files beside the pair, which may hold keys that came to nothing. What a CA
answered about a certificate that another process replaced meanwhile is not installed: it may be for the key of before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cryptography import x509

from online.renewal.attributes import add_file, attributes_of
from online.renewal.versions import install_version, is_versioned, version_name
from shared import durable
from shared.errors import RequestRejected, StoreFailed
from shared.pem import certificate_pem, load_certificates

_END_OF_KEY = b"\n=====CERTIFICATE=====\n"
# More than a chain or a key takes.
_ROOM = 16 << 10


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


def check_room(certificate: Path, key: Path | None) -> None:
    """Insist that a pair can be replaced, before a CA is asked.

    What it answers and nobody can write is lost, but to the CA the certificate in use has a successor then: it may
    take the next attempt for a thief's.

    Args:
        certificate: the file that shall be replaced.
        key: the file of its key, if that shall be replaced too.

    Raises:
        StoreFailed: ``file.write-failed``.
    """
    places = (certificate,) if key is None else (key, certificate)
    if is_versioned(*places):
        # Where the versions lie, whose parent the link may not be.
        places = (certificate.parent.resolve().with_name(certificate.name),)
    with _turn_at(*places), contextlib.ExitStack() as stack:
        staging = durable.Staging()
        stack.callback(staging.discard)
        for place in places:
            add_file(staging, place, bytes(_ROOM), attributes_of(place, default=durable.PRIVATE))


def install_certificate(
    path: Path,
    chain: Sequence[x509.Certificate],
    *,
    overwrite: bool,
    key: Path | None = None,
    further: Mapping[Path, bytes] | None = None,
    replacing: x509.Certificate | None = None,
) -> None:
    """Write a chain, leaf first, in one step; what stood there stays whole until then.

    Args:
        path: the file.
        chain: leaf and intermediates.
        overwrite: replace a file that stands there, keeping what it is besides its content.
        key: the file of its key, which stays as it is; says whether the pair is versioned.
        further: private files that hold the certificate too; written after it, or with it where it is versioned.
        replacing: the certificate that it succeeds, where another must not be overwritten.

    Raises:
        RequestRejected: as ``check_output``, ``renew.version``, or ``renew.replaced`` when another one lies there now.
        StoreFailed: ``file.write-failed``; the certificate did not change, or a further file did not.
    """
    check_output(path, overwrite=overwrite)
    pem = certificate_pem(*chain)
    if overwrite and key is not None and is_versioned(path, key):
        _install_version(chain, {path: (pem, durable.PUBLIC)}, further or {}, path, replacing)
        return
    # A key that may be read can lie where one may not look around; then nobody can rekey there as we do.
    beside_key = key is not None and os.access(key.parent, os.R_OK)
    with _turn_at(path, directory=key.parent if key is not None and beside_key else path.parent):
        if replacing is not None:
            _check_current(path, replacing, key)
        if overwrite:
            _replace(path, pem, durable.PUBLIC)
        else:
            durable.write_new(path, pem)
    write_further(further or {})


def install_pair(
    certificate: Path,
    key: Path,
    chain: Sequence[x509.Certificate],
    key_pem: bytes,
    *,
    overwrite: bool,
    further: Mapping[Path, bytes] | None = None,
    replacing: x509.Certificate | None = None,
) -> None:
    """Write a new key and its certificate.

    Without ``overwrite`` both files appear or neither does. With it, the order of this module's head holds.

    Args:
        certificate: file of the chain.
        key: file of the key.
        chain: leaf and intermediates.
        key_pem: the private key as it shall lie on disk.
        overwrite: replace files that stand there.
        further: as for ``install_certificate``.
        replacing: as for ``install_certificate``.

    Raises:
        RequestRejected: as ``install_certificate``, or ``output.same-file`` when both paths are the same.
        StoreFailed: ``file.write-failed``.
    """
    check_pair_outputs(certificate, key, overwrite=overwrite)
    pem = certificate_pem(*chain)
    if overwrite and is_versioned(certificate, key):
        files = {key: (key_pem, durable.PRIVATE), certificate: (pem, durable.PUBLIC)}
        _install_version(chain, files, further or {}, certificate, replacing)
        return
    if not certificate.exists() and not key.exists():
        with _turn_at(key, certificate), durable.Staging() as staging:
            staging.add(key, key_pem, mode=durable.PRIVATE)
            staging.add(certificate, pem, mode=durable.PUBLIC)
    else:
        with _turn_at(key, _pending(key), certificate):
            if replacing is not None:
                _check_current(certificate, replacing, key)
            _replace_pair(certificate, key, pem, key_pem)
    write_further(further or {})


def write_further(files: Mapping[Path, bytes]) -> None:
    """Write private files that hold a certificate and its key in another form, each in one step.

    Raises:
        StoreFailed: ``file.write-failed``.
    """
    for path, content in files.items():
        with _turn_at(path):
            _replace(path, content, durable.PRIVATE)


def check_pair_outputs(certificate: Path, key: Path, *, overwrite: bool) -> None:
    """Refuse the output paths of a pair before any work is done for it.

    Raises:
        RequestRejected: as ``check_output``, or ``output.same-file``.
    """
    for path in (certificate, key):
        check_output(path, overwrite=overwrite)
    if certificate.resolve() == key.resolve():
        raise RequestRejected("output.same-file", "certificate and key cannot go into the same file")


def finish(certificate: Path, key: Path) -> bool:
    """Complete a change of this pair that was interrupted; do nothing when there is none.

    Keys that a killed process had only begun to write lie there under hidden names, of no use to anybody but a thief:
    they go, too.

    Returns:
        Whether there was something to complete.

    Raises:
        StoreFailed: ``renew.pending-damaged`` or ``file.write-failed``.
    """
    pending = _pending(key)
    if not key.parent.is_dir() or not (os.path.lexists(pending) or _begun(key)):
        return False
    with _turn_at(key, pending, certificate):
        try:
            content = durable.read_private(pending)
        except RequestRejected as error:
            # Another process finished it while we waited for our turn.
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


def _replace_pair(certificate: Path, key: Path, pem: bytes, key_pem: bytes) -> None:
    # 1.
    pending = _pending(key)
    durable.replace(pending, key_pem + _END_OF_KEY + pem, mode=durable.PRIVATE)
    staging = durable.Staging()
    try:
        _stage(staging, certificate, key, key_pem, pem)
    except StoreFailed:
        # Nothing was replaced yet (a full disk): the old pair stays, and no trace of the new one.
        staging.discard()
        _remove(pending)
        raise
    staging.commit()
    _remove(pending)


def _stage(staging: durable.Staging, certificate: Path, key: Path, key_pem: bytes, chain_pem: bytes) -> None:
    """Write both files beside their places; the commit then does 2 and 3 in this order."""
    add_file(staging, key, key_pem, attributes_of(key, default=durable.PRIVATE))
    add_file(staging, certificate, chain_pem, attributes_of(certificate, default=durable.PUBLIC))


def _check_current(path: Path, expected: x509.Certificate, key: Path | None) -> None:
    """Insist that nobody replaced a certificate, or its key alone so far, since we read it."""
    found = load_certificates(durable.read_file(path), what=f"file {path}")[0]
    if found != expected or (key is not None and os.path.lexists(_pending(key))):
        raise RequestRejected(
            "renew.replaced",
            f"{path} was replaced by another program while the CA was asked, so what the CA sent was not installed",
        )


def _install_version(
    chain: Sequence[x509.Certificate],
    files: Mapping[Path, tuple[bytes, int]],
    further: Mapping[Path, bytes],
    certificate: Path,
    replacing: x509.Certificate | None,
) -> None:
    """Put into one new version whatever is named through its link, and write the rest after it."""
    link = next(iter(files)).parent
    inside = {**files, **{path: (content, durable.PRIVATE) for path, content in further.items() if path.parent == link}}
    with _turn_at(link):
        if replacing is not None:
            _check_current(certificate, replacing, None)
        install_version(
            link,
            version_name(chain[0]),
            {path.name: (content, attributes_of(path, default=mode)) for path, (content, mode) in inside.items()},
        )
    write_further({path: content for path, content in further.items() if path.parent != link})


def _replace(path: Path, content: bytes, mode: int) -> None:
    with durable.Staging() as staging:
        add_file(staging, path, content, attributes_of(path, default=mode))


@contextlib.contextmanager
def _turn_at(*places: Path, directory: Path | None = None) -> Iterator[None]:
    """Wait for our turn at a directory, or that of the first place, then clear up around all of them."""
    directory = directory or places[0].parent
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{directory} cannot be opened: {error.strerror}") from None
    try:
        # A network file system may know no such lock; it is a courtesy between processes, not what keeps pairs whole.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Whoever writes such a file holds the turn until it is in place: what lies here now is nobody's.
        for place in places:
            for each in durable.staged_for(place):
                _remove(each)
        yield
    finally:
        os.close(descriptor)


def _remove(pending: Path) -> None:
    # 4. A leftover only repeats the same change.
    with contextlib.suppress(OSError):
        pending.unlink()


def _begun(key: Path) -> tuple[Path, ...]:
    return durable.staged_for(_pending(key)) + durable.staged_for(key)


def _pending(key: Path) -> Path:
    return key.with_name(f".{key.name}.pending")
