"""The further files that ``online certificate`` can write: PKCS#12, and one PEM file with everything."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from cryptography import x509

from online.cli.options import FILE, done
from online.pkcs12 import Sealing, identity_file
from online.renewal.install import check_output
from shared import durable, terminal
from shared.errors import RequestRejected
from shared.keys import PrivateKey
from shared.keystore import private_key_pem
from shared.pem import certificate_pem


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherFiles:
    """What is wanted beside certificate and key. Nothing is asked for that is not wanted."""

    p12: Path | None
    pem: Path | None
    password_file: Path | None

    def prepare(self, *others: Path, overwrite: bool) -> ReadyFiles:
        """Look at the paths and get the password, before a token is spent.

        Args:
            others: files that the command writes anyway.
            overwrite: replace files that stand there.

        Raises:
            RequestRejected: ``file.*``, or ``output.same-file`` when two paths are the same.
        """
        wanted = [each for each in (self.p12, self.pem) if each is not None]
        for path in wanted:
            check_output(path, overwrite=overwrite)
        places = [each.resolve() for each in (*others, *wanted)]
        if len(set(places)) < len(places):
            raise RequestRejected("output.same-file", "two of the files to write are the same")
        ask = terminal.secret_from(self.password_file, confirm=True)
        password = ask(f"Password of the new file {self.p12}") if self.p12 is not None else None
        return ReadyFiles(files=self, overwrite=overwrite, password=password)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyFiles:
    """Further files of which only the content is missing."""

    files: FurtherFiles
    overwrite: bool
    password: bytes | None = field(repr=False)

    def write(self, chain: tuple[x509.Certificate, ...], key: PrivateKey) -> None:
        """Write all of them, 0600, or none.

        Raises:
            StoreFailed: ``file.write-failed``.
        """
        content = []
        if self.files.p12 is not None:
            sealed = identity_file(chain, key, Sealing(password=self.password))
            content.append(("PKCS#12 file", self.files.p12, sealed))
        if self.files.pem is not None:
            content.append(("Combined PEM file", self.files.pem, certificate_pem(*chain) + private_key_pem(key, None)))
        with durable.Staging() as staging:
            for _, path, data in content:
                staging.add(path, data, mode=durable.PRIVATE, overwrite=self.overwrite)
        for label, path, _ in content:
            done(label, path)


def further_files_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--p12``, ``--p12-password-file`` and ``--pem``; the command gets a ``FurtherFiles`` as ``further``."""

    @functools.wraps(command)
    def collected(*, p12: Path | None, pem: Path | None, p12_password_file: Path | None, **others: Any) -> None:
        if p12_password_file is not None and p12 is None:
            raise click.UsageError("--p12-password-file is the password of the file of --p12")
        command(further=FurtherFiles(p12=p12, pem=pem, password_file=p12_password_file), **others)

    decorated = click.option(
        "--pem", type=FILE, help="Also write certificate, intermediates and key to this one file."
    )(collected)
    decorated = click.option("--p12-password-file", type=FILE, help="Private file with the password of --p12.")(
        decorated
    )
    return click.option("--p12", type=FILE, help="Also write all of it to this PKCS#12 file.")(decorated)
