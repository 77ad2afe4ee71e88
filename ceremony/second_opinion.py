"""A second implementation's opinion of a chain: the openssl command line, where it is installed.

Two implementations that share no code rarely share a mistake. openssl is optional: a machine without it can
still verify, and the transcript then says that nobody else was asked. So it is with a kind of key that this openssl
does not know yet: ML-DSA came with version 3.5.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import SignatureAlgorithmOID

from shared.errors import Fatal
from shared.keys import PostQuantum, ca_key, kind_of
from shared.pem import certificate_pem

_TIMEOUT_SECONDS = 30


def openssl_verifies(root: x509.Certificate, below: Sequence[x509.Certificate], *, at: datetime) -> str | None:
    """Have openssl verify a root's self-signature and each certificate below it.

    Args:
        root: the trust anchor.
        below: certificates that it signed.
        at: aware UTC, the moment at which the chain must be valid.

    Returns:
        The program's version, or ``None`` when it is not installed or does not know the kind of key.

    Raises:
        Fatal: ``second-opinion.refused`` when it does not accept a chain that we accepted.
    """
    program = _program(root, *below)
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


def openssl_verifies_path(
    anchor: x509.Certificate, between: Sequence[x509.Certificate], end: x509.Certificate, *, at: datetime
) -> str | None:
    """Have openssl verify one path through certificates that nobody trusts by themselves.

    Args:
        anchor: the only certificate that is trusted.
        between: certificates that may lead from it to the end.
        end: the certificate that the path must reach.
        at: aware UTC, the moment at which the path must be valid.

    Returns:
        The program's version, or ``None`` when it is not installed or does not know the kind of key.

    Raises:
        Fatal: ``second-opinion.refused``.
    """
    program = _program(anchor, *between, end)
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / name for name in ("anchor.pem", "between.pem", "end.pem")]
        for path, certificates in zip(paths, ((anchor,), between, (end,)), strict=True):
            path.write_bytes(certificate_pem(*certificates))
        # It takes a file without certificates for a damaged one.
        untrusted = ["-untrusted", str(paths[1])] if between else []
        done = _run(
            program, "verify", "-x509_strict", "-attime", str(int(at.timestamp())), "-no-CApath", "-no-CAstore",
            "-CAfile", str(paths[0]), *untrusted, str(paths[2]),
        )  # fmt: skip
        if done.returncode != 0:
            raise Fatal("second-opinion.refused", "openssl finds no path that this program finds")
        return _run(program, "version").stdout.strip()


def openssl_verifies_list(issuer: x509.Certificate, der: bytes) -> str | None:
    """Have openssl verify a revocation list's signature.

    Args:
        issuer: the CA whose list it is.
        der: the list.

    Returns:
        The program's version, or ``None`` when it is not installed or does not know the kind of key.

    Raises:
        Fatal: ``second-opinion.refused``.
    """
    program = _program(issuer)
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        anchor, path = Path(scratch) / "issuer.pem", Path(scratch) / "list.crl"
        anchor.write_bytes(certificate_pem(issuer))
        path.write_bytes(der)
        done = _run(program, "crl", "-inform", "DER", "-in", str(path), "-noout", "-CAfile", str(anchor))
        # Its exit status is 0 for a bad signature too.
        if done.returncode != 0 or "verify OK" not in done.stderr:
            raise Fatal("second-opinion.refused", "openssl refuses a revocation list that this program accepts")
        return _run(program, "version").stdout.strip()


def _program(*certificates: x509.Certificate) -> str | None:
    """Return the program, unless a key or a signature of these certificates is of a kind that it does not know."""
    program = shutil.which("openssl")
    if program is None:
        return None
    if any(PostQuantum.ML_DSA_65 is kind_of(ca_key(each)) or _is_ml_dsa(each) for each in certificates):
        known = _run(program, "list", "-public-key-algorithms").stdout
        return program if PostQuantum.ML_DSA_65.upper() in known.upper() else None
    return program


def _is_ml_dsa(certificate: x509.Certificate) -> bool:
    return certificate.signature_algorithm_oid == SignatureAlgorithmOID.ML_DSA_65


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 (a fixed program, no shell, paths of our own)
            [program, *arguments], capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS, env={}
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        raise Fatal("second-opinion.failed", "openssl could not be run") from None
