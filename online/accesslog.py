"""What the node tells its operator: one line a request, one line an event, on stderr.

Invariants: a line is one line, whatever a caller sent; no query string, no header but the request's identifier
and no body is ever written, so no token is; each line is one write, so the lines of several workers do not mix.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from urllib.parse import quote

from shared.clock import Clock
from shared.names import printable

_LONGEST_PATH = 200
_LONGEST_NOTE = 400
# What RFC 3986 lets stand in a path; everything else is shown percent-encoded.
_PLAIN_IN_PATH = "/:@!$&'()*+,;=-._~%"
_PLAIN_PATH = re.compile(rf"[A-Za-z0-9{re.escape(_PLAIN_IN_PATH)}]{{0,{_LONGEST_PATH}}}", re.ASCII)

Sink = Callable[[str], None]


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
        self._second = datetime.min.replace(tzinfo=UTC)
        self._prefix = ""

    def wants(self, status: int) -> bool:
        """Tell whether a request that was answered so is worth a line."""
        return status >= self._least_status

    def served(
        self, *, remote: str, request_id: str, method: str, path: str, status: int, seconds: float, note: str = ""
    ) -> None:
        """Write the line of a request that was answered, if it is worth one.

        Args:
            remote: the client's address.
            request_id: plain ASCII.
            method: of the request.
            path: as it was sent, without the query.
            status: of the answer.
            seconds: that it took.
            note: why it was refused, or the serial of what was issued.
        """
        if not self.wants(status):
            return
        if not _PLAIN_PATH.fullmatch(path):
            path = quote(path[:_LONGEST_PATH], safe=_PLAIN_IN_PATH)
        method = printable(method, limit=20)
        note = printable(note, limit=_LONGEST_NOTE)
        if self._as_json:
            # Written by hand: the numbers need no quoting, and a line a request adds up.
            ending = f', "note": {quoted(note)}}}' if note else "}"
            self._sink(
                f'{{"time": "{self._moment()}", "remote": {quoted(remote)}, "request_id": {quoted(request_id)}, '
                f'"method": {quoted(method)}, "path": {quoted(path)}, "status": {status}, "ms": {seconds * 1000:.1f}'
                + ending
            )
            return
        line = f"{self._moment()} {remote} {request_id} {method} {path} {status} {seconds * 1000:.1f}ms"
        self._sink(f"{line} {note}" if note else line)

    def event(self, text: str) -> None:
        """Write the line of something that happened to the node itself. The text is safe to show."""
        shown = printable(text, limit=1000)
        moment = self._moment()
        self._sink(f'{{"time": "{moment}", "event": {quoted(shown)}}}' if self._as_json else f"{moment} {shown}")

    def _moment(self) -> str:
        now = self._clock.now()
        since = now - self._second
        # The same second as the last line's is the usual case, and a clock that was set back is not.
        if since.days or since.seconds:
            self._second = now.replace(microsecond=0)
            self._prefix = self._second.replace(tzinfo=None).isoformat()
        return f"{self._prefix}.{now.microsecond // 1000:03d}Z"


def _to_stderr(line: str) -> None:
    try:
        os.write(2, f"{line}\n".encode())
    except OSError:
        return
