"""A last line that was torn: the power failed, or the program was killed, while it was being written.

What a torn line was going to say did not happen as far as anybody may rely on: a record is on the disk *before* what it
announces, and nobody was told that it is. So it can be set aside; never thrown away, and never without a record.

1. every complete line verifies, and there is at least one: what has no complete first record never began;
2. the torn bytes are kept in a file of their own beside the transcript;
3. the complete lines and one more record, which names that file, its length and its digest, take the transcript's place
   in one step: there is no moment at which torn bytes are gone and no record tells of them.

A complete line that was changed is not torn: such a transcript is refused, and stays as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ceremony.records import Kind
from ceremony.transcript import LIMIT_BYTES, Json, Record, following, locked, split_torn, verify_chain
from shared import durable
from shared.clock import Clock
from shared.errors import RequestRejected

_ASIDE = "transcript.torn-{line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Torn:
    """A transcript whose last line has no end."""

    path: Path
    records: tuple[Record, ...]
    """What is complete."""
    rest: bytes = field(repr=False)
    """The torn line."""

    @property
    def line(self) -> int:
        """The torn line's number, from 1."""
        return len(self.records) + 1

    def describe(self) -> str:
        """Say what is wrong, in a line."""
        return f"line {self.line} of the record was torn: {len(self.rest)} bytes of it are there, and no end"


def find_torn(path: Path) -> Torn | None:
    """Return what is torn of a transcript; ``None`` when its last line has an end. Changes nothing.

    Args:
        path: the transcript.

    Raises:
        RequestRejected: ``transcript.torn`` when not even the first record is complete, ``transcript.malformed`` when
            more than a line is torn, and as ``verify_chain``.
    """
    whole, rest = split_torn(durable.read_file(path, limit=LIMIT_BYTES))
    if not rest:
        return None
    # 1.
    if not whole:
        raise RequestRejected(
            "transcript.torn",
            "the first record was torn: this ceremony never began",
            hint="keep the directory as evidence, and begin in another one",
        )
    if _is_more_than_a_line(rest):
        raise RequestRejected(
            "transcript.malformed",
            f"{path} ends in more than a torn line",
            hint="somebody changed it: keep it as evidence",
        )
    return Torn(path=path, records=verify_chain(whole), rest=rest)


def _is_more_than_a_line(rest: bytes) -> bool:
    # A file system may leave zeros where bytes were to come; whatever else follows a whole record is no torn line.
    try:
        _, end = json.JSONDecoder().raw_decode(rest.rstrip(b"\0").decode("ascii"))
    except ValueError:
        return False
    return end < len(rest.rstrip(b"\0"))


def mend(torn: Torn, clock: Clock) -> Record:
    """Set the torn line aside, and record that.

    Args:
        torn: from ``find_torn``.
        clock: gives the record its time.

    Returns:
        The record that tells of it.

    Raises:
        RequestRejected: ``transcript.clock-stepped-back`` or ``transcript.changed`` when the file changed meanwhile.
        StoreFailed: ``transcript.in-use`` or ``file.write-failed``.
    """
    with locked(torn.path):
        whole, rest = split_torn(durable.read_file(torn.path, limit=LIMIT_BYTES))
        if rest != torn.rest or verify_chain(whole)[-1].digest != torn.records[-1].digest:
            raise RequestRejected("transcript.changed", f"{torn.path} was changed by somebody else meanwhile")
        # 2.
        aside = _keep(torn)
        # 3.
        facts: dict[str, Json] = {
            "file": aside.name,
            "bytes": len(rest),
            "sha256": hashlib.sha256(rest).hexdigest(),
            "line": torn.line,
        }
        line, record = following(torn.records[-1], clock, Kind.TRANSCRIPT_MENDED, facts)
        durable.replace(torn.path, whole + line)
    return record


def _keep(torn: Torn) -> Path:
    # A file of the same bytes is from a mend that was cut off itself.
    first = torn.path.with_name(_ASIDE.format(line=torn.line))
    for number in range(1, 100):
        path = first if number == 1 else first.with_name(f"{first.name}-{number}")
        if not path.exists():
            durable.write_new(path, torn.rest)
            return path
        if durable.read_file(path, limit=LIMIT_BYTES) == torn.rest:
            return path
    raise RequestRejected("file.exists", f"{first} and many like it exist already", hint="move them away")


def mending_claims(directory: Path, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Check what was set aside; yield text and evidence of each claim that holds.

    Raises:
        RequestRejected: ``verify.mended`` or ``file.*``.
    """
    for record in records:
        if record.kind != Kind.TRANSCRIPT_MENDED:
            continue
        file, digest = str(record.body.get("file")), record.body.get("sha256")
        kept = durable.read_file(directory / Path(file).name, limit=LIMIT_BYTES)
        if hashlib.sha256(kept).hexdigest() != digest or len(kept) != record.body.get("bytes"):
            raise RequestRejected(
                "verify.mended", f"this ceremony does not verify: {file} is not the torn line of record {record.seq}"
            )
        yield f"a torn line of {len(kept)} bytes was set aside, as it was found", f"{file}, record {record.seq}"


def set_aside(records: Sequence[Record]) -> frozenset[str]:
    """Return the names of the files in which torn lines are kept."""
    return frozenset(str(each.body.get("file")) for each in records if each.kind == Kind.TRANSCRIPT_MENDED)
