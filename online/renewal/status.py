"""How an agent fares, as a JSON file for monitoring and one line for the service manager."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from online.renewal.keeper import Keeper, Moment
from shared import durable
from shared.clock import rfc3339
from shared.errors import ColdrootError, StoreFailed

# Written anew also when nothing changed: who watches the file's age notices an agent that hangs.
_HEARTBEAT_SECONDS = 300.0


def describe(keeper: Keeper, at: Moment) -> dict[str, object]:
    """Return one pair's entry."""
    leaf, error = keeper.leaf, keeper.error
    return {
        "name": keeper.pair.name,
        "certificate": str(keeper.pair.certificate.absolute()),
        "serial": None if leaf is None else str(leaf.serial_number),
        "not_before": None if leaf is None else rfc3339(leaf.not_valid_before_utc),
        "not_after": None if leaf is None else rfc3339(leaf.not_valid_after_utc),
        "next_renewal": _time(keeper.due),
        "next_attempt": _time(keeper.next_attempt(at)),
        "last_attempt": _time(keeper.last_attempt),
        "last_success": _time(keeper.last_success),
        "last_result": "failed" if error is not None else None if keeper.last_success is None else "renewed",
        "failures": keeper.failures,
        "error": None if error is None else {"code": error.code, "message": error.message},
        "not_told": list(keeper.not_told),
    }


def summary(keepers: Sequence[Keeper], at: Moment) -> str:
    """Say it in one line."""
    failing = sum(keeper.error is not None for keeper in keepers)
    moments = [moment for keeper in keepers if (moment := keeper.next_attempt(at)) is not None]
    following = f", next at {_time(min(moments))}" if moments else ""
    return f"{len(keepers)} certificates, {failing} failing{following}"


class StatusFile:
    """Keeps a file up to date; a disk that fails is said once and stops nothing."""

    def __init__(self, path: Path) -> None:
        """Take the place of the file; its directory must exist."""
        self._path = path
        self._content: object = None
        self._written = float("-inf")
        self._fails = False

    def update(self, keepers: Sequence[Keeper], at: Moment, *, refused: Sequence[ColdrootError] = ()) -> str | None:
        """Write the file when something changed, or when it is old.

        Args:
            keepers: one for each pair.
            at: now.
            refused: why other pairs are not kept.

        Returns:
            What went wrong, when it is new.
        """
        # A moment that is reckoned from a waiting time differs by a fraction each time: seconds are compared.
        content = {
            "pairs": [describe(keeper, at) for keeper in keepers],
            "refused": [{"code": error.code, "message": error.message} for error in refused],
        }
        if content == self._content and at.elapsed - self._written < _HEARTBEAT_SECONDS:
            return None
        document = {"updated": _time(at.wall), "pid": os.getpid(), **content}
        try:
            durable.replace(self._path, (json.dumps(document, indent=2) + "\n").encode("utf-8"))
        except StoreFailed as error:
            new, self._fails = not self._fails, True
            return error.message if new else None
        self._content, self._written, self._fails = content, at.elapsed, False
        return None


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(datetime.fromtimestamp(round(seconds), UTC))
