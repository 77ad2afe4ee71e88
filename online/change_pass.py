"""Changing the password of a private key file.

The order, and what a failure at each step leaves:

1. the output path is looked at — nothing was asked for, nothing changed;
2. the key is read from a private file and decrypted with the old password — nothing changed;
3. only then the new password is asked for — nothing changed;
4. the new content is made, and read back with the new password: it must hold the same key — nothing changed;
5. the file is replaced in one step, with the owner and the mode that it had — the old file or the new one, whole.

Invariant: at no moment is the key on a disk in the clear, unless that was asked for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from online.key_file import KeyFile, parse_key_file, render_key_file
from online.renewal.install import check_output
from shared import durable
from shared.errors import Fatal, RequestRejected
from shared.keys import spki
from shared.keystore import KeyCipher, is_pkcs11
from shared.keystore.software import LARGEST_KEY_FILE
from shared.terminal import SecretCallback


def change_password(
    path: str,
    *,
    old: SecretCallback,
    new: SecretCallback | None,
    cipher: KeyCipher | None = None,
    out: Path | None = None,
    force: bool = False,
    rng: Callable[[int], bytes] = os.urandom,
) -> Path:
    """Encrypt a key file with another password.

    Args:
        path: of the key.
        old: asked for the present password, only when the key is encrypted.
        new: asked for the new password; ``None`` to write the key in the clear.
        cipher: of a PEM file; AES-256 unless given.
        out: where to write; in place of the old file unless given.
        force: replace the file of ``out``.
        rng: returns the asked number of random bytes.

    Returns:
        The file that was written.

    Raises:
        RequestRejected: ``change-pass.hsm``, ``change-pass.cipher``, ``file.*``, ``key.*``, ``jwk.*`` or ``jwe.*``.
        Unauthenticated: ``key.wrong-password`` or ``jwe.wrong-password``.
        StoreFailed: ``file.write-failed``; the old file stays.
    """
    if is_pkcs11(path):
        raise RequestRejected(
            "change-pass.hsm",
            "a key in an HSM has no password of its own",
            hint="change the token's PIN with the tool of its maker",
        )
    source = Path(path.removeprefix("file:"))
    target = out or source
    # 1
    check_output(target, overwrite=out is None or force)
    # 2
    data = durable.read_private(source, limit=LARGEST_KEY_FILE)
    file = parse_key_file(data, old, what=f"key file {source}")
    if cipher is not None and (file.jwk is not None or new is None):
        raise RequestRejected(
            "change-pass.cipher", "the cipher can be chosen for an encrypted PEM key only", hint="leave --cipher away"
        )
    # 3
    password = new(f"New password of the key file {target}") if new is not None else None
    # 4
    content = render_key_file(file, password, cipher=cipher or KeyCipher.AES256, rng=rng)
    _prove(content, password, file)
    # 5
    if out is None:
        before = source.stat()
        owner = (before.st_uid, before.st_gid)
        durable.replace(source, content, mode=stat.S_IMODE(before.st_mode), owner=owner)
    else:
        with durable.Staging() as staging:
            staging.add(out, content, mode=durable.PRIVATE, overwrite=force)
    return target


def _prove(content: bytes, password: bytes | None, expected: KeyFile) -> None:
    """Open what will replace the only copy of a key, before it does."""

    def secret(prompt: str) -> bytes:
        del prompt
        assert password is not None
        return password

    if spki(parse_key_file(content, secret, what="new key file").key.public_key()) != spki(expected.key.public_key()):
        raise Fatal("change-pass.other-key", "the new file does not hold the key of the old one")
