"""The root key: made in the token, and proven from what the token says of it.

Invariant: a key that ``check_attributes`` let pass was made inside, was never anywhere else, cannot leave, and
can do nothing but sign. (The token's word is the evidence; an attestation by the vendor would be a better one.)
Where the plan allows a backup, the evidence is weaker and says so: the key can leave, wrapped.

A rehearsal may go on with less: with an attribute that the module is known to misreport (``shared.keystore.quirks``),
or with a software key for practice. Both are named, by the act and by whoever verifies.
"""

from __future__ import annotations

from collections.abc import Mapping

from ceremony.hsm.practice import SOFTWARE
from shared.errors import Fatal
from shared.keys import CaKind, KeyKind
from shared.keystore import CaHsmKey, Quirks, Token
from shared.keystore.quirks import STANDARD

RSA_ROOT_BITS = 4096

# PKCS#11 v2.40 §4.9. An attribute that the token does not know counts as not proven.
_WANTED: dict[str, bool] = {
    "TOKEN": True,
    "PRIVATE": True,
    "SENSITIVE": True,
    "ALWAYS_SENSITIVE": True,
    "EXTRACTABLE": False,
    "NEVER_EXTRACTABLE": True,
    "LOCAL": True,
    "MODIFIABLE": False,
    "SIGN": True,
    "SIGN_RECOVER": False,
    "DECRYPT": False,
    "UNWRAP": False,
    "DERIVE": False,
}
# What a key that can be wrapped for a backup says instead.
_WANTED_FOR_BACKUP = _WANTED | {"EXTRACTABLE": True, "NEVER_EXTRACTABLE": False}


def generate_root_key(
    token: Token, *, label: str, kind: CaKind = KeyKind.EC_P384, backup: bool = False, rehearsal: bool = False
) -> CaHsmKey:
    """Make the root's key pair in the token and check what the token says of it.

    Args:
        token: open and writable.
        label: must be new in the token.
        kind: RSA keys get 4096 bits.
        backup: whether it may be wrapped later, as the plan says.
        rehearsal: as for ``check_attributes``.

    Raises:
        Fatal: ``hsm.key-exposed``.
        RequestRejected: ``hsm.key-exists`` or ``hsm.label``.
        Unsupported: ``hsm.unsupported``.
        PeerFailed: ``hsm.*``.
    """
    key = token.generate(kind, label=label, rsa_bits=RSA_ROOT_BITS, extractable=backup)
    check_attributes(key_attributes(token, key), backup=backup, rehearsal=rehearsal, quirks=token.quirks)
    return key


def key_attributes(token: Token, key: CaHsmKey) -> Mapping[str, bool | str]:
    """Read back the private key's attributes, for the transcript: PKCS#11's names without ``CKA_``, no secret.

    Raises:
        NotFound: ``hsm.key-missing``.
        PeerFailed: ``hsm.*``.
    """
    return token.attributes(key)


def check_attributes(
    attributes: Mapping[str, bool | str], *, backup: bool = False, rehearsal: bool = False, quirks: Quirks = STANDARD
) -> tuple[str, ...]:
    """Insist that a private key was born in its token, cannot leave it, cannot be changed, and only signs.

    Args:
        attributes: from ``key_attributes``.
        backup: whether it may leave wrapped, as the plan says; then it must say so.
        rehearsal: whether to go on with a software key for practice, and with what the module misreports.
        quirks: of the token.

    Returns:
        What weakens the evidence, for people; nothing in a real ceremony.

    Raises:
        Fatal: ``hsm.key-exposed`` naming each attribute that is not as it must be.
    """
    if rehearsal and attributes.get(SOFTWARE) is True:
        return ("it is a software key for practice, which proves nothing",)
    wanted = _WANTED_FOR_BACKUP if backup else _WANTED
    wrong = [name for name, value in wanted.items() if attributes.get(name) is not value]
    excused = [name for name in wrong if rehearsal and name in quirks.misreported and name in attributes]
    if left := [_shown(name, attributes) for name in wrong if name not in excused]:
        raise Fatal(
            "hsm.key-exposed",
            f"the key in the token is not a sign-only key that cannot leave it: {', '.join(left)}",
            hint="do not use this key: destroy it, and record the exception",
        )
    return tuple(f"{_shown(name, attributes)}: {quirks.misreported[name]}" for name in excused)


def _shown(name: str, attributes: Mapping[str, bool | str]) -> str:
    return f"{name} is {str(attributes[name]).lower() if name in attributes else 'unknown'}"
