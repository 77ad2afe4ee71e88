"""A second implementation's opinion of a chain: the openssl command line, where it is installed.

Two implementations that share no code rarely share a mistake. openssl is optional: a machine without it can
still verify, and the transcript then says that nobody else was asked.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509

from shared.errors import Fatal
from shared.pem import certificate_pem

_TIMEOUT_SECONDS = 30


def openssl_verifies(root: x509.Certificate, below: Sequence[x509.Certificate], *, at: datetime) -> str | None:
    """Have openssl verify a root's self-signature and each certificate below it.

    Args:
        root: the trust anchor.
        below: certificates that it signed.
        at: aware UTC, the moment at which the chain must be valid.

    Returns:
        The program's version, or ``None`` when it is not installed.

    Raises:
        Fatal: ``second-opinion.refused`` when it does not accept a chain that we accepted.
    """
    program = shutil.which("openssl")
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        anchor = Path(scratch) / "root.pem"
        anchor.write_bytes(certificate_pem(root))
        moment = str(int(at.timestamp()))
        for number, certificate in enumerate((root, *below)):
            path = Path(scratch) / f"{number}.pem"
            path.write_bytes(certificate_pem(certificate))
            options = ["-x509_strict", "-check_ss_sig", "-attime", moment, "-CAfile", str(anchor)]
            done = _run(program, "verify", *options, str(path))
            if done.returncode != 0:
                raise Fatal("second-opinion.refused", "openssl refuses a certificate that this program accepts")
        return _run(program, "version").stdout.strip()


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 (a fixed program, no shell, paths of our own)
            [program, *arguments], capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS, env={}
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        raise Fatal("second-opinion.failed", "openssl could not be run") from None
