"""The ceremony's record: lines of canonical JSON, each bound to the one before it by a hash.

A line is ``{"body":…,"kind":…,"prev":…,"seq":…,"time":…}`` and a newline; ``prev`` is the SHA-256 of the previous
line's bytes *with* its newline, so ``tail -n 1 transcript.jsonl | sha256sum`` prints the head.

What the chain proves and what it does not: a changed, moved, removed, doubled or inserted line is found as long
as a line after it is genuine. Changing the last line, cutting whole lines off the end, and a complete rewrite
by somebody who computes all hashes anew are found only with the *head*, the digest of the last line, kept
somewhere else. That is why a ceremony ends with a closing record and witnesses copy the head's words by hand.

Invariants:

* one record has exactly one encoding, and verification insists on it: ASCII only, sorted keys, no floating
  point, whole numbers that every JSON reader keeps exact;
* times never go back;
* a record is on the disk when ``append`` returns; nothing ever rewrites a line. A last line that has no end was never
  a record: ``ceremony.mending`` sets it aside, and says so in the next one;
* callers put no secret in: whatever is recorded will be published.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, Self, TypeAlias

from shared import durable
from shared.clock import Clock, rfc3339
from shared.errors import Fatal, RequestRejected, StoreFailed

Json: TypeAlias = "bool | int | str | Sequence[Json] | Mapping[str, Json] | None"

GENESIS = "genesis"
"""The kind of the first record, and of no other."""

LIMIT_BYTES = 16 << 20
LINE_LIMIT_BYTES = 1 << 20

_NO_PREVIOUS = "0" * 64
_MEMBERS = frozenset({"seq", "prev", "time", "kind", "body"})
_KIND = re.compile(r"[a-z][a-z0-9]*(?:[.-][a-z0-9]+)*")
_LONGEST_KIND = 64
_DEEPEST = 16
# RFC 8259 §6: beyond this, readers that use double precision lose digits.
_LARGEST = (1 << 53) - 1
_HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of a transcript."""

    seq: int
    """Its number, from 0."""
    prev: str
    """SHA-256 of the line before, 64 hex digits; zeros for the first."""
    time: datetime
    kind: str
    """What it records: lower-case words joined by dots or hyphens, for example ``root.signed``."""
    body: Mapping[str, Json]
    digest: bytes
    """SHA-256 of this line: the head of the transcript that ends here."""


class Transcript:
    """A transcript that is being written. Make it with ``create`` or ``open``."""

    def __init__(self, path: Path, clock: Clock, content: bytes, records: tuple[Record, ...]) -> None:
        self._path = path
        self._clock = clock
        self._records = records
        self._known = hashlib.sha256(content)

    @classmethod
    def create(cls, path: Path, genesis: Mapping[str, Json], clock: Clock) -> Self:
        """Begin a transcript in a new file.

        Args:
            path: must not exist yet.
            genesis: the first record's body: what the ceremony starts from (the plan's digest, the host's report).
            clock: gives every record its time.

        Raises:
            RequestRejected: ``file.exists`` or ``transcript.bad-record``.
            StoreFailed: ``file.write-failed``.
        """
        line = _encode(seq=0, prev=_NO_PREVIOUS, time=rfc3339(clock.now()), kind=GENESIS, body=genesis)
        durable.write_new(path, line)
        return cls(path, clock, line, verify_chain(line))

    @classmethod
    def open(cls, path: Path, clock: Clock, *, expected_head: bytes | None = None) -> Self:
        """Verify an existing transcript and continue it.

        Args:
            path: the file.
            clock: gives every further record its time.
            expected_head: as for ``verify_chain``.

        Raises:
            RequestRejected: as ``durable.read_file`` and ``verify_chain``.
        """
        content = durable.read_file(path, limit=LIMIT_BYTES)
        return cls(path, clock, content, verify_chain(content, expected_head=expected_head))

    @property
    def records(self) -> tuple[Record, ...]:
        """All records so far."""
        return self._records

    def head(self) -> bytes:
        """Return the SHA-256 of the last line: what witnesses copy."""
        return self._records[-1].digest

    def append(self, kind: str, body: Mapping[str, Json]) -> Record:
        """Add a record; it is on the disk when this returns.

        1. Take the file's lock, so that two commands cannot both continue from the same line.
        2. Insist that the file is still what was verified.
        3. Encode the record after the last one, and read it back as a verifier would.
        4. Write the line, flush it and remember it, with signals held back: an interrupt between writing and
           remembering would make our own line look like somebody else's.

        Args:
            kind: what is recorded; see ``Record.kind``.
            body: what happened: text, whole numbers, booleans, lists and objects. No secret.

        Raises:
            RequestRejected: ``transcript.bad-record``, or ``transcript.clock-stepped-back``.
            StoreFailed: ``transcript.in-use`` or ``file.write-failed``.
            Fatal: ``transcript.changed`` when somebody else wrote to the file meanwhile.
        """
        last = self._records[-1]
        # 1.
        with locked(self._path):
            # 2.
            if hashlib.sha256(durable.read_file(self._path, limit=LIMIT_BYTES)).digest() != self._known.digest():
                raise Fatal("transcript.changed", f"{self._path} was changed by somebody else during the ceremony")
            # 3.
            line, record = following(last, self._clock, kind, body)
            # 4.
            with _signals_held_back():
                durable.append_line(self._path, line[:-1])
                self._known.update(line)
                self._records = (*self._records, record)
        return record


def following(last: Record, clock: Clock, kind: str, body: Mapping[str, Json]) -> tuple[bytes, Record]:
    """Encode the record after another one, and read it back as a verifier would.

    Args:
        last: the record before it.
        clock: gives it its time.
        kind: what is recorded.
        body: what happened.

    Returns:
        The line with its newline, and the record.

    Raises:
        RequestRejected: ``transcript.bad-record``, or ``transcript.clock-stepped-back``.
    """
    time = rfc3339(clock.now())
    if time < rfc3339(last.time):
        raise RequestRejected(
            "transcript.clock-stepped-back",
            f"the clock says {time}, the last record was made at {rfc3339(last.time)}",
            hint="set the clock right and run the step again",
        )
    if kind == GENESIS:
        raise _unfit("kind genesis is for the first record only")
    line = _encode(seq=last.seq + 1, prev=last.digest.hex(), time=time, kind=kind, body=body)
    return line, _read_line(line, previous=last)


def split_torn(data: bytes) -> tuple[bytes, bytes]:
    """Split a transcript's bytes behind its last complete line; the rest is empty unless a line was torn."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def verify_chain(data: bytes, *, expected_head: bytes | None = None) -> tuple[Record, ...]:
    """Verify a whole transcript and return its records.

    Without ``expected_head`` a changed last line, lines cut off the end and a complete rewrite go unnoticed
    (see the module's text): compare ``records[-1].digest`` with the witnesses' copy then.

    Args:
        data: the file's content.
        expected_head: the digest that the last line must have, 32 bytes, from the witnesses' copy or from
            another trusted place. To check a copy taken earlier than the end, look for a record with that
            ``digest`` instead.

    Raises:
        RequestRejected: ``transcript.empty``, ``transcript.too-large``, ``transcript.malformed``,
            ``transcript.not-canonical``, ``transcript.broken-chain``, ``transcript.torn`` or
            ``transcript.wrong-head``; the message names the line, from 1.
    """
    if not data:
        raise RequestRejected("transcript.empty", "the transcript is empty")
    if len(data) > LIMIT_BYTES:
        raise RequestRejected("transcript.too-large", f"the transcript is larger than {LIMIT_BYTES} bytes")
    # Only b"\n" ends a line; splitlines() would end one at a carriage return as well.
    *lines, rest = data.split(b"\n")
    if rest:
        raise RequestRejected(
            "transcript.torn",
            f"transcript line {len(lines) + 1} is incomplete: it has no end",
            hint="the machine may have stopped while writing it: `ceremony resume` keeps it aside, and records that",
        )
    records: list[Record] = []
    for line in lines:
        records.append(_read_line(line + b"\n", previous=records[-1] if records else None))
    if expected_head is not None and records[-1].digest != expected_head:
        raise RequestRejected(
            "transcript.wrong-head",
            f"transcript line {len(records)} is not the expected last line: lines were changed, added or cut off",
        )
    return tuple(records)


def _read_line(line: bytes, *, previous: Record | None) -> Record:
    """Check one line against the one before it.

    1. Parse, and insist on the one canonical encoding.
    2. Check the members' types.
    3. Check the place in the chain: number, previous digest, kind, time.
    """
    place = previous.seq + 1 if previous else 0
    where = f"transcript line {place + 1}"
    # 1.
    if len(line) > LINE_LIMIT_BYTES:
        raise _refused("malformed", f"{where} is longer than {LINE_LIMIT_BYTES} bytes")
    members = _parse(line, where)
    # 2.
    seq, prev, kind, body = members["seq"], members["prev"], members["kind"], members["body"]
    time = _parse_time(members["time"], where)
    if not (isinstance(seq, int) and not isinstance(seq, bool) and isinstance(prev, str)):
        raise _refused("malformed", f"{where} has a seq or prev of the wrong type")
    if not isinstance(kind, str) or not _is_kind(kind) or not isinstance(body, dict):
        raise _refused("malformed", f"{where} has a kind or body of the wrong type")
    # 3.
    if seq != place:
        raise _refused("broken-chain", f"{where} is numbered {seq}, not {place}: lines are missing, moved or doubled")
    if prev != (previous.digest.hex() if previous else _NO_PREVIOUS):
        raise _refused("broken-chain", f"{where} does not continue the line before it: one of them was changed")
    if (kind == GENESIS) != (previous is None):
        raise _refused("broken-chain", f"{where} is of kind {kind}; the first line, and no other, is {GENESIS}")
    if previous and time < previous.time:
        raise _refused("broken-chain", f"{where} is older than the line before it")
    return Record(seq=seq, prev=prev, time=time, kind=kind, body=body, digest=hashlib.sha256(line).digest())


def _parse(line: bytes, where: str) -> dict[str, Json]:
    def refuse(text: str) -> NoReturn:
        del text
        raise ValueError

    try:
        members = json.loads(line.decode("ascii"), parse_float=refuse, parse_constant=refuse)
        _check_value(members, depth=0)
    # A JSON text can also be too deep for the parser, or hold a number too long for it.
    except (ValueError, RecursionError):
        raise _refused("malformed", f"{where} is not a record in JSON") from None
    if not isinstance(members, dict) or set(members) != _MEMBERS:
        raise _refused("malformed", f"{where} has not exactly the members {', '.join(sorted(_MEMBERS))}")
    if _dump(members) != line:
        raise _refused("not-canonical", f"{where} is not in the one canonical form")
    return members


def _parse_time(value: Json, where: str) -> datetime:
    try:
        time = datetime.strptime(str(value), _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        time = None
    if time is None or rfc3339(time) != value:
        raise _refused("malformed", f"{where} has a time that is not like 2026-11-24T06:00:00Z")
    return time


def _encode(*, seq: int, prev: str, time: str, kind: str, body: Mapping[str, Json]) -> bytes:
    if not _is_kind(kind):
        raise _unfit("kind is not lower-case words joined by dots or hyphens")
    record: dict[str, Json] = {"seq": seq, "prev": prev, "time": time, "kind": kind, "body": body}
    try:
        _check_value(record, depth=0)
    except ValueError as error:
        raise _unfit(str(error)) from None
    line = _dump(record)
    if len(line) > LINE_LIMIT_BYTES:
        raise _unfit(f"it is longer than {LINE_LIMIT_BYTES} bytes")
    return line


def _dump(value: Json) -> bytes:
    # ASCII only: no byte in a transcript can move a terminal's cursor or turn the reading direction around.
    text = json.dumps(_plain(value), ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii") + b"\n"


def _plain(value: Json) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value


def _check_value(value: object, *, depth: int) -> None:
    """Raise ValueError, without quoting any content, unless the value has exactly one encoding."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a member's name is not text")
        for each in (*value.keys(), *value.values()):
            _check_value(each, depth=depth + 1)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_value(each, depth=depth + 1)
    else:
        _check_scalar(value)


def _check_scalar(value: object) -> None:
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("a text holds half a character (a lone surrogate)")
    elif isinstance(value, int):
        if abs(value) > _LARGEST:
            raise ValueError("a number has more than 53 bits: record it as text")
    elif value is not None:
        raise ValueError(f"a value is of type {type(value).__name__}")


def _is_kind(kind: str) -> bool:
    return len(kind) <= _LONGEST_KIND and _KIND.fullmatch(kind) is not None


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let signals act after the block. A mask alone does not: the kernel may give them to another thread."""
    if threading.current_thread() is not threading.main_thread():
        # Python runs handlers in the main thread only; here none can break in.
        yield
        return
    came: list[int] = []
    handlers = {each: signal.getsignal(each) for each in _HELD_BACK}
    # ``None`` is a handler that Python did not install and could not put back.
    before = {each: handler for each, handler in handlers.items() if handler is not None}
    try:
        for each in before:
            signal.signal(each, lambda number, _: came.append(number))
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in came:
            signal.raise_signal(number)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a transcript's lock for the length of a ``with`` block.

    Raises:
        StoreFailed: ``transcript.in-use`` or ``file.write-failed``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{path} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StoreFailed("transcript.in-use", f"another command is writing to {path} right now") from None
    finally:
        os.close(descriptor)


def _refused(code: str, message: str) -> RequestRejected:
    return RequestRejected(f"transcript.{code}", message)


def _unfit(why: str) -> RequestRejected:
    return RequestRejected("transcript.bad-record", f"this cannot be recorded: {why}")
