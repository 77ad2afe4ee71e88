"""Acts that are killed at any record: run again, each finishes what it began, and signs nothing twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from fakes.interruption import Killed, killed_after
from fakes.later_acts import Partner, Story, make_partner, plan_text
from fakes.rehearsal import no_hardening
from fakes.softhsm import needs_softhsm

from ceremony.conduct import destroy as destroy_room
from ceremony.hsm.erasing import erase_token

pytestmark = needs_softhsm


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)


@pytest.fixture(scope="module")
def partner() -> Partner:
    """Another CA."""
    return make_partner()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, partner: Partner) -> Iterator[Story]:
    """Root and intermediate, never changed: tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        story = Story(tmp_path_factory.mktemp("begun"))
        story.begin(partner, plan_text(partner, key="ec-p256"))
        done = story.alpha()
        assert done.exit_code == 0, done.stderr
        yield story


def _run_killed(story: Story, command: tuple[str, ...], *, after: int) -> bool:
    """Run an act that is killed when it wants to write the record after so many; tell whether it came to that."""

    def act() -> None:
        done = story.act(*command)
        assert done.exit_code == 0, done.stderr

    return killed_after(after, act)


def _records(story: Story, kind: str) -> list[dict[str, object]]:
    lines = (story.directory / "transcript.jsonl").read_text().splitlines()
    return [record["body"] for record in map(json.loads, lines) if record["kind"] == kind]


def _finish(story: Story, command: tuple[str, ...]) -> None:
    done = story.act(*command)
    # When only the signature under the act's end was missing, everything is done already.
    assert done.exit_code == 0 or "already" in done.stderr, done.stderr
    verified = story.run("verify", story.directory)
    assert verified.exit_code == 0, verified.stderr


@pytest.mark.parametrize("after", [1, 5, 6, 8, 12, 13])
def test_lists_after_a_kill(begun: Story, tmp_path: Path, after: int) -> None:
    """A number that stands on two different lists would make one of them a forgery."""
    story, command = begun.copy(tmp_path / "story"), ("crl", "yearly")
    assert _run_killed(story, command, after=after)
    _finish(story, command)
    issued = _records(story, "list-issued")
    assert [body["number"] for body in issued] == [1, 2, 3]
    prepared = {(body["number"], body["tbs_sha256"]) for body in _records(story, "list-prepared")}
    assert len(prepared) == 3


@pytest.mark.parametrize("after", [7, 9])
def test_a_cross_certificate_after_a_kill(begun: Story, tmp_path: Path, after: int) -> None:
    """Two certificates of one name would be one more than was agreed on."""
    story = begun.copy(tmp_path / "story")
    command = ("cross", "partner", str(story.other_root))
    assert _run_killed(story, command, after=after)
    _finish(story, command)
    assert len(_records(story, "cross-issued")) == 1


@pytest.mark.parametrize("after", [5, 6, 10, 12])
def test_a_rollover_after_a_kill(begun: Story, tmp_path: Path, after: int) -> None:
    """A next key that was generated and never recorded must be found, proven and taken up, not doubled."""
    story, command = begun.copy(tmp_path / "story"), ("rollover", "next")
    assert _run_killed(story, command, after=after)
    _finish(story, command)
    assert len(_records(story, "next-key-generated")) == 1
    assert len(_records(story, "next-root-issued")) == 1
    # What was all signed is delivered without the HSM: the next act's look is the proof.
    assert story.act("inventory").exit_code == 0
    objects = _records(story, "inventory-taken")[-1]["objects"]
    assert isinstance(objects, list)
    assert len(objects) == 4


@pytest.mark.parametrize("after", [5, 6, 8, 11])
def test_a_destruction_after_a_kill(begun: Story, tmp_path: Path, after: int) -> None:
    """A destruction that stopped half-way must come to its end, and to its proof."""
    story, command = begun.copy(tmp_path / "story"), ("destroy",)
    assert _run_killed(story, command, after=after)
    done = story.act(*command)
    assert done.exit_code == 0, done.stderr
    assert len(_records(story, "token-erased")) == 1
    assert _records(story, "absence-proven")
    verified = story.run("verify", story.directory)
    assert verified.exit_code == 0, verified.stderr


@pytest.mark.parametrize("after", [6, 7])
def test_a_backup_after_a_kill(begun: Story, tmp_path: Path, after: int) -> None:
    """A wrapped key that lies beside the record, and of which nobody knows, would be the worst find of all."""
    story = begun.copy(tmp_path / "story")
    assert _run_killed(story, ("backup",), after=after)
    assert story.act("backup").exit_code == 0
    tried = story.act("restore-test")
    assert tried.exit_code == 0, tried.stderr
    assert story.run("verify", story.directory).exit_code == 0


def test_an_erased_token_whose_record_was_lost(begun: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the erasing and its record the machine may stop: nobody can log in to look then."""
    story = begun.copy(tmp_path / "story")

    def erased(*arguments: object, **options: object) -> str:
        erase_token(*arguments, **options)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(destroy_room, "erase_token", erased)
    with pytest.raises(Killed):
        story.act("destroy")
    monkeypatch.setattr(destroy_room, "erase_token", erase_token)
    done = story.act("destroy")
    assert done.exit_code == 0, done.stderr
    assert story.run("verify", story.directory).exit_code == 0


def test_files_that_could_not_be_written(begun: Story, tmp_path: Path) -> None:
    """A full disk must not cost a signature: what was signed is delivered later, without a quorum."""
    story, command = begun.copy(tmp_path / "story"), ("crl", "yearly")
    assert story.act(*command).exit_code == 0
    unlocked = len(_records(story, "quorum-unlocked"))
    before = {path.name: path.read_bytes() for path in story.directory.glob("crl/*.crl")}
    lines = (story.directory / "transcript.jsonl").read_bytes().splitlines(keepends=True)
    written = next(number for number, line in enumerate(lines) if b'"kind":"files-written"' in line)
    (story.directory / "transcript.jsonl").write_bytes(b"".join(lines[:written]))
    for path in story.directory.glob("crl/*.crl"):
        path.unlink()
    done = story.act(*command)
    assert done.exit_code == 0, done.stderr
    assert "these are those lists" in done.stderr
    assert {path.name: path.read_bytes() for path in story.directory.glob("crl/*.crl")} == before
    assert len(_records(story, "quorum-unlocked")) == unlocked
    assert story.run("verify", story.directory).exit_code == 0


def test_another_file_is_not_overwritten(begun: Story, tmp_path: Path) -> None:
    """Whatever lies where a list shall appear is not ours to replace."""
    story = begun.copy(tmp_path / "story")
    (story.directory / "crl").mkdir()
    (story.directory / "crl" / "yearly-0002.crl").write_bytes(b"mine")
    done = story.act("crl", "yearly")
    assert (done.exit_code, "already exists" in done.stderr) == (1, True)
    assert not _records(story, "list-issued")
    (story.directory / "crl" / "yearly-0002.crl").unlink()
    (story.directory / "crl" / "yearly-0002.crl").symlink_to(tmp_path / "elsewhere")
    done = story.act("crl", "yearly")
    assert (done.exit_code, "already exists" in done.stderr) == (1, True)


def test_a_calendar_is_of_one_root(begun: Story, tmp_path: Path) -> None:
    """The lists of a calendar differ in number and dates alone."""
    story = begun.copy(tmp_path / "story")
    assert story.act("crl", "yearly").exit_code == 0
    lists = [x509.load_der_x509_crl(path.read_bytes()) for path in sorted(story.directory.glob("crl/*.crl"))]
    assert len({each.issuer.public_bytes() for each in lists}) == 1
    assert len({bytes(str([ext.oid for ext in each.extensions]), "ascii") for each in lists}) == 1
