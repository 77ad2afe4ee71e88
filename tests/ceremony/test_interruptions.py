"""What stops an act half-way, and what the next run makes of it: nothing is signed twice, nothing stays unexplained."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.clock import FakeClock
from fakes.rehearsal import Rehearsal, full_rehearsal, no_hardening
from fakes.softhsm import needs_softhsm

from ceremony.conduct import intermediate
from ceremony.plan import EXAMPLE
from ceremony.records import Kind
from ceremony.transcript import Transcript, verify_chain
from shared import durable
from shared.errors import StoreFailed
from shared.pem import load_certificate


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """One finished rehearsal, never changed: tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        yield full_rehearsal(tmp_path_factory.mktemp("interruptions"))


def _cut_after(rehearsal: Rehearsal, kind: Kind, *, last: bool = True) -> None:
    """Leave the transcript as a power cut right after a record would."""
    path = rehearsal.directory / "transcript.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if json.loads(line)["kind"] == kind]
    path.write_bytes(b"".join(lines[: places[-1 if last else 0] + 1]))


def _serial(rehearsal: Rehearsal) -> int:
    return load_certificate((rehearsal.directory / "intermediate.crt").read_bytes()).serial_number


@needs_softhsm
def test_a_power_cut_after_the_signature(finished: Rehearsal, tmp_path: Path) -> None:
    """Signing again would make a second certificate that nobody agreed on, and a record that never verifies."""
    copy = finished.copy(tmp_path / "copy")
    signed = _serial(copy)
    _cut_after(copy, Kind.CERTIFICATE_ISSUED)
    (copy.directory / "intermediate.crt").unlink()
    for reply in copy.crossing.glob("reply*"):
        reply.unlink()
    assert copy.run("verify", copy.directory).exit_code == 1
    copy.words.unlink()  # no shares are needed to hand over what is signed
    done = copy.intermediate(copy.crossing / "request.bundle")
    assert done.exit_code == 0, done.stderr
    assert "recorded as abandoned" in done.stderr
    assert "it was signed before" in done.stderr
    assert _serial(copy) == signed
    verified = copy.run("verify", copy.directory)
    assert verified.exit_code == 0, verified.stderr
    assert "1 broke off and were found so" in verified.stdout


@needs_softhsm
def test_a_power_cut_before_the_signature(finished: Rehearsal, tmp_path: Path) -> None:
    """The act is begun anew, and the record says that it was."""
    copy = finished.copy(tmp_path / "copy")
    _cut_after(copy, Kind.REQUEST_ACCEPTED)
    for path in (copy.directory / "intermediate.crt", *copy.crossing.glob("reply*")):
        path.unlink()
    assert copy.intermediate(copy.crossing / "request.bundle").exit_code == 0
    assert copy.run("verify", copy.directory).exit_code == 0


@needs_softhsm
def test_an_answer_that_cannot_be_written(finished: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stick that fills up at the last moment must not cost the certificate, nor the record."""
    copy = finished.copy(tmp_path / "copy")
    _cut_after(copy, Kind.ACT_CLOSED, last=False)
    for path in (copy.directory / "intermediate.crt", *copy.crossing.glob("reply*")):
        path.unlink()

    def full(*_: object) -> list[Path]:
        raise StoreFailed("file.write-failed", "the stick is full")

    with monkeypatch.context() as patch:
        patch.setattr(intermediate, "stage_bundle", full)
        done = copy.intermediate(copy.crossing / "request.bundle")
    assert (done.exit_code, "the stick is full" in done.stderr) == (1, True)
    undelivered = copy.run("verify", copy.directory)
    assert (undelivered.exit_code, "never delivered" in undelivered.stdout) == (0, True), undelivered.stderr
    assert copy.intermediate(copy.crossing / "request.bundle").exit_code == 0
    verified = copy.run("verify", copy.directory)
    assert (verified.exit_code, "never delivered" in verified.stdout) == (0, False), verified.stderr


def _left_over(out: Path) -> None:
    out.mkdir()
    (out / "reply-2.png").write_bytes(b"old")


@needs_softhsm
@pytest.mark.parametrize("place", ["dangling", "fifo", "left over"])
def test_an_unusable_place_is_refused_before_anybody_unlocks(finished: Rehearsal, tmp_path: Path, place: str) -> None:
    """People who brought their shares must not have done so for an answer that has nowhere to go."""
    copy = finished.copy(tmp_path / "copy")
    _cut_after(copy, Kind.ACT_CLOSED, last=False)
    (copy.directory / "intermediate.crt").unlink()
    for path in copy.crossing.glob("reply*"):
        path.unlink()
    out = tmp_path / "out"
    prepare: dict[str, Callable[[], object]] = {
        "dangling": lambda: out.symlink_to(tmp_path / "nowhere" / "else"),
        "fifo": lambda: os.mkfifo(out),
        "left over": lambda: _left_over(out),
    }
    prepare[place]()
    before = (copy.directory / "transcript.jsonl").read_bytes()
    done = copy.run(
        "rehearse", "intermediate", "--dir", copy.directory, "--hsm", copy.base / "hsm.toml", "--words-file",
        copy.words, "--out", out, copy.crossing / "request.bundle",
    )  # fmt: skip
    assert done.exit_code == 1
    assert (copy.directory / "transcript.jsonl").read_bytes() == before


@needs_softhsm
@pytest.mark.parametrize(
    ("hsm", "words", "said"),
    [
        ('module = "/nowhere/hsm.so"\ntoken_label = "root"\n', "words.txt", "does not exist"),
        ('module = "/etc/hostname"\ntoken_label = "root"\n', "words.txt", "hsm"),
        (None, "missing/words.txt", "cannot be written"),
    ],
)
def test_what_can_be_known_is_known_before_anything_is_written(
    tmp_path: Path, hsm: str | None, words: str, said: str
) -> None:
    """A newcomer without the HSM's library must be able to run the same command again after installing it."""
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(EXAMPLE)
    if hsm is not None:
        (tmp_path / "hsm.toml").write_text(hsm)
    before = rehearsal.snapshot()
    done = rehearsal.run(
        "rehearse", "root", "--plan", tmp_path / "plan.toml", "--hsm", tmp_path / "hsm.toml", "--dir",
        rehearsal.directory, "--words-file", tmp_path / words,
    )  # fmt: skip
    assert (done.exit_code, said in done.stderr) == (1, True), done.stderr
    assert rehearsal.snapshot() == before
    assert not rehearsal.directory.exists() or not any(rehearsal.directory.iterdir())


@needs_softhsm
def test_papers_and_strays_are_looked_at(finished: Rehearsal, tmp_path: Path) -> None:
    """A receipt that was altered, and a certificate that no record tells of, are what an auditor looks for."""
    copy = finished.copy(tmp_path / "copy")
    receipt = copy.directory / "sheets" / "receipt-2.pdf"
    content = receipt.read_bytes()
    receipt.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    done = copy.run("verify", copy.directory)
    assert (done.exit_code, "receipt-2.pdf is not the paper" in done.stderr) == (1, True)
    receipt.write_bytes(content)
    (copy.directory / "other.crt").write_bytes((copy.directory / "root.crt").read_bytes())
    done = copy.run("verify", copy.directory)
    assert (done.exit_code, "other.crt lies here, and no record tells of it" in done.stderr) == (1, True)
    (copy.directory / "other.crt").unlink()
    # A link to a directory is a file that lies here: what it shows elsewhere is looked at by nobody.
    for place, said in (("sheets/more", "among the papers"), ("crl/more", "no record"), ("plans/more", "no record")):
        link = copy.directory / place
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(tmp_path)
        done = copy.run("verify", copy.directory)
        assert (done.exit_code, place in done.stderr, said in done.stderr) == (1, True, True)
        link.unlink()
    assert copy.run("verify", copy.directory).exit_code == 0


@needs_softhsm
@pytest.mark.parametrize("head", ["", "woodlark filament", "00", "zz" * 32])
def test_a_head_that_is_none(finished: Rehearsal, head: str) -> None:
    """A slip of the pen must not be reported as a forged record."""
    done = finished.run("verify", finished.directory, "--head", head)
    assert (done.exit_code, "neither 64 hex digits nor 32 digest words" in done.stderr) == (1, True)


def test_an_interrupt_while_a_record_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between writing and remembering a line made the program take its own line for a forgery."""
    path = tmp_path / "transcript.jsonl"
    transcript = Transcript.create(path, {"a": 1}, FakeClock())
    append = durable.append_line

    def interrupted(target: Path, line: bytes) -> None:
        append(target, line)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "append_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            transcript.append("one", {})
    transcript.append("two", {})
    assert [record.kind for record in verify_chain(path.read_bytes())] == ["genesis", "one", "two"]
