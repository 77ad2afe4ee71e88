"""A transcript rewritten by somebody who owns the machine: every hash is right, and the story is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from ceremony.transcript import _dump


def rewrite(directory: Path, change: Callable[[list[dict[str, object]]], None]) -> None:
    """Forge: change the records and compute every hash anew, as the owner of the machine could."""
    path = directory / "transcript.jsonl"
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    change(records)
    lines: list[bytes] = []
    for number, record in enumerate(records):
        record["seq"] = number
        record["prev"] = hashlib.sha256(lines[-1]).hexdigest() if lines else "0" * 64
        lines.append(_dump(record))
    path.write_bytes(b"".join(lines))
