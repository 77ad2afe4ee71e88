"""The transcript: whatever is done to its lines afterwards is found, and nothing is appended to a forgery."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.clock import NOON, FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from ceremony.transcript import GENESIS, Json, Record, Transcript, verify_chain
from shared.errors import Fatal, RequestRejected, StoreFailed


def written(path: Path, records: int = 6) -> Transcript:
    clock = FakeClock()
    transcript = Transcript.create(path, {"plan": "ab" * 32, "title": "Nordwind – Zoë"}, clock)
    for number in range(1, records):
        clock.advance(timedelta(seconds=number))
        transcript.append("step.done", {"number": number, "what": ["x", None, True, {"deep": "\u202e\n"}]})
    return transcript


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    path = tmp_path / "transcript.jsonl"
    written(path)
    return path.read_bytes()


def refused(data: bytes, *, head: bytes | None = None) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        verify_chain(data, expected_head=head)
    assert caught.value.code.startswith("transcript.")
    assert "\n" not in caught.value.message
    assert caught.value.message.isprintable()
    return caught.value


def test_what_was_recorded_comes_back(tmp_path: Path) -> None:
    """An auditor must read exactly what the ceremony wrote, in the documented form."""
    path = tmp_path / "transcript.jsonl"
    transcript = written(path)
    records = verify_chain(path.read_bytes(), expected_head=transcript.head())
    assert records == transcript.records
    assert [record.seq for record in records] == list(range(6))
    assert records[0].kind == GENESIS
    assert records[0].body == {"plan": "ab" * 32, "title": "Nordwind – Zoë"}
    assert records[0].prev == "0" * 64
    assert records[3].time == NOON + timedelta(seconds=6)
    assert records[3].body["what"] == ["x", None, True, {"deep": "\u202e\n"}]


def test_head_is_what_sha256sum_prints(tmp_path: Path) -> None:
    """A witness checks the head with a tool that is on every machine."""
    path = tmp_path / "transcript.jsonl"
    transcript = written(path)
    last = path.read_bytes().splitlines(keepends=True)[-1]
    printed = subprocess.run(["sha256sum"], input=last, capture_output=True, check=True).stdout.split()[0].decode()
    assert transcript.head().hex() == printed


def test_lines_are_plain_ascii(data: bytes) -> None:
    """A name with control or right-to-left characters must not move an auditor's cursor or start a line."""
    assert set(data) <= set(range(0x20, 0x7F)) | {0x0A}
    assert data.count(b"\n") == 6


def test_every_flipped_bit_is_found(data: bytes) -> None:
    """Each byte counts: with the head known, no single changed byte may pass."""
    head = verify_chain(data)[-1].digest
    for place in range(len(data)):
        for bit in (0, 5):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            refused(bytes(changed), head=head)


def test_flips_before_the_last_line_are_found_without_the_head(data: bytes) -> None:
    """The chain alone must protect every line that has a successor."""
    end_of_last_but_one = data.rstrip(b"\n").rindex(b"\n") + 1
    for place in range(end_of_last_but_one):
        changed = bytearray(data)
        changed[place] ^= 1
        refused(bytes(changed))


@settings(max_examples=150)
@given(place=st.integers(0, 2000), junk=st.binary(min_size=0, max_size=3), cut=st.integers(0, 3))
def test_inserted_and_removed_bytes_are_found(place: int, junk: bytes, cut: int) -> None:
    """One record has one encoding: white space, another key order or a carriage return is a change."""
    place %= len(DATA)
    changed = DATA[:place] + junk + DATA[place + cut :]
    if changed != DATA:
        refused(changed, head=HEAD)


def test_moved_lines_are_found(data: bytes) -> None:
    """Dropping, doubling and reordering lines changes what happened; the error names the line."""
    lines = data.splitlines(keepends=True)
    for place in range(len(lines) - 1):
        without = lines[:place] + lines[place + 1 :]
        assert f"line {place + 1} " in refused(b"".join(without)).message
        swapped = [*lines]
        swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
        assert f"line {place + 1} " in refused(b"".join(swapped)).message
    for place in range(len(lines)):
        doubled = lines[: place + 1] + lines[place:]
        assert f"line {place + 2} " in refused(b"".join(doubled)).message
    refused(b"".join(reversed(lines)))
    refused(data + data)


def test_truncation_needs_the_head(data: bytes) -> None:
    """Whole lines cut off the end leave a sound chain: only the witnesses' copy of the head tells."""
    head = verify_chain(data)[-1].digest
    lines = data.splitlines(keepends=True)
    for kept in range(1, len(lines)):
        shorter = b"".join(lines[:kept])
        assert len(verify_chain(shorter)) == kept
        assert refused(shorter, head=head).code == "transcript.wrong-head"
    for kept in range(len(data)):
        refused(data[:kept], head=head)


def test_torn_last_line_is_found(data: bytes) -> None:
    """A power cut in the middle of a write must be told from a forgery, and never be read over."""
    error = refused(data[:-1])
    assert error.code == "transcript.torn"
    assert "line 6 " in error.message


def test_complete_rewrite_needs_the_head(tmp_path: Path) -> None:
    """Somebody who hashes everything anew makes a sound chain; the head on paper is what convicts him."""
    genuine = written(tmp_path / "genuine.jsonl")
    clock = FakeClock()
    forged = Transcript.create(tmp_path / "forged.jsonl", {"plan": "cd" * 32}, clock)
    data = (tmp_path / "forged.jsonl").read_bytes()
    assert verify_chain(data) == forged.records
    assert refused(data, head=genuine.head()).code == "transcript.wrong-head"


def line(**changes: object) -> bytes:
    members: dict[str, object] = {
        "seq": 0,
        "prev": "0" * 64,
        "time": "2026-11-24T06:00:00Z",
        "kind": GENESIS,
        "body": {},
    }
    members |= changes
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"\n", "malformed"),
        (b"[]\n", "malformed"),
        (b"null\n", "malformed"),
        (b"{}\n", "malformed"),
        (b"[" * 100_000 + b"\n", "malformed"),
        (b"\xff\xfe\n", "malformed"),
        (line(more=1), "malformed"),
        (line(seq=True), "malformed"),
        (line(seq="0"), "malformed"),
        (line(prev=0), "malformed"),
        (line(kind=""), "malformed"),
        (line(kind="Genesis"), "malformed"),
        (line(kind="x" * 65), "malformed"),
        (line(body=[]), "malformed"),
        (line(time="2026-11-24T06:00:00"), "malformed"),
        (line(time="2026-11-24T06:00:00+00:00"), "malformed"),
        (line(time="2026-1-4T06:00:00Z"), "malformed"),
        (line(time="2026-02-30T06:00:00Z"), "malformed"),
        (line(time=1), "malformed"),
        (line(body={"x": 1.5}), "malformed"),
        (line(body={"x": float("nan")}), "malformed"),
        (line(body={"x": 1 << 53}), "malformed"),
        (line(body={"x": "\ud800"}), "malformed"),
        (line().replace(b"{}", b"1" + b"0" * 5000), "malformed"),
        (line(body={"x": "y" * (1 << 20)}), "malformed"),
        (line().replace(b'"seq":0', b'"seq":-0'), "not-canonical"),
        (line().replace(b'"seq":0', b'"seq":0,"seq":0'), "not-canonical"),
        (line().replace(b",", b", "), "not-canonical"),
        (line().replace(b"genesis", b"genesi\\u0073"), "not-canonical"),
        (b" " + line(), "not-canonical"),
        (line().replace(b"\n", b"\r\n"), "not-canonical"),
        (line(seq=1), "broken-chain"),
        (line(prev="1" * 64), "broken-chain"),
        (line(kind="step"), "broken-chain"),
        (line(body={str(number): "x" * 1000 for number in range(900)}) * 20, "too-large"),
    ],
)
def test_malformed_lines(data: bytes, code: str) -> None:
    """A file from a stranger's stick is input like any other: one clear line, whatever it holds."""
    assert refused(data).code == f"transcript.{code}"


def test_second_genesis_and_time_going_back_are_refused() -> None:
    """Two beginnings, or a record older than the one before, tell another story than the one that happened."""
    first = line()
    prev = hashlib.sha256(first).hexdigest()
    assert "genesis" in refused(first + line(seq=1, prev=prev)).message
    error = refused(first + line(seq=1, prev=prev, kind="step", time="2026-11-24T05:59:59Z"))
    assert "older" in error.message


@settings(max_examples=100)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused_in_order(data: bytes) -> None:
    """A verifier that crashes on a file has verified nothing."""
    refused(data)
    refused(line() + data + b"x")


def test_create_never_overwrites(tmp_path: Path) -> None:
    """A second ceremony in the same directory must not erase the record of the first."""
    path = tmp_path / "transcript.jsonl"
    written(path)
    before = path.read_bytes()
    with pytest.raises(RequestRejected) as caught:
        Transcript.create(path, {}, FakeClock())
    assert caught.value.code == "file.exists"
    assert path.read_bytes() == before


def test_open_continues(tmp_path: Path) -> None:
    """The intermediate is signed days later by another process: its records belong to the same chain."""
    path = tmp_path / "transcript.jsonl"
    head = written(path).head()
    clock = FakeClock()
    clock.advance(timedelta(days=3))
    again = Transcript.open(path, clock, expected_head=head)
    record = again.append("intermediate.signed", {"serial": "0a"})
    assert isinstance(record, Record)
    assert (record.seq, record.prev) == (6, head.hex())
    assert verify_chain(path.read_bytes(), expected_head=again.head())[-1] == record


def test_open_refuses_a_forgery(tmp_path: Path) -> None:
    """Appending to a changed transcript would lend it the genuine lines that follow."""
    path = tmp_path / "transcript.jsonl"
    written(path)
    path.write_bytes(path.read_bytes().replace(b"abab", b"abac", 1))
    with pytest.raises(RequestRejected, match="line 2") as caught:
        Transcript.open(path, FakeClock())
    assert caught.value.code == "transcript.broken-chain"
    with pytest.raises(RequestRejected) as caught:
        Transcript.open(tmp_path / "none", FakeClock())
    assert caught.value.code == "file.missing"


def test_change_under_the_hand_stops_the_ceremony(tmp_path: Path) -> None:
    """Two processes that both continue from one line would split the chain."""
    path = tmp_path / "transcript.jsonl"
    transcript = written(path)
    clock = FakeClock()
    clock.advance(timedelta(days=1))
    Transcript.open(path, clock).append("other", {})
    before = path.read_bytes()
    with pytest.raises(Fatal) as caught:
        transcript.append("step.done", {})
    assert caught.value.code == "transcript.changed"
    assert path.read_bytes() == before


def test_locked_transcript_is_reported(tmp_path: Path) -> None:
    """Two commands at once: one waits for a person to see why, neither writes into the other's line."""
    path = tmp_path / "transcript.jsonl"
    transcript = written(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(StoreFailed) as caught:
            transcript.append("step.done", {})
        assert caught.value.code == "transcript.in-use"
    finally:
        os.close(descriptor)
    transcript.append("step.done", {})


def test_removed_transcript_is_reported(tmp_path: Path) -> None:
    """A stick pulled out in the middle must not make a new, empty record."""
    path = tmp_path / "transcript.jsonl"
    transcript = written(path)
    path.unlink()
    with pytest.raises(StoreFailed) as caught:
        transcript.append("step.done", {})
    assert caught.value.code == "file.write-failed"
    assert not path.exists()


def test_clock_that_steps_back_is_noticed(tmp_path: Path) -> None:
    """A dead battery that sets the clock to 1970 would date the root there."""
    path = tmp_path / "transcript.jsonl"
    clock = FakeClock()
    transcript = Transcript.create(path, {}, clock)
    clock.advance(-timedelta(seconds=1))
    before = path.read_bytes()
    with pytest.raises(RequestRejected) as caught:
        transcript.append("step.done", {})
    assert caught.value.code == "transcript.clock-stepped-back"
    assert path.read_bytes() == before
    clock.advance(timedelta(seconds=1))
    transcript.append("step.done", {})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (GENESIS, {}),
        ("", {}),
        ("Step", {}),
        ("step done", {}),
        ("step.", {}),
        ("x" * 65, {}),
        ("step", {"x": 1.0}),
        ("step", {"x": float("inf")}),
        ("step", {"x": 1 << 53}),
        ("step", {"x": b"bytes"}),
        ("step", {"x": "\ud800"}),
        ("step", {1: "x"}),
        ("step", {"x": object()}),
        ("step", {"x": "y" * (1 << 20)}),
    ],
)
def test_unfit_records_leave_no_trace(tmp_path: Path, kind: str, body: dict[str, Json]) -> None:
    """What has no single encoding cannot be chained; the refusal must leave the file and the chain as they were."""
    path = tmp_path / "transcript.jsonl"
    transcript = written(path)
    before = path.read_bytes(), transcript.head()
    with pytest.raises(RequestRejected) as caught:
        transcript.append(kind, body)
    assert caught.value.code == "transcript.bad-record"
    assert (path.read_bytes(), transcript.head()) == before


def test_too_deep_record_is_refused(tmp_path: Path) -> None:
    """A body that nests for ever must be refused, not recursed into."""
    body: dict[str, Json] = {}
    for _ in range(40):
        body = {"x": body}
    with pytest.raises(RequestRejected, match="nested too deeply"):
        written(tmp_path / "transcript.jsonl").append("step", body)


json_values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(bodies=st.lists(st.dictionaries(st.text(max_size=8), json_values, max_size=4), max_size=4))
def test_any_json_body_round_trips(tmp_path_factory: pytest.TempPathFactory, bodies: list[dict[str, Json]]) -> None:
    """Whatever facts a step records, the verifier must accept and return the same."""
    path = tmp_path_factory.mktemp("t") / "transcript.jsonl"
    transcript = Transcript.create(path, {}, FakeClock())
    for body in bodies:
        transcript.append("step", body)
    records = verify_chain(path.read_bytes(), expected_head=transcript.head())
    assert [record.body for record in records[1:]] == bodies


def _sample() -> bytes:
    first = line(body={"plan": "ab"})
    second = line(seq=1, prev=hashlib.sha256(first).hexdigest(), kind="step", body={"x": [1, None]})
    return first + second


DATA = _sample()
HEAD = verify_chain(DATA)[-1].digest
