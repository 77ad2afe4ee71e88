"""The bag register: numbers once and for all, and every mismatch beside an exception."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from fakes.forgery import rewrite
from fakes.rehearsal import Rehearsal, full_rehearsal, no_hardening
from fakes.softhsm import needs_softhsm

from shared import terminal

pytestmark = needs_softhsm


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """One finished rehearsal, never changed: tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        yield full_rehearsal(tmp_path_factory.mktemp("bags"))


def bag(rehearsal: Rehearsal, command: str, number: str, *more: str, by: str = "Blaise") -> Result:
    return rehearsal.run(
        "bag", command, "--dir", rehearsal.directory, "--number", number, "--by", by, "--witness", "Edsger", *more
    )


def listed(rehearsal: Rehearsal) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        rehearsal.run("bag", "list", "--dir", rehearsal.directory, "--json").stdout
    )
    return found


def test_from_seal_to_open(finished: Rehearsal, tmp_path: Path) -> None:
    """Years later it must be told who put what where, and that the seal held."""
    rehearsal = finished.copy(tmp_path / "copy")
    assert bag(rehearsal, "seal", "A1001", "--holds", "share 2").exit_code == 0
    assert bag(rehearsal, "seal", "A1002", "--holds", "share 3").exit_code == 0
    assert bag(rehearsal, "open", "A1001", "--seal", "intact").stdout == "bag A1001 opened\n"
    first, second = listed(rehearsal)
    assert (first["bag"], first["opened"]["seal"], second["opened"]) == ("A1001", "intact", None)
    shown = rehearsal.run("bag", "list", "--dir", rehearsal.directory).stdout
    assert "by Blaise, seen by Edsger; its seal was intact" in shown
    done = rehearsal.run("verify", rehearsal.directory)
    assert "2 bags were sealed, 1 of them are not opened yet" in done.stdout
    # The next act goes on after them.
    assert "was already signed" in rehearsal.intermediate(rehearsal.crossing / "request.bundle").stderr


@pytest.mark.parametrize(
    ("number", "seal", "expected"),
    [
        ("A1001", "broken", "the seal of the bag A1001 was found broken"),
        ("A9999", "intact", "the register has no bag A9999"),
        ("A1002", "intact", "the bag A1002 was opened before"),
    ],
)
def test_a_mismatch_is_an_exception(finished: Rehearsal, tmp_path: Path, number: str, seal: str, expected: str) -> None:
    """A broken seal that is only noted in passing is a leak that nobody follows up."""
    rehearsal = finished.copy(tmp_path / "copy")
    for each in ("A1001", "A1002"):
        bag(rehearsal, "seal", each, "--holds", "share 2")
    bag(rehearsal, "open", "A1002", "--seal", "intact")
    before = rehearsal.snapshot()
    undecided = bag(rehearsal, "open", number, "--seal", seal, "--decided", " ")
    assert (undecided.exit_code, "say what was decided" in undecided.stderr) == (1, True)
    assert rehearsal.snapshot() == before
    done = bag(rehearsal, "open", number, "--seal", seal, "--decided", "the share is replaced by a rotation")
    assert (done.exit_code, done.stdout) == (0, "exception 1\n")
    lines = (rehearsal.directory / "transcript.jsonl").read_bytes().splitlines()
    body = json.loads(lines[-1])["body"]
    assert expected in body["happened"]
    opened = seal == "broken"
    assert (json.loads(lines[-2])["body"].get("seal") == "broken") is opened
    assert rehearsal.run("verify", rehearsal.directory).exit_code == 0
    if opened:
        rewrite(rehearsal.directory, _cut_the_last)
        lost = rehearsal.run("verify", rehearsal.directory)
        assert (lost.exit_code, "no exception follows" in lost.stderr) == (1, True)


def test_what_is_refused(finished: Rehearsal, tmp_path: Path) -> None:
    """A number that is used twice, or a witness of oneself, makes the register worthless."""
    rehearsal = finished.copy(tmp_path / "copy")
    assert bag(rehearsal, "seal", "A1", "--holds", "x").exit_code == 0
    before = rehearsal.snapshot()
    for done, code in (
        (bag(rehearsal, "seal", "A1", "--holds", "y"), "bag.used"),
        (bag(rehearsal, "seal", "A2", "--holds", "y", by="Edsger"), "bag.malformed"),
        (bag(rehearsal, "seal", "A" * 41, "--holds", "y"), "bag.malformed"),
        (bag(rehearsal, "seal", "A2", "--holds", " "), "bag.malformed"),
        (bag(rehearsal, "seal", "A\x1b[2J", "--holds", "y"), "bag.malformed"),
    ):
        assert (done.exit_code, f"[{code}]" in done.stderr) == (1, True), done.stderr
        assert rehearsal.snapshot() == before


def test_questions_are_asked(finished: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gives nothing on the command line is led through it."""
    rehearsal = finished.copy(tmp_path / "copy")
    answers = iter(["B7", "Ada", "Edsger", "share 1", "B7", "Ada", "Edsger", "perhaps", "broken", "rotate"])
    monkeypatch.setattr(terminal, "ask_line", lambda _: next(answers))
    assert rehearsal.run("bag", "seal", "--dir", rehearsal.directory).exit_code == 0
    done = rehearsal.run("bag", "open", "--dir", rehearsal.directory)
    assert (done.exit_code, "this is an exception" in done.stderr) == (0, True)


def test_not_while_an_act_runs(finished: Rehearsal, tmp_path: Path) -> None:
    """The program of a running act alone writes the record: its next line would not fit any more."""
    rehearsal = finished.copy(tmp_path / "copy")
    rewrite(rehearsal.directory, _cut_before_the_end)
    done = bag(rehearsal, "seal", "A1", "--holds", "x")
    assert (done.exit_code, "bag.act-open" in done.stderr) == (1, True)


def _cut_the_last(records: list[dict[str, object]]) -> None:
    del records[-1]


def _cut_before_the_end(records: list[dict[str, object]]) -> None:
    closed = max(number for number, record in enumerate(records) if record["kind"] == "act-closed")
    del records[closed:]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "bag-opened", "body": {"bag": "A1", "holds": "x", "by": "a", "witness": "b", "seal": "intact"}},
        {"kind": "bag-sealed", "body": {"bag": 7, "holds": "x", "by": "a", "witness": "b"}},
    ],
)
def test_a_forged_register(finished: Rehearsal, tmp_path: Path, change: dict[str, object]) -> None:
    """An opening without a sealing is a bag that came from nowhere."""
    rehearsal = finished.copy(tmp_path / "copy")
    rewrite(rehearsal.directory, lambda records: records.append({**records[-1], **change}))
    done = rehearsal.run("verify", rehearsal.directory)
    assert (done.exit_code, "bag.bad-register" in done.stderr) == (1, True)
