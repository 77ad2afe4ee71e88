"""Published vectors, read from tests/vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent.parent / "vectors"


def jose(name: str) -> dict[str, Any]:
    """Return one entry of the JOSE vectors."""
    entry: dict[str, Any] = json.loads((_FOLDER / "jose.json").read_text())[name]
    return entry


def step_ca_json() -> dict[str, Any]:
    """Return a ca.json as ``step ca init`` wrote it."""
    document: dict[str, Any] = json.loads((_FOLDER / "step_ca_json.json").read_text())["document"]
    return document
