"""SSH signatures over data (OpenSSH, PROTOCOL.sshsig), verified without OpenSSH: Ed25519, ECDSA and RSA keys.

Officers have SSH keys, often on hardware of their own; ``ssh-keygen -Y sign`` makes these signatures.

Invariants: one signature has one encoding (the armour is what OpenSSH writes, no byte is left over), so that no byte
of a filed signature can change unnoticed; the namespace is fixed, so that a signature made for anything else, a git
commit for instance, is none; SHA-1 is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from shared.errors import RequestRejected, Unauthenticated

NAMESPACE = "coldroot-transcript"
_MAGIC = b"SSHSIG"
_MAGIC_AND_VERSION = _MAGIC + b"\0\0\0\1"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_COLUMNS = 70
_LARGEST = 1 << 14
_SMALLEST_RSA_BITS = 2048
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_ECDSA: dict[bytes, tuple[type[ec.EllipticCurve], hashes.HashAlgorithm]] = {
    b"ecdsa-sha2-nistp256": (ec.SECP256R1, hashes.SHA256()),
    b"ecdsa-sha2-nistp384": (ec.SECP384R1, hashes.SHA384()),
    b"ecdsa-sha2-nistp521": (ec.SECP521R1, hashes.SHA512()),
}
_RSA: dict[bytes, hashes.HashAlgorithm] = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSignature:
    """A signature as it was read; ``check`` tells whether it holds."""

    key: bytes
    """The public key's blob, as it stands in base64 in an ``allowed_signers`` file."""
    algorithm: bytes
    value: bytes
    signed: bytes
    """What was signed for an empty message; see ``check``."""
    digest: str

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint, as ``ssh-keygen -l`` prints it."""
        return fingerprint(self.key)

    def check(self, message: bytes) -> None:
        """Insist that the signature is one of a message.

        Raises:
            Unauthenticated: ``signature.wrong``.
            RequestRejected: ``signature.unusable-key``.
        """
        signed = self.signed + _string(_HASHES[self.digest.encode("ascii")](message).digest())
        try:
            self._verify(load_key(self.key), signed)
        except (InvalidSignature, ValueError):
            raise Unauthenticated("signature.wrong", "the signature is not one of this key over this head") from None

    def _verify(self, key: object, signed: bytes) -> None:
        match key:
            case ed25519.Ed25519PublicKey() if self.algorithm == b"ssh-ed25519":
                key.verify(self.value, signed)
            case ec.EllipticCurvePublicKey() if self.algorithm in _ECDSA:
                curve, algorithm = _ECDSA[self.algorithm]
                if not isinstance(key.curve, curve):
                    raise InvalidSignature
                reader = _Reader(self.value)
                numbers = encode_dss_signature(reader.number(), reader.number())
                reader.end()
                key.verify(numbers, signed, ec.ECDSA(algorithm))
            case rsa.RSAPublicKey() if self.algorithm in _RSA:
                key.verify(self.value, signed, padding.PKCS1v15(), _RSA[self.algorithm])
            case _:
                raise InvalidSignature


def read_sshsig(data: bytes) -> SshSignature:
    """Read an armoured signature in its one encoding.

    Raises:
        RequestRejected: ``signature.malformed`` or ``signature.other-namespace``.
    """
    blob = _unarmour(data)
    if not blob.startswith(_MAGIC_AND_VERSION):
        raise _malformed()
    try:
        reader = _Reader(blob.removeprefix(_MAGIC_AND_VERSION))
        key, namespace, reserved, digest, signature = (reader.string() for _ in range(5))
        reader.end()
        inner = _Reader(signature)
        algorithm, value = inner.string(), inner.string()
        inner.end()
    except ValueError:
        raise _malformed() from None
    if reserved or digest not in _HASHES:
        raise _malformed()
    if namespace != NAMESPACE.encode("ascii"):
        raise RequestRejected(
            "signature.other-namespace",
            "the signature was made for something else than a ceremony's transcript",
            hint=f"sign with: ssh-keygen -Y sign -n {NAMESPACE}",
        )
    signed = _MAGIC + b"".join(_string(each) for each in (namespace, reserved, digest))
    return SshSignature(key=key, algorithm=algorithm, value=value, signed=signed, digest=digest.decode("ascii"))


def load_key(blob: bytes) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """Return the public key in a blob.

    Raises:
        RequestRejected: ``signature.unusable-key``: of another kind, too short, or not in the one encoding.
    """
    try:
        name = _Reader(blob).string()
        key = load_ssh_public_key(name + b" " + base64.b64encode(blob))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA_BITS:
        return key
    raise RequestRejected(
        "signature.unusable-key",
        "the signer's key is none that can be checked here",
        hint=f"use ssh-ed25519, ecdsa-sha2-nistp256/384/521, or RSA from {_SMALLEST_RSA_BITS} bits",
    )


def fingerprint(blob: bytes) -> str:
    """Return a key's fingerprint, as ``ssh-keygen -l`` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def _unarmour(data: bytes) -> bytes:
    try:
        first, *body, last, end = data.decode("ascii").split("\n")
        blob = base64.b64decode("".join(body), validate=True)
    except (ValueError, binascii.Error):
        raise _malformed() from None
    if len(data) > _LARGEST or (first, last, end) != (_BEGIN, _END, ""):
        raise _malformed()
    encoded = base64.b64encode(blob).decode("ascii")
    if body != [encoded[place : place + _COLUMNS] for place in range(0, len(encoded), _COLUMNS)]:
        raise _malformed()
    return blob


def _string(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


class _Reader:
    """Reads SSH's strings (RFC 4251 §5); ValueError for whatever does not fit."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, size: int) -> bytes:
        if len(self._data) < size:
            raise ValueError
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def string(self) -> bytes:
        return self.take(int.from_bytes(self.take(4), "big"))

    def number(self) -> int:
        """Read an mpint that is positive and has no needless byte."""
        content = self.string()
        value = int.from_bytes(content, "big")
        if not value or content != value.to_bytes(value.bit_length() // 8 + 1, "big"):
            raise ValueError
        return value

    def end(self) -> None:
        if self._data:
            raise ValueError


def _malformed() -> RequestRejected:
    return RequestRejected("signature.malformed", "this is not an SSH signature as ssh-keygen writes it")
