"""A private key as it lies in a file, whatever the form: PEM, JSON Web Key, or JWK in a JWE.

Invariants: a form is told by the content, never by a file's name; a key in hand is of an accepted kind and strength; a
JWK keeps every member through a change of its password. No password and no key is in a ``repr`` or an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from online.jose import jwe, jwe_file
from online.jose.jwk import parse_private_jwk
from shared.errors import RequestRejected
from shared.keys import PrivateKey
from shared.keystore import KeyCipher, load_private_key, private_key_pem
from shared.keystore.software import LARGEST_KEY_FILE
from shared.terminal import SecretCallback


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """A private key, and the form that its file has."""

    key: PrivateKey = field(repr=False)
    jwk: bytes | None = field(default=None, repr=False)
    """The JSON of a JWK, as it was read; ``None`` for PEM."""


def parse_key_file(data: bytes, secret: SecretCallback, *, what: str) -> KeyFile:
    """Read a private key.

    Args:
        data: PEM in the forms of ``shared.keystore``, a private JWK, or a JWE that holds one.
        secret: asked for the password, only when the key is encrypted.
        what: how to call the file in a prompt or an error.

    Raises:
        RequestRejected: ``key.*``, ``jwk.*`` or ``jwe.*``.
        Unauthenticated: ``key.wrong-password`` or ``jwe.wrong-password``.
    """
    if len(data) > LARGEST_KEY_FILE:
        raise RequestRejected("key.too-large", f"the {what} is larger than {LARGEST_KEY_FILE} bytes")
    if b"-----BEGIN " in data:
        return KeyFile(key=load_private_key(data, secret, what=what))
    if jwe_file.is_encrypted(data):
        compact = jwe_file.compact_form(data, what=what)
        # Before anybody types a password for nothing.
        jwe.check_shape(compact)
        data = jwe.decrypt(compact, secret(f"Password of the {what}"))
    elif not data.lstrip().startswith(b"{"):
        raise RequestRejected(
            "key.unknown-form", f"the {what} is neither PEM nor a JSON Web Key", hint="DER is not read: convert it"
        )
    return KeyFile(key=parse_private_jwk(data.strip(), what=what).key, jwk=data.strip())


def render_key_file(
    file: KeyFile,
    password: bytes | None,
    *,
    cipher: KeyCipher = KeyCipher.AES256,
    rng: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Write a private key in the form that it had: PKCS#8 for PEM, JWE for a JWK.

    Args:
        file: the key.
        password: encrypts it; ``None`` leaves it in the clear.
        cipher: for PEM; a JWE is always A256GCM.
        rng: returns the asked number of random bytes.

    Raises:
        RequestRejected: ``key.empty-password`` or ``jwe.password``.
    """
    if file.jwk is None:
        return private_key_pem(file.key, password, cipher=cipher, rng=rng)
    if password is None:
        return file.jwk + b"\n"
    return jwe_file.file_form(jwe.encrypt(file.jwk, password, rng=rng))
