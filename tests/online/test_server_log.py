"""The access log: one line whatever was sent, in text and in JSON."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.clock import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from online.accesslog import Log
from online.config import parse_config, render_config


def written(
    *, path: str = "/health", method: str = "GET", status: int = 200, note: str = "", as_json: bool = False
) -> str:
    """Return the line of a request."""
    lines: list[str] = []
    serve(Log(FakeClock(), as_json=as_json, sink=lines.append), path=path, method=method, status=status, note=note)
    assert len(lines) == 1
    return lines[0]


def serve(log: Log, *, path: str = "/health", method: str = "GET", status: int = 200, note: str = "") -> None:
    """Tell a log of a request."""
    log.served(
        remote="127.0.0.1", request_id="id-1", method=method, path=path, status=status, seconds=0.0123, note=note
    )


def test_the_fields_of_a_line() -> None:
    """Without this, an operator's tools could not read the log."""
    assert written() == "2026-11-24T12:00:00.000Z 127.0.0.1 id-1 GET /health 200 12.3ms"
    assert json.loads(written(as_json=True)) == {
        "time": "2026-11-24T12:00:00.000Z",
        "remote": "127.0.0.1",
        "request_id": "id-1",
        "method": "GET",
        "path": "/health",
        "status": 200,
        "ms": 12.3,
    }


@pytest.mark.parametrize(("level", "statuses"), [("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_leaves_out_what_went_well(level: str, statuses: int) -> None:
    """A busy node writes a line for each renewal; whoever wants refusals only must not miss its own events."""
    lines: list[str] = []
    document = render_config(dns_names=("localhost",), address=":0", provisioners=())
    config = parse_config(json.dumps({**document, "coldroot": {"logLevel": level}}).encode(), path=Path("/x/ca.json"))
    log = Log(FakeClock(), least_status=config.logger.least_status, sink=lines.append)
    for status in (200, 401, 503):
        serve(log, status=status)
    log.event("reloaded")
    assert len(lines) == statuses + 1


def test_an_event_is_a_line_too() -> None:
    """Without this, what happens to the node itself could break the log's form."""
    lines: list[str] = []
    Log(FakeClock(), sink=lines.append).event("a\nb")
    Log(FakeClock(), as_json=True, sink=lines.append).event("a\nb")
    assert lines[0] == "2026-11-24T12:00:00.000Z a\\nb"
    assert json.loads(lines[1])["event"] == "a\\nb"


@given(path=st.text(max_size=300), note=st.text(max_size=500), method=st.text(max_size=30), as_json=st.booleans())
def test_nothing_breaks_a_line(path: str, note: str, method: str, *, as_json: bool) -> None:
    """Without this, a caller could forge log lines or move a terminal's cursor."""
    shown = written(
        path=path.encode("utf-8", "replace").decode(), method=method, status=404, note=note, as_json=as_json
    )
    assert shown.isprintable()
    if as_json:
        assert set(json.loads(shown)) <= {"time", "remote", "request_id", "method", "path", "status", "ms", "note"}


def test_a_line_s_moment_is_the_clock_s_also_when_that_is_set() -> None:
    """Without this, the second of a line could be the one of the line before."""
    lines: list[str] = []
    clock = FakeClock()
    log = Log(clock, sink=lines.append)
    for step in (0.0, 0.25, 0.75, 86_400.5, -3600.25, 0.001):
        clock.advance(timedelta(seconds=step))
        log.event("e")
        moment = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert lines[-1] == f"{moment} e"


def test_a_full_disk_behind_stderr_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a log that cannot be written would stop the node."""

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    serve(Log(FakeClock()))


def test_a_line_is_one_write_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """Without this, the lines of two workers could be mixed into each other."""
    serve(Log(FakeClock()))
    assert capfd.readouterr().err == "2026-11-24T12:00:00.000Z 127.0.0.1 id-1 GET /health 200 12.3ms\n"
