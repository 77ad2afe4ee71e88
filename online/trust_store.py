"""The roots that every program of this machine trusts: putting one of ours among them, and taking it out again.

Invariants: only a CA's certificate gets in, under a name that tells whose it is and by what fingerprint; what the
system keeps there itself is not touched; when the system's own program fails, the file goes away again; programs are
run by the paths where systems have them, without a shell and with an environment that is not the caller's.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from shared import durable
from shared.errors import PeerFailed, RequestRejected, Unsupported
from shared.keys import certificate_key, fingerprint
from shared.names import format_name
from shared.pem import certificate_pem

_SECONDS = 120.0
_DIRECTORIES = ("usr/local/sbin", "usr/sbin", "usr/bin", "sbin", "bin")
_PREFIX = "coldroot-"
_SHOWN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a family of systems keeps its roots."""

    anchors: str
    """Where an administrator puts them, without the first slash."""
    suffix: str
    """What their names must end with to be seen."""
    program: tuple[str, ...]
    """What makes the change take effect."""
    to_remove: tuple[str, ...] = ()
    """Further arguments when a file went: Debian's leaves links behind otherwise."""


# The first whose directory and program are there is it; a directory alone may be left over from another package.
_KINDS = (
    Kind(anchors="etc/pki/ca-trust/source/anchors", suffix=".pem", program=("update-ca-trust", "extract")),
    Kind(anchors="etc/ca-certificates/trust-source/anchors", suffix=".crt", program=("update-ca-trust", "extract")),
    Kind(anchors="etc/pki/trust/anchors", suffix=".pem", program=("update-ca-certificates",)),
    Kind(
        anchors="usr/local/share/ca-certificates",
        suffix=".crt",
        program=("update-ca-certificates",),
        to_remove=("--fresh",),
    ),
)


class TrustStore:
    """The trust store of one machine."""

    def __init__(self, base: Path = Path("/"), *, user: Callable[[], int] = os.geteuid) -> None:
        """Look at a machine.

        Args:
            base: the root of its file system.
            user: the number of the effective user.
        """
        self._base = base
        self._user = user

    def check(self) -> None:
        """Insist that the trust store can be changed, before anything else is done.

        Raises:
            RequestRejected: ``trust-store.not-root``.
            Unsupported: ``trust-store.unknown``.
        """
        if self._user() != 0:
            raise RequestRejected(
                "trust-store.not-root",
                "the trust store of the machine belongs to root",
                hint="run it again as root, such as by sudo",
            )
        self._kind()

    def install(self, root: x509.Certificate) -> Path:
        """Make every program of the machine trust a root.

        1. It is a CA's certificate, and this machine has a trust store that we know.
        2. The file appears; one that is there already is the same, for its name tells the fingerprint.
        3. The system's program takes it up. Fails it, a file that was not there before goes away again.

        Args:
            root: to be trusted.

        Returns:
            The file.

        Raises:
            RequestRejected: ``trust-store.not-root`` or ``trust-store.no-root``.
            Unsupported: ``trust-store.unknown``.
            PeerFailed: ``trust-store.program``.
            StoreFailed: ``file.write-failed``.
        """
        # 1.
        self.check()
        _check_root(root)
        kind, program = self._kind()
        # 2.
        path = self._file(kind, root)
        new = not path.exists()
        if new:
            durable.write_new(path, certificate_pem(root))
        # 3.
        try:
            _run(program)
        except PeerFailed:
            if new:
                path.unlink()
            raise
        return path

    def uninstall(self, root: x509.Certificate) -> Path | None:
        """Take a root out again that ``install`` put in.

        Returns:
            The file that went; ``None`` when it was not there.

        Raises:
            RequestRejected: ``trust-store.not-root``.
            Unsupported: ``trust-store.unknown``.
            PeerFailed: ``trust-store.program``; the file is gone, and the program must be run again.
            StoreFailed: ``file.write-failed``.
        """
        self.check()
        kind, program = self._kind()
        path = self._file(kind, root)
        if not path.exists():
            return None
        durable.erase(path)
        _run([*program, *kind.to_remove])
        return path

    def _kind(self) -> tuple[Kind, list[str]]:
        for kind in _KINDS:
            if (self._base / kind.anchors).is_dir():
                name, *arguments = kind.program
                for directory in _DIRECTORIES:
                    program = self._base / directory / name
                    if program.is_file():
                        return kind, [str(program), *arguments]
        raise Unsupported(
            "trust-store.unknown",
            "this system's trust store is of no kind that we know",
            hint="known are those of Debian, Fedora, Arch and SUSE; they come with the package ca-certificates",
        )

    def _file(self, kind: Kind, root: x509.Certificate) -> Path:
        return self._base / kind.anchors / f"{_PREFIX}{fingerprint(root)[:_SHOWN]}{kind.suffix}"


def _check_root(root: x509.Certificate) -> None:
    """Insist on a CA that signed itself: anything else would be trusted for more than it is, or for nothing."""
    certificate_key(root)
    try:
        is_ca = root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        is_ca = False
    if not is_ca or root.subject != root.issuer:
        raise RequestRejected("trust-store.no-root", f"{format_name(root.subject)} is not the certificate of a root CA")


def _run(program: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 (a fixed program by its full path)
            program,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(program, type(error).__name__) from None
    if done.returncode != 0:
        raise _failed(program, f"exit status {done.returncode}")


def _failed(program: list[str], how: str) -> PeerFailed:
    return PeerFailed("trust-store.program", f"{program[0]} failed: {how}", hint="run it by hand to see why")
