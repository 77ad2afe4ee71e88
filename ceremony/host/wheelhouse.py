"""Which offline bundle this installation came from: its manifest's digest, as its installer left it.

Invariant: what is recorded is a digest or nothing. The word of a file beside the program proves nothing by itself;
it makes the day's record say which bundle to compare with, and people heard that digest when it was made.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PLACE = "share/coldroot/wheelhouse.sha256"
_DIGEST = re.compile(r"[0-9a-f]{64}\n?")


def manifest_digest(prefix: Path | None = None) -> str | None:
    """Return SHA-256 of the bundle's ``SHA256SUMS`` in hex, or ``None`` when this installation did not come from one.

    Args:
        prefix: of the environment; by default this one's.
    """
    try:
        text = ((prefix or Path(sys.prefix)) / PLACE).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return text.strip() if _DIGEST.fullmatch(text) else None
