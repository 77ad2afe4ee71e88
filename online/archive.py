"""Certificates that left the database: one JSON document a line, one file a month of their ends.

Invariants: a line is on the disk before its certificate goes from the database, so that each is in one place at least;
after a crash in between it stands in both, and its line will stand twice. Nothing here is secret, and the files are
private nevertheless, as the database is.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from online.store import CertificateRow
from shared import durable
from shared.clock import rfc3339
from shared.errors import StoreFailed


class Archive:
    """The files in one directory. Processes that add at the same time do so one after the other."""

    def __init__(self, directory: Path) -> None:
        """Take a directory; it is made with the first certificate."""
        self._directory = directory

    def add(self, certificates: Sequence[CertificateRow]) -> None:
        """Append certificates; they are on the disk when this returns.

        Raises:
            StoreFailed: ``file.write-failed``; some may have been appended.
        """
        durable.make_directory(self._directory, private=True)
        with _alone(self._directory):
            for month, rows in groupby(certificates, key=lambda row: f"{row.not_after:%Y-%m}"):
                path = self._directory / f"expired-{month}.jsonl"
                lines = b"\n".join(map(line_of, rows))
                if not path.exists():
                    durable.write_new(path, b"", mode=durable.PRIVATE)
                # What a power cut left of a line stands alone; its certificate is in the database still.
                durable.append_line(path, lines if _is_whole(path) else b"\n" + lines)


def line_of(row: CertificateRow) -> bytes:
    """Write a certificate as one line of JSON, without the line's end."""
    document = {
        "serial": str(row.serial),
        "subject": row.subject,
        "sans": row.sans,
        "notBefore": rfc3339(row.not_before),
        "notAfter": rfc3339(row.not_after),
        "provisioner": row.provisioner_name,
        "provisionerID": row.provisioner_id,
        "kind": row.kind.value,
        "parent": None if row.parent is None else str(row.parent),
        "keyDigest": row.key_digest,
        "crt": base64.b64encode(row.der).decode("ascii"),
    }
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{directory} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) == 0:
                return True
            file.seek(-1, 2)
            return file.read(1) == b"\n"
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{path} cannot be read: {error.strerror}") from None
