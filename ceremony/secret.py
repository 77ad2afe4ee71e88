"""The ceremony secret: 32 random bytes that unlock everything, and what is derived from them.

The secret is what gets shared among the custodians, never a PIN: PINs are derived from it, so one set of
shares unlocks every PIN, and no PIN's length, alphabet or leading zero matters to the sharing.

Invariants:

* a secret is exactly 32 bytes and came out of HKDF-SHA256 (RFC 5869) over at least two random sources;
* every derived value has its own label, so none tells anything about another or about the secret;
* a secret shows itself in no ``repr``, is not pickled, and compares in constant time.

Python cannot wipe memory: the ceremony runs in a short-lived process without swap or core dumps (see
``ceremony.host``) on a machine that is switched off afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from shared.errors import Fatal, RequestRejected

SECRET_BYTES = 32
SOURCE_BYTES = 64

# 32 symbols, five bits each, without the look-alikes 0 O 1 I.
PIN_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
PIN_SYMBOLS = 32

_MIX_LABEL = b"coldroot ceremony secret v1\0"
_USER_PIN_LABEL = b"coldroot user pin v1"
_SO_PIN_LABEL = b"coldroot so pin v1"
_BACKUP_LABEL = b"coldroot backup key v1"
_CHECK_LABEL = b"coldroot secret check v1"
_COMMITMENT_TAG = b"coldroot secret commitment v1\0"

# 64 random bytes hold about 56 different values; fewer than 24 does not happen to a working generator.
_LEAST_DIFFERENT_BYTES = 24


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class CeremonySecret:
    """The 32 bytes that the custodians share.

    Raises:
        RequestRejected: ``secret.wrong-length`` when made from another number of bytes.
    """

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != SECRET_BYTES:
            raise RequestRejected("secret.wrong-length", f"a ceremony secret has {SECRET_BYTES} bytes")

    def __repr__(self) -> str:
        return "CeremonySecret(hidden)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CeremonySecret) and hmac.compare_digest(self.value, other.value)

    def __hash__(self) -> int:
        return hash(self.commitment())

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ceremony secret is never pickled or copied")

    def user_pin(self) -> bytes:
        """Return the token's user PIN: 32 symbols (160 bits) in ASCII."""
        return self._pin(_USER_PIN_LABEL)

    def so_pin(self) -> bytes:
        """Return the token's security officer PIN: 32 symbols (160 bits) in ASCII."""
        return self._pin(_SO_PIN_LABEL)

    def backup_key(self) -> bytes:
        """Return the key that wraps a backup of the root key: 32 bytes, another one after each rotation."""
        return self._derive(_BACKUP_LABEL, SECRET_BYTES)

    def commitment(self) -> str:
        """Return a digest that may be published, in 64 hex digits.

        It lets anybody who holds a recovered secret check it *before* a PIN is tried on a token that counts
        wrong tries. It tells nothing about the secret, which has 256 random bits.
        """
        return hashlib.sha256(_COMMITMENT_TAG + self._derive(_CHECK_LABEL, SECRET_BYTES)).hexdigest()

    def _pin(self, label: bytes) -> bytes:
        bits = int.from_bytes(self._derive(label, PIN_SYMBOLS * 5 // 8), "big")
        symbols = [PIN_ALPHABET[bits >> (5 * place) & 31] for place in reversed(range(PIN_SYMBOLS))]
        return "".join(symbols).encode("ascii")

    def _derive(self, label: bytes, length: int) -> bytes:
        # The secret is uniformly random already, so HKDF's expand step alone is right (RFC 5869 §3.3).
        return HKDFExpand(hashes.SHA256(), length, label).derive(self.value)


def mix_secret(os_random: bytes, hsm_random: bytes, dice: bytes = b"", *, context: bytes) -> CeremonySecret:
    """Mix the ceremony secret from several sources; it is unpredictable when any one of them is.

    1. Check each source: its length, that it is not stuck, that the two are not one and the same.
    2. Put them one after the other: both random parts have a fixed length, so the dice cannot be mistaken for
       either.
    3. Extract and expand with HKDF-SHA256, bound to this ceremony by ``context``.

    Args:
        os_random: 64 bytes from the operating system.
        hsm_random: 64 bytes from the HSM's generator.
        dice: what people rolled, digits 1 to 6 in ASCII; 2.58 bits a roll; may be empty.
        context: what names this ceremony, for example the plan's digest; not secret.

    Raises:
        RequestRejected: ``secret.dice`` when a roll is not a digit from 1 to 6.
        Fatal: ``secret.bad-source`` when a random source is too short, stuck, or given twice.
    """
    # 1.
    for name, source in (("operating system", os_random), ("HSM", hsm_random)):
        if len(source) != SOURCE_BYTES:
            raise Fatal("secret.bad-source", f"the {name} gave {len(source)} random bytes, not {SOURCE_BYTES}")
        if len(set(source)) < _LEAST_DIFFERENT_BYTES:
            raise Fatal("secret.bad-source", f"the {name}'s random generator is stuck: its bytes repeat")
    if hmac.compare_digest(os_random, hsm_random):
        raise Fatal("secret.bad-source", "the HSM gave the same random bytes as the operating system")
    for number, roll in enumerate(dice, start=1):
        if roll not in b"123456":
            raise RequestRejected("secret.dice", f"roll {number} is not a digit from 1 to 6")
    # 2.
    material = os_random + hsm_random + dice
    # 3.
    hkdf = HKDF(hashes.SHA256(), SECRET_BYTES, salt=None, info=_MIX_LABEL + context)
    return CeremonySecret(value=hkdf.derive(material))
