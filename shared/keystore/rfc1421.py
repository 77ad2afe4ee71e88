"""Private keys under the old PEM encryption (RFC 1421 headers, as OpenSSL and step use them) with AES-192.

``cryptography`` reads such files with AES-128, AES-256 and triple DES, and leaves AES-192 out, which ``step`` offers.
Only reading is here: one round of MD5 turns the password into the key, so nothing new is ever written this way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_KEY_BYTES = 24
_SALT_BYTES = 8
_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z ]+)-----\r?\n"
    rb"Proc-Type: 4,ENCRYPTED\r?\nDEK-Info: AES-192-CBC,([0-9A-Fa-f]{32})\r?\n\r?\n"
    rb"([A-Za-z0-9+/=\r\n]+)-----END \1-----"
)


def is_aes192(block: bytes) -> bool:
    """Tell whether a PEM block is encrypted in the one way that is read here."""
    return _BLOCK.search(block) is not None


def decrypted_aes192(block: bytes, password: bytes) -> bytes:
    """Return the same PEM block without its encryption.

    Args:
        block: for which ``is_aes192`` holds.
        password: as it was typed.

    Raises:
        ValueError: the password is wrong, or the block is damaged; which of the two cannot be told.
    """
    found = _BLOCK.search(block)
    if found is None:
        raise ValueError
    label, vector = found[1], bytes.fromhex(found[2].decode("ascii"))
    try:
        sealed = base64.b64decode(found[3], validate=False)
    except binascii.Error:
        raise ValueError from None
    decryptor = Cipher(algorithms.AES(_derived(password, vector[:_SALT_BYTES])), modes.CBC(vector)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    plain = unpadder.update(decryptor.update(sealed) + decryptor.finalize()) + unpadder.finalize()
    return b"-----BEGIN " + label + b"-----\n" + base64.encodebytes(plain) + b"-----END " + label + b"-----\n"


def _derived(password: bytes, salt: bytes) -> bytes:
    """OpenSSL's EVP_BytesToKey with MD5 and one round."""
    material, last = b"", b""
    while len(material) < _KEY_BYTES:
        last = hashlib.md5(last + password + salt, usedforsecurity=False).digest()
        material += last
    return material[:_KEY_BYTES]
