"""Base64url as JOSE has it (RFC 7515 §2): no padding, no white space, one text for each octet string.

Python's own decoder skips foreign characters and ignores stray bits at the end, so that many texts stand for
one value. Where a text is compared, hashed or recorded, that is a way around the comparison.
"""

from __future__ import annotations

import base64
import string

from shared.errors import RequestRejected

_ALPHABET = (string.ascii_letters + string.digits + "-_").encode("ascii")
# Behind whole groups of four, two characters have four bits to spare and three have two: zeros (RFC 4648 §3.5).
_LAST_WITHOUT_STRAY_BITS = {2: b"AQgw", 3: b"AEIMQUYcgkosw048"}


def encode(data: bytes) -> str:
    """Write octets as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str, *, what: str) -> bytes:
    """Read base64url, in the one form that ``encode`` writes.

    Args:
        text: the text; its size was capped by the caller.
        what: how to call it in an error.

    Raises:
        RequestRejected: ``jose.base64url``.
    """
    octets = text.encode("ascii", errors="replace")
    # What is left when the alphabet is taken away does not belong; not ASCII became a question mark.
    if octets.translate(None, _ALPHABET) or len(octets) % 4 == 1:
        raise RequestRejected("jose.base64url", f"the {what} is not base64url without padding")
    beyond = len(octets) % 4
    if beyond and octets[-1] not in _LAST_WITHOUT_STRAY_BITS[beyond]:
        raise RequestRejected("jose.base64url", f"the {what} has stray bits at its end")
    return base64.urlsafe_b64decode(octets + b"=" * (-beyond % 4))
