"""A pair in the forms that some programs want: certificate and key in one PEM file, or in a PKCS#12 file.

Invariants: a form is written only after the pair that it is made from; a form that an interrupted run left behind is
found out by its content, and written anew; both hold the key, so both are private.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from online.client import Chain
from online.pkcs12 import Sealing, identity_file
from online.renewal.install import check_output
from shared import durable
from shared.errors import RequestRejected, Unsupported
from shared.keys import PrivateKey
from shared.pem import certificate_pem


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Further files that a pair is kept in."""

    combined: Path | None = None
    """The chain, then the key as its file has it, encrypted or not."""
    pkcs12: Path | None = None
    pkcs12_password_file: Path | None = None
    """Private file; what follows from a password is only as secret as this."""

    def __post_init__(self) -> None:
        """Refuse half of what is needed.

        Raises:
            RequestRejected: ``renew.pkcs12``.
        """
        if (self.pkcs12 is None) != (self.pkcs12_password_file is None):
            raise RequestRejected("renew.pkcs12", "a PKCS#12 file and the file of its password go together")

    def __bool__(self) -> bool:
        return self.combined is not None or self.pkcs12 is not None

    def check(self) -> None:
        """Refuse places where nothing can be written, before any work is done.

        Raises:
            RequestRejected: as ``check_output``.
        """
        for path in (self.combined, self.pkcs12):
            if path is not None:
                check_output(path, overwrite=True)

    def render(self, chain: Chain, key: PrivateKey, key_pem: bytes | None) -> Mapping[Path, bytes]:
        """Return the files for a pair.

        Args:
            chain: leaf first.
            key: its key.
            key_pem: the key's own file; ``None`` when an HSM has it.

        Raises:
            RequestRejected: ``file.*`` or ``pkcs12.*``.
            Unsupported: ``renew.combined`` or ``pkcs12.key-not-exportable``.
        """
        found: dict[Path, bytes] = {}
        if self.combined is not None:
            found[self.combined] = _combined(chain, key_pem)
        if self.pkcs12 is not None:
            found[self.pkcs12] = identity_file(chain, key, Sealing(password=self._password()))
        return found

    def stale(self, chain: Chain, key: PrivateKey, key_pem: bytes | None) -> Mapping[Path, bytes]:
        """Return only those files that are missing or do not hold this pair.

        Raises:
            RequestRejected: as ``render``.
            Unsupported: as ``render``.
        """
        found: dict[Path, bytes] = {}
        if self.combined is not None:
            content = _combined(chain, key_pem)
            if _read(self.combined) != content:
                found[self.combined] = content
        if self.pkcs12 is not None and not _holds(_read(self.pkcs12), self._password(), chain[0], key):
            found[self.pkcs12] = identity_file(chain, key, Sealing(password=self._password()))
        return found

    def _password(self) -> bytes:
        assert self.pkcs12_password_file is not None
        return durable.read_secret(self.pkcs12_password_file)


def _combined(chain: Chain, key_pem: bytes | None) -> bytes:
    if key_pem is None:
        raise Unsupported("renew.combined", "a key in an HSM cannot be written into a file with its certificate")
    return certificate_pem(*chain) + key_pem.rstrip(b"\n") + b"\n"


def _read(path: Path) -> bytes | None:
    try:
        return durable.read_file(path)
    except RequestRejected as error:
        if error.code == "file.missing":
            return None
        raise


def _holds(content: bytes | None, password: bytes, leaf: x509.Certificate, key: PrivateKey) -> bool:
    """Tell whether a PKCS#12 file opens with the password and holds the pair."""
    if content is None:
        return False
    try:
        found_key, found_leaf, _ = pkcs12.load_key_and_certificates(content, password)
    except ValueError:
        return False
    return found_leaf == leaf and found_key is not None and found_key.public_key() == key.public_key()
