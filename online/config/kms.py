"""The ``kms`` block of a ca.json: where step-ca keeps what it needs to reach an HSM, apart from the name of the key.

The node names a key by one complete ``pkcs11:`` URI (RFC 7512), so the block is merged into it. What the key's own URI
says goes before what the block says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from online.strict_json import Fields
from shared.errors import RequestRejected, Unsupported
from shared.keystore import is_pkcs11
from shared.keystore.uri import parse_key_uri
from shared.names import printable

_CLOUD = "remove it: the node uses no cloud's key service"
_UNSUPPORTED = {"credentialsFile": _CLOUD, "region": _CLOUD, "profile": _CLOUD}
_TYPES = frozenset({"", "pkcs11", "softkms"})
# RFC 7512 §2.3 and §2.4: which attributes stand behind the question mark.
_ACCESS = frozenset({"module-path", "module-name", "pin-source", "pin-value"})
_SEPARATORS = re.compile(r"[;?&]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kms:
    """What the block says."""

    uri: str = ""
    pin: str | None = field(default=None, repr=False)


def read_kms(top: Fields) -> Kms:
    """Read the block; nothing said when there is none.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-key`` for anything but PKCS#11.
    """
    if "kms" not in top:
        return Kms()
    block = Fields(top.raw("kms"), path="kms", known={"type", "uri", "pin"}, unsupported=_UNSUPPORTED)
    kind, uri = block.text("type", default=""), block.text("uri", default="")
    if kind.lower() not in _TYPES or (uri and not is_pkcs11(uri)):
        raise Unsupported(
            "config.unsupported-key",
            f"kms: key services of the kind {printable(kind or uri.partition(':')[0])!r} are not supported",
            hint="remove it, and use a key in a file, or in an HSM by a pkcs11: URI",
        )
    return Kms(uri=uri, pin=block.text("pin", default="") or None)


def merge_key(key: str, kms: Kms, *, home: Path) -> str:
    """Return the complete URI of the key.

    Args:
        key: as ``key`` has it.
        kms: as the block has it.
        home: what a relative ``pin-source`` hangs on.

    Raises:
        RequestRejected: ``config.malformed``.
        Unsupported: ``config.unsupported-key``.
    """
    if not is_pkcs11(key):
        if kms.uri or kms.pin:
            raise RequestRejected(
                "config.malformed",
                "kms is given, but key is not a pkcs11: URI",
                hint="remove kms, or name the key in it",
            )
        return key
    if not kms.uri:
        return key
    found: dict[str, str] = {}
    for piece in (*_pieces(key), *_pieces(kms.uri)):
        name, _, value = piece.partition("=")
        found.setdefault(name, value)
    path = ";".join(f"{name}={value}" for name, value in found.items() if name not in _ACCESS)
    access = "&".join(f"{name}={value}" for name, value in found.items() if name in _ACCESS)
    merged = f"pkcs11:{path}?{access}" if access else f"pkcs11:{path}"
    try:
        parse_key_uri(merged, base=home)
    except Unsupported as error:
        raise Unsupported("config.unsupported-key", f"key with kms.uri: {error.message}", hint=error.hint) from None
    except RequestRejected as error:
        raise RequestRejected("config.malformed", f"key with kms.uri: {error.message}", hint=error.hint) from None
    return merged


def _pieces(uri: str) -> list[str]:
    return [each for each in _SEPARATORS.split(uri.partition(":")[2]) if each]
