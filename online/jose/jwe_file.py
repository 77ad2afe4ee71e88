"""A password-encrypted key as it lies in a file: the compact text, or the flattened JSON that step writes.

Invariant: both forms stand for the one compact JWE that ``online.jose.jwe`` knows; nothing is decrypted here. A JSON
form with members that the compact one could not carry (RFC 7516 §7.2: unprotected headers, further recipients,
additional data) is refused.
"""

from __future__ import annotations

import json

from online.jose.jwe import LARGEST_JWE
from online.strict_json import parse_object
from shared.errors import RequestRejected, Unsupported

# RFC 7516 §7.1: the order of the compact form.
_MEMBERS = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
_COMPACT_DOTS = 4


def is_encrypted(data: bytes) -> bool:
    """Tell whether a file's content looks like a JWE; whether it is one, ``compact_form`` decides."""
    text = data.strip()
    if not text.startswith(b"{"):
        return text.count(b".") == _COMPACT_DOTS
    return b'"ciphertext"' in text


def compact_form(data: bytes, *, what: str) -> str:
    """Read a file that holds a JWE in either form.

    Args:
        data: the file's content.
        what: how to call the file in an error.

    Returns:
        The compact serialisation, for ``jwe.decrypt``.

    Raises:
        RequestRejected: ``jwe.malformed``.
        Unsupported: ``jwe.unsupported``.
    """
    text = data.strip()
    if len(text) > LARGEST_JWE:
        raise RequestRejected("jwe.malformed", f"the {what} is larger than {LARGEST_JWE} bytes")
    if not text.startswith(b"{"):
        try:
            return text.decode("ascii")
        except UnicodeDecodeError:
            raise RequestRejected("jwe.malformed", f"the {what} is not a JWE") from None
    members = parse_object(text, what=what, room="jwe")
    for name in members:
        if name not in _MEMBERS:
            raise Unsupported("jwe.unsupported", f"the {what} has a JWE member that is not accepted")
    parts = [members.get(name) for name in _MEMBERS]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) != len(parts):
        raise RequestRejected("jwe.malformed", f"the {what} lacks a part of a JWE: {', '.join(_MEMBERS)} are wanted")
    return ".".join(texts)


def file_form(compact: str) -> bytes:
    """Write a compact JWE as ``step`` keeps it in a file: flattened JSON (RFC 7516 §7.2.2), indented."""
    members = dict(zip(_MEMBERS, compact.split("."), strict=True))
    return json.dumps(members, indent=2).encode("ascii") + b"\n"
