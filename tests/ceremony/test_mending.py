"""A torn last line: found at every byte, set aside with a record, and never silently."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from fakes.clock import FakeClock
from fakes.rehearsal import Rehearsal, full_rehearsal, no_hardening
from fakes.softhsm import needs_softhsm

from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.resume import resume
from ceremony.conduct.setting import Setting
from ceremony.hsm import load_hsm_settings
from ceremony.mending import Torn, find_torn, mend
from ceremony.records import Kind, Mode
from ceremony.terminal import Rehearsing
from ceremony.transcript import Transcript, verify_chain
from shared import durable
from shared.clock import SystemClock
from shared.errors import ColdrootError, PolicyDenied, RequestRejected, StoreFailed


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)


def _transcript(path: Path) -> list[bytes]:
    transcript = Transcript.create(path, {"mode": "rehearsal"}, FakeClock())
    transcript.append("hsm-intent", {"operation": "x"})
    transcript.append("certificate-issued", {"file": "root.crt"})
    return path.read_bytes().splitlines(keepends=True)


def _torn(path: Path) -> Torn:
    found = find_torn(path)
    assert found is not None
    return found


def test_at_every_byte_of_the_last_line(tmp_path: Path) -> None:
    """Wherever the power fails while a line is written, nothing that was recorded is lost, and nothing is guessed."""
    path = tmp_path / "transcript.jsonl"
    *before, last = _transcript(path)
    for cut in range(1, len(last)):
        path.write_bytes(b"".join(before) + last[:cut])
        with pytest.raises(RequestRejected) as refused:
            Transcript.open(path, FakeClock())
        assert refused.value.code == "transcript.torn"
        record = mend(_torn(path), FakeClock())
        assert path.read_bytes().startswith(b"".join(before))
        assert verify_chain(path.read_bytes())[-1] == record
        aside = tmp_path / str(record.body["file"])
        assert aside.read_bytes() == last[:cut]
        assert record.body["sha256"] == hashlib.sha256(last[:cut]).hexdigest()
        assert find_torn(path) is None
        Transcript.open(path, FakeClock()).append("act-closed", {"act": "root"})
        aside.unlink()


def test_a_whole_line_and_none_are_not_torn(tmp_path: Path) -> None:
    """What needs no mending must stay as it is; what never began cannot be mended."""
    path = tmp_path / "transcript.jsonl"
    lines = _transcript(path)
    for count in range(1, len(lines) + 1):
        path.write_bytes(b"".join(lines[:count]))
        assert find_torn(path) is None
    path.write_bytes(lines[0][:-1])
    with pytest.raises(RequestRejected) as refused:
        find_torn(path)
    assert (refused.value.code, "never began" in refused.value.message) == ("transcript.torn", True)


def test_what_was_changed_is_not_mended(tmp_path: Path) -> None:
    """A mend that also forgave a changed line would forge; only the last whole line is left to the head."""
    path = tmp_path / "transcript.jsonl"
    *before, last = _transcript(path)
    whole = b"".join(before)
    for place in (*range(0, len(before[0]), 7), len(before[0]) - 1, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(bytes(changed) + last[:40])
        with pytest.raises(ColdrootError):
            find_torn(path)
        assert path.read_bytes() == bytes(changed) + last[:40]


def test_a_mend_that_is_cut_off_is_done_again(tmp_path: Path) -> None:
    """The machine that failed once may fail again: the bytes kept aside must not be kept twice, nor replaced."""
    path = tmp_path / "transcript.jsonl"
    *before, last = _transcript(path)
    path.write_bytes(b"".join(before) + last[:50])
    aside = tmp_path / "transcript.torn-3"
    aside.write_bytes(last[:50])
    assert mend(_torn(path), FakeClock()).body["file"] == aside.name
    path.write_bytes(b"".join(before) + last[:60])
    record = mend(_torn(path), FakeClock())
    assert record.body["file"] == "transcript.torn-3-2"
    assert aside.read_bytes() == last[:50]


def test_while_somebody_writes_nothing_is_mended(tmp_path: Path) -> None:
    """What looks torn may be a line that another command is writing right now."""
    path = tmp_path / "transcript.jsonl"
    *before, last = _transcript(path)
    path.write_bytes(b"".join(before) + last[:50])
    torn = _torn(path)
    from ceremony.transcript import locked  # noqa: PLC0415 (what another command holds)

    with locked(path), pytest.raises(StoreFailed) as refused:
        mend(torn, FakeClock())
    assert refused.value.code == "transcript.in-use"
    path.write_bytes(b"".join(before) + last)
    with pytest.raises(RequestRejected) as changed:
        mend(torn, FakeClock())
    assert changed.value.code == "transcript.changed"
    assert path.read_bytes() == b"".join(before) + last
    assert sorted(tmp_path.iterdir()) == [path]


def _killed_while_mending(path: Path, step: int) -> None:
    steps = [step]

    flush = os.fsync

    def fsync(descriptor: int) -> None:
        steps[0] -= 1
        if not steps[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = fsync  # type: ignore[assignment]
    mend(_torn(path), FakeClock())


@pytest.mark.parametrize("step", range(1, 6))
def test_killed_while_mending(tmp_path: Path, step: int) -> None:
    """At no moment may the torn bytes be gone and no record tell of them."""
    path = tmp_path / "transcript.jsonl"
    *before, last = _transcript(path)
    path.write_bytes(b"".join(before) + last[:50])
    child = multiprocessing.get_context("fork").Process(target=_killed_while_mending, args=(path, step))
    child.start()
    child.join(20)
    assert child.exitcode in {0, -signal.SIGKILL}
    torn = find_torn(path)
    if torn is not None:
        assert torn.rest == last[:50]
        mend(torn, FakeClock())
    record = verify_chain(path.read_bytes())[-1]
    assert (tmp_path / str(record.body["file"])).read_bytes() == last[:50]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """One finished rehearsal, never changed: tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        return full_rehearsal(tmp_path_factory.mktemp("mending"))


def _tear(rehearsal: Rehearsal, kind: Kind, size: int) -> bytes:
    """Leave the transcript as a power cut would that came while the last record of a kind was written."""
    path = rehearsal.directory / "transcript.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    place = max(number for number, line in enumerate(lines) if json.loads(line)["kind"] == kind)
    path.write_bytes(b"".join(lines[:place]) + lines[place][:size])
    return lines[place][:size]


def _resume(rehearsal: Rehearsal) -> tuple[int, str]:
    done = rehearsal.run(
        "rehearse", "resume", "--dir", rehearsal.directory, "--hsm", rehearsal.base / "hsm.toml", "--words-file",
        rehearsal.words, "--out", rehearsal.base / "again",
    )  # fmt: skip
    return done.exit_code, done.output


@needs_softhsm
@pytest.mark.parametrize(
    ("kind", "size", "status"),
    [
        (Kind.ACT_CLOSED, 1, 0),
        (Kind.REPLY_WRITTEN, 30, 0),
        (Kind.CERTIFICATE_ISSUED, 700, 1),
        (Kind.ACT_OPENED, 100, 0),
        (Kind.ACT_SIGNED, 60, 0),
    ],
)
def test_resume_mends_and_goes_on(finished: Rehearsal, tmp_path: Path, kind: Kind, size: int, status: int) -> None:
    """People in the room must be able to go on, by one command, and whoever verifies must see what happened."""
    copy = finished.copy(tmp_path / "copy")
    torn = _tear(copy, kind, size)
    refused = copy.run("verify", copy.directory)
    assert (refused.exit_code, "ceremony resume" in refused.stderr) == (1, True)
    done, said = _resume(copy)
    assert done == status, said
    assert "was torn" in said
    assert ("run it again" in said) == bool(status)
    if kind in {Kind.CERTIFICATE_ISSUED, Kind.ACT_OPENED}:
        (copy.directory / "intermediate.crt").unlink()
    verified = copy.run("verify", copy.directory)
    assert verified.exit_code == 0, verified.stderr
    assert "a torn line of" in verified.output
    assert "no record tells of" not in verified.output
    aside = next(copy.directory.glob("transcript.torn-*"))
    assert aside.read_bytes() == torn
    aside.write_bytes(torn[:-1] + bytes([torn[-1] ^ 1]))
    changed = copy.run("verify", copy.directory)
    assert (changed.exit_code, "is not the torn line" in changed.stderr) == (1, True)


class _Refusing(Rehearsing):
    """People who want the file left as it is."""

    def confirm(self, what: str) -> None:
        """Refuse."""
        raise PolicyDenied("people.refused", what)


@needs_softhsm
def test_nothing_is_mended_that_people_did_not_agree_to(finished: Rehearsal, tmp_path: Path) -> None:
    """An auditor may want the torn file as it was found."""
    copy = finished.copy(tmp_path / "copy")
    _tear(copy, Kind.ACT_CLOSED, 20)
    before = copy.snapshot()
    setting = Setting(
        directory=CeremonyDirectory(path=copy.directory),
        hsm=load_hsm_settings(copy.base / "hsm.toml"),
        people=_Refusing(copy.words),
        clock=SystemClock(),
        rng=os.urandom,
        mode=Mode.REHEARSAL,
    )
    with pytest.raises(PolicyDenied):
        resume(setting)
    assert copy.snapshot() == before
    real = copy.run("resume", "--dir", copy.directory, "--hsm", copy.base / "hsm.toml")
    assert (real.exit_code, "not a real one" in real.stderr) == (1, True)
    assert copy.snapshot() == before
    assert durable.read_file(copy.directory / "transcript.jsonl")
