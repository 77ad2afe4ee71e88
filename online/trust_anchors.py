"""The roots that a person names for one verification: files, folders, or those that the machine trusts anyway.

Invariant: a file that was named is read whole or refused; of a folder, and of the machine's own bundle, what is no
readable certificate is passed over, for such collections hold other things too.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from online.home import Home
from shared import durable
from shared.errors import ColdrootError, RequestRejected
from shared.pem import load_certificate

LARGEST_BUNDLE = 4 << 20
MOST_ROOTS = 1000
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"

Roots = tuple[x509.Certificate, ...]


def load_roots(option: str | None, home: Home) -> Roots:
    """Return the trusted roots.

    Args:
        option: ``--roots`` as step has it: a file, several files with commas between, or a folder. ``None``: the
            root that the home trusts, and where it trusts none, those of the operating system.
        home: of this CA or client.

    Raises:
        RequestRejected: ``roots.none``, ``file.*`` or ``certificate.malformed``.
    """
    if option is None:
        own = home.root_certificate
        found = _named(own) if own.exists() else _of_the_machine()
    else:
        found = tuple(
            root
            for each in option.split(",")
            for root in (_folder(Path(each)) if Path(each).is_dir() else _named(Path(each)))
        )
    if not found:
        raise RequestRejected(
            "roots.none",
            "there is no root certificate to trust",
            hint="give --roots FILE, or run online bootstrap once",
        )
    return found


def _named(path: Path) -> Roots:
    data = durable.read_file(path, limit=LARGEST_BUNDLE)
    if data[:1] == b"\x30":
        return (load_certificate(data, what=f"file {path}"),)
    return tuple(load_certificate(block, what=f"file {path}") for block in _blocks(data))


def _folder(path: Path) -> Roots:
    found: list[x509.Certificate] = []
    for each in sorted(path.iterdir()):
        if each.is_file():
            found.extend(_readable(each))
        if len(found) > MOST_ROOTS:
            raise RequestRejected("roots.too-many", f"{path} holds more than {MOST_ROOTS} certificates")
    return tuple(found)


def _of_the_machine() -> Roots:
    places = ssl.get_default_verify_paths()
    if places.cafile is not None:
        return tuple(_readable(Path(places.cafile)))
    return _folder(Path(places.capath)) if places.capath is not None else ()


def _readable(path: Path) -> Iterator[x509.Certificate]:
    try:
        blocks = list(_blocks(durable.read_file(path, limit=LARGEST_BUNDLE)))
    except ColdrootError:
        return
    for block in blocks:
        try:
            yield load_certificate(block)
        except ColdrootError:
            continue


def _blocks(data: bytes) -> Iterator[bytes]:
    for number, rest in enumerate(data.split(_BEGIN)[1:]):
        if number == MOST_ROOTS:
            raise RequestRejected("roots.too-many", f"a file holds more than {MOST_ROOTS} certificates")
        body, end, _ = rest.partition(_END)
        if end:
            yield _BEGIN + body + end + b"\n"
