"""OpenSSH itself, where it is installed: signs for people, and gives a second opinion about signatures."""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
from pathlib import Path

from ceremony.signing.sshsig import NAMESPACE
from shared.errors import Fatal, NotFound, RequestRejected

_TIMEOUT_SECONDS = 30
_SIGNING_SECONDS = 300


def openssh_verifies(name: str, key: bytes, *, message: bytes, signature: bytes) -> bool:
    """Have ``ssh-keygen`` check a signature that was found right here.

    Args:
        name: the signer's, without spaces and patterns.
        key: the blob of their public key.
        message: what was signed.
        signature: armoured.

    Returns:
        Whether it was asked: it is not installed everywhere.

    Raises:
        Fatal: ``second-opinion.refused``.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        return False
    with tempfile.TemporaryDirectory() as scratch:
        allowed, path = Path(scratch) / "allowed", Path(scratch) / "signature"
        kind = key[4 : 4 + int.from_bytes(key[:4], "big")].decode("ascii")
        allowed.write_text(f"{name} {kind} {base64.b64encode(key).decode('ascii')}\n", encoding="ascii")
        path.write_bytes(signature)
        command = [program, "-Y", "verify", "-f", str(allowed), "-I", name, "-n", NAMESPACE, "-s", str(path)]
        try:
            done = subprocess.run(  # noqa: S603 (a fixed program, no shell, paths of our own)
                command, input=message, capture_output=True, check=False, timeout=_TIMEOUT_SECONDS, env={}
            )
        except (OSError, subprocess.TimeoutExpired):
            raise Fatal("second-opinion.failed", "ssh-keygen could not be run") from None
    if done.returncode != 0:
        raise Fatal("second-opinion.refused", "ssh-keygen refuses a signature that this program accepts")
    return True


def openssh_signs(key: Path, message: bytes) -> bytes:
    """Have ``ssh-keygen`` sign; it asks for a passphrase or a touch by itself.

    Args:
        key: the private key's file, or the public one of a key that an agent or a token holds.
        message: what to sign.

    Returns:
        The armoured signature.

    Raises:
        NotFound: ``signature.no-openssh``.
        RequestRejected: ``signature.not-made``.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        raise NotFound(
            "signature.no-openssh", "ssh-keygen is not installed here", hint="sign elsewhere and use `countersign`"
        )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "head"
        path.write_bytes(message)
        command = [program, "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key.resolve()), str(path)]
        try:
            done = subprocess.run(  # noqa: S603 (a fixed program, no shell)
                command, check=False, timeout=_SIGNING_SECONDS, stdout=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired):
            done = None
        made = path.with_name("head.sig")
        if done is None or done.returncode != 0 or not made.exists():
            raise RequestRejected("signature.not-made", f"ssh-keygen did not sign with {key}")
        return made.read_bytes()
