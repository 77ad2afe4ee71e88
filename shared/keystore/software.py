"""Private keys in PEM files: PKCS#8 written, PKCS#8 and the older forms read.

Invariants:

* a key file is private to its owner, or it is not read;
* a key in hand is of an allowed kind and strength (``shared.keys``);
* what is written is PKCS#8 (RFC 5958); under a password it is PBES2 (RFC 8018) with PBKDF2-HMAC-SHA-256 of
  600 000 rounds and AES-CBC, of 256 bits unless a shorter key is asked for, readable by OpenSSL and by ``step``;
* a password is asked for only when the file is encrypted, and never stands in an error.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared import durable
from shared.errors import RequestRejected, Unauthenticated, Unsupported
from shared.keys import PrivateKey, check_public_key
from shared.keystore.rfc1421 import decrypted_aes192, is_aes192
from shared.terminal import SecretCallback

# An RSA-8192 key is 6.4 kB of PEM.
LARGEST_KEY_FILE = 32 << 10
ASKS_PASSWORD = "Password of the "  # noqa: S105 (a question, no password)
"""How the question for a password of a key file begins; the name of the file follows."""
# The library itself takes 2048 rounds, too few for a password that a person chose; OWASP asks for 600 000 with SHA-256.
PBKDF2_ROUNDS = 600_000
_SALT_BYTES = 16
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\r?\n(.{0,32768}?)-----END \1-----", re.DOTALL)
_TOLERATED = frozenset({b"EC PARAMETERS"})
_PRIVATE_LABELS = frozenset({b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"EC PRIVATE KEY", b"RSA PRIVATE KEY"})


class KeyCipher(StrEnum):
    """What encrypts a key under a password: AES in CBC mode, by the length of its key."""

    AES128 = "aes128"
    AES192 = "aes192"
    AES256 = "aes256"


def read_private_key(path: Path, secret: SecretCallback) -> PrivateKey:
    """Read a key from a file that is private to its owner.

    Args:
        path: the PEM file.
        secret: asked for the password when the key is encrypted.

    Raises:
        RequestRejected: ``file.*``, and as ``load_private_key``.
    """
    return load_private_key(durable.read_private(path, limit=LARGEST_KEY_FILE), secret, what=f"key file {path}")


def load_private_key(data: bytes, secret: SecretCallback, *, what: str) -> PrivateKey:
    """Read one private key in PEM: PKCS#8, PKCS#1 or SEC 1, encrypted (RFC 1421 headers too) or not.

    Args:
        data: the file's content.
        secret: asked for the password, only when the key is encrypted.
        what: how to call the file in an error or a prompt.

    Raises:
        RequestRejected: ``key.not-pem``, ``key.malformed``, ``key.weak`` or ``key.unsupported``.
        Unauthenticated: ``key.wrong-password``.
    """
    label, block = _private_block(data, what)
    encrypted = label == b"ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in block
    password = secret(f"{ASKS_PASSWORD}{what}") if encrypted else None
    try:
        if password is not None and is_aes192(block):
            block, password = decrypted_aes192(block, password), None
        key = serialization.load_pem_private_key(block, password or None)
    except UnsupportedAlgorithm:
        raise Unsupported(
            "key.unsupported", f"the {what} is of a kind, or encrypted in a way, that is unknown"
        ) from None
    except (ValueError, TypeError):
        if encrypted:
            raise Unauthenticated(
                "key.wrong-password", f"the password does not open the {what}, or the file is damaged"
            ) from None
        raise RequestRejected("key.malformed", f"the {what} holds a malformed private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise RequestRejected("key.unsupported", f"the {what} holds a key of a kind that is not accepted")
    check_public_key(key.public_key(), what=f"key in the {what}")
    return key


def private_key_pem(
    key: PrivateKey,
    password: bytes | None,
    *,
    rng: Callable[[int], bytes] = os.urandom,
    rounds: int = PBKDF2_ROUNDS,
    cipher: KeyCipher = KeyCipher.AES256,
) -> bytes:
    """Write a software key as PKCS#8 PEM.

    Args:
        key: not an HSM's.
        password: encrypts the key; ``None`` leaves it in the clear.
        rng: returns the asked number of random bytes, for salt and initialisation vector.
        rounds: of PBKDF2; each guess of the password costs so many.
        cipher: encrypts the key.

    Raises:
        RequestRejected: ``key.empty-password``.
        Unsupported: ``hsm.not-exportable``.
    """
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    if password is None:
        return _pem(b"PRIVATE KEY", plain)
    if not password:
        raise RequestRejected("key.empty-password", "an empty password protects nothing")
    salt, vector = rng(_SALT_BYTES), rng(_SALT_BYTES)
    size, identifier = _CIPHERS[cipher]
    wrapping = PBKDF2HMAC(hashes.SHA256(), size, salt, rounds).derive(password)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(wrapping), modes.CBC(vector)).encryptor()
    sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    return _pem(b"ENCRYPTED PRIVATE KEY", _encrypted_key_info(salt, rounds, identifier, vector, sealed))


def _private_block(data: bytes, what: str) -> tuple[bytes, bytes]:
    """Find the one private key among the PEM blocks; OpenSSL may write the curve's parameters before it."""
    if len(data) > LARGEST_KEY_FILE:
        raise RequestRejected("key.not-pem", f"the {what} is larger than {LARGEST_KEY_FILE} bytes")
    blocks = [(match[1], match[0] + b"\n") for match in _BLOCK.finditer(data)]
    if not blocks or data.count(b"-----BEGIN ") != len(blocks):
        raise RequestRejected("key.not-pem", f"the {what} is not a private key in PEM")
    wanted = [(label, block) for label, block in blocks if label not in _TOLERATED]
    if len(wanted) != 1 or wanted[0][0] not in _PRIVATE_LABELS:
        raise RequestRejected("key.not-pem", f"the {what} must hold one private key in PEM and nothing else")
    return wanted[0]


# OBJECT IDENTIFIERs of RFC 8018 appendix A and NIST AES, in DER.
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("06082a864886f70d0209")
# Octets of the AES key, and id-aes…-CBC.
_CIPHERS = {
    KeyCipher.AES128: (16, bytes.fromhex("0609608648016503040102")),
    KeyCipher.AES192: (24, bytes.fromhex("0609608648016503040116")),
    KeyCipher.AES256: (32, bytes.fromhex("060960864801650304012a")),
}
_NULL = b"\x05\x00"


def _encrypted_key_info(salt: bytes, rounds: int, identifier: bytes, vector: bytes, sealed: bytes) -> bytes:
    """EncryptedPrivateKeyInfo (RFC 5958 §3) with PBES2 parameters (RFC 8018 appendix A.4)."""
    prf = _sequence(_HMAC_SHA256, _NULL)
    derivation = _sequence(_PBKDF2, _sequence(_octets(salt), _integer(rounds), prf))
    encryption = _sequence(identifier, _octets(vector))
    return _sequence(_sequence(_PBES2, _sequence(derivation, encryption)), _octets(sealed))


def _sequence(*parts: bytes) -> bytes:
    return _tlv(0x30, b"".join(parts))


def _octets(value: bytes) -> bytes:
    return _tlv(0x04, value)


def _integer(value: int) -> bytes:
    # One bit more than the value needs, so that a leading one bit never makes it negative.
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 0x80:  # noqa: PLR2004 (X.690 §8.1.3.4: the short form)
        return bytes([tag, size]) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + value


def _pem(label: bytes, der: bytes) -> bytes:
    encoded = base64.b64encode(der)
    lines = [encoded[start : start + 64] for start in range(0, len(encoded), 64)]
    return b"\n".join([b"-----BEGIN " + label + b"-----", *lines, b"-----END " + label + b"-----", b""])
