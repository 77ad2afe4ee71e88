"""The published vectors for URs, and the message they are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.crossing.mixing import Xoshiro256

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "ur.json").read_text())


def published_message(length: int) -> bytes:
    """Draw the message that the published vectors are about."""
    generator = Xoshiro256(b"Wolf")
    return bytes(generator.next_below(256) for _ in range(length))
