"""What the node tells its operator: one line a request, one line an event, on stderr.

Invariants: a line is one line, whatever a caller sent; no query string, no header but the request's identifier
and no body is ever written, so no token is; each line is one write, so the lines of several workers do not mix.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from shared.clock import Clock
from shared.names import printable

_LONGEST_PATH = 200
_LONGEST_NOTE = 400
# What RFC 3986 lets stand in a path; everything else is shown percent-encoded.
_PLAIN_IN_PATH = "/:@!$&'()*+,;=-._~%"

Sink = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One request that was answered."""

    remote: str
    request_id: str
    method: str
    path: str
    """As it was sent, without the query."""
    status: int
    seconds: float
    note: str = ""
    """Why it was refused, or the serial of what was issued."""


class Log:
    """Writes lines; never fails, for a full disk behind stderr must not stop the node."""

    def __init__(self, clock: Clock, *, as_json: bool = False, least_status: int = 0, sink: Sink | None = None) -> None:
        """Make a log.

        Args:
            clock: wall clock.
            as_json: a JSON object a line instead of text.
            least_status: requests that were answered with a lower HTTP status get no line.
            sink: takes each line, without its end; stderr when not given.
        """
        self._clock = clock
        self._as_json = as_json
        self._least_status = least_status
        self._sink = sink or _to_stderr

    def wants(self, status: int) -> bool:
        """Tell whether a request that was answered so is worth a line."""
        return status >= self._least_status

    def served(self, request: Served) -> None:
        """Write the line of a request, if it is worth one."""
        if not self.wants(request.status):
            return
        path = quote(request.path[:_LONGEST_PATH], safe=_PLAIN_IN_PATH)
        note = printable(request.note, limit=_LONGEST_NOTE)
        duration = f"{request.seconds * 1000:.1f}"
        if self._as_json:
            self._write_json(
                remote=request.remote,
                request_id=request.request_id,
                method=printable(request.method, limit=20),
                path=path,
                status=request.status,
                ms=float(duration),
                **({"note": note} if note else {}),
            )
            return
        method = printable(request.method, limit=20)
        line = f"{request.remote} {request.request_id} {method} {path} {request.status} {duration}ms"
        self._write(f"{line} {note}" if note else line)

    def event(self, text: str) -> None:
        """Write the line of something that happened to the node itself. The text is safe to show."""
        shown = printable(text, limit=1000)
        if self._as_json:
            self._write_json(event=shown)
        else:
            self._write(shown)

    def _write(self, text: str) -> None:
        self._sink(f"{_moment(self._clock.now())} {text}")

    def _write_json(self, **fields: object) -> None:
        self._sink(json.dumps({"time": _moment(self._clock.now()), **fields}, ensure_ascii=True))


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _to_stderr(line: str) -> None:
    try:
        os.write(2, f"{line}\n".encode())
    except OSError:
        return
