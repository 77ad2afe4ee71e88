"""Killed at every record and resumed: the ceremony is finished and verifies, or people are told to begin anew."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from fakes.rehearsal import Rehearsal, no_hardening, request_bundle
from fakes.softhsm import needs_softhsm

from ceremony.records import Kind
from ceremony.transcript import Json, Record, Transcript, verify_chain
from shared import keys
from shared.errors import PolicyDenied

pytestmark = needs_softhsm

PLAN = """
version = 1
title = "Killed"
organization = "Example"
[root]
common_name = "Killed Root"
key = "ec-p384"
label = "killed-root"
years = 20
[[intermediate]]
file = "intermediate"
common_name = "Example Intermediate CA"
years = 5
[shares]
threshold = 2
custodians = ["Ada", "Blaise"]
"""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)


class Camera:
    """Copies everything right after each record, as a kill at that moment would leave it."""

    def __init__(self, rehearsal: Rehearsal, album: Path, patch: pytest.MonkeyPatch) -> None:
        self.pictures: list[tuple[str, Rehearsal]] = []
        append, create = Transcript.append, Transcript.create

        def shoot(kind: str) -> None:
            self.pictures.append((kind, rehearsal.copy(album / f"{len(self.pictures)}")))

        def appended(transcript: Transcript, kind: str, body: Mapping[str, Json]) -> Record:
            record = append(transcript, kind, body)
            shoot(kind)
            return record

        def created(path: Path, genesis: Mapping[str, Json], clock: object) -> Transcript:
            transcript = create(path, genesis, clock)  # type: ignore[arg-type]
            shoot("genesis")
            return transcript

        patch.setattr(Transcript, "append", appended)
        patch.setattr(Transcript, "create", created)


def _resume(rehearsal: Rehearsal, *more: str | Path) -> tuple[int, str]:
    done = rehearsal.run(
        "rehearse", "resume", "--dir", rehearsal.directory, "--hsm", rehearsal.base / "hsm.toml", "--words-file",
        rehearsal.words, *more,
    )  # fmt: skip
    return done.exit_code, done.stderr


def _kinds(rehearsal: Rehearsal) -> list[str]:
    return [record.kind for record in verify_chain((rehearsal.directory / "transcript.jsonl").read_bytes())]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Rehearsal]]:
    """What a kill leaves after each record of a root act and an intermediate act."""
    base = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        rehearsal = Rehearsal(base / "run")
        rehearsal.base.mkdir()
        rehearsal.prepare(PLAN)
        request, *_ = rehearsal.request(request_bundle(keys.generate(keys.KeyKind.EC_P256)))
        camera = Camera(rehearsal, base / "album", patch)
        assert rehearsal.root().exit_code == 0
        assert rehearsal.intermediate(request).exit_code == 0
        return camera.pictures


def _split(pictures: list[tuple[str, Rehearsal]]) -> tuple[list[tuple[str, Rehearsal]], list[tuple[str, Rehearsal]]]:
    cut = [kind for kind, _ in pictures].index(Kind.ACT_OPENED)
    return pictures[:cut], pictures[cut:]


def test_every_record_of_the_root_act(pictures: list[tuple[str, Rehearsal]], tmp_path: Path) -> None:
    """A power cut at the worst moment must cost neither the key nor the record, and never leave people guessing."""
    root, _ = _split(pictures)
    certain = [kind for kind, _ in root].index(Kind.TOKEN_INITIALISED)
    assert len(root) >= 20
    for place, (kind, picture) in enumerate(root):
        again = picture.copy(tmp_path / str(place))
        status, said = _resume(again)
        if kind in {Kind.ACT_CLOSED, Kind.ACT_SIGNED}:
            assert (status, "no act is open" in said) == (1, True), (place, kind, said)
        elif place < certain:
            assert (status, "begin anew in another directory" in said) == (1, True), (place, kind, said)
            assert _kinds(again)[-2:] == [Kind.ACT_FAILED, Kind.ACT_SIGNED]
            continue
        else:
            assert status == 0, (place, kind, said)
            assert _kinds(again)[-2:] == [Kind.ACT_CLOSED, Kind.ACT_SIGNED]
        verified = again.run("verify", again.directory)
        assert verified.exit_code == 0, (place, kind, verified.stderr)


def test_every_record_of_the_intermediate_act(pictures: list[tuple[str, Rehearsal]], tmp_path: Path) -> None:
    """What was signed is delivered once; what was not is signed by running the act again."""
    _, below = _split(pictures)
    signed = [kind for kind, _ in below].index(Kind.CERTIFICATE_ISSUED)
    for place, (kind, picture) in enumerate(below):
        again = picture.copy(tmp_path / str(place))
        out = tmp_path / f"out-{place}"
        status, said = _resume(again, "--out", out)
        if kind in {Kind.ACT_CLOSED, Kind.ACT_SIGNED}:
            assert (status, "no act is open" in said) == (1, True), (place, kind, said)
        elif place < signed:
            assert (status, "run it again" in said) == (1, True), (place, kind, said)
            done = again.intermediate(again.crossing / "request.bundle")
            assert done.exit_code == 0, (place, kind, done.stderr)
        else:
            assert status == 0, (place, kind, said)
            assert (out / "reply.bundle").exists()
        verified = again.run("verify", again.directory)
        assert verified.exit_code == 0, (place, kind, verified.stderr)


def test_status_names_what_goes_on(pictures: list[tuple[str, Rehearsal]], tmp_path: Path) -> None:
    """After a kill people ask what to type: the act's own command is refused, and `resume` is what goes on."""
    root, below = _split(pictures)
    killed = root[5][1].copy(tmp_path / "root")
    said = killed.run("status", "--dir", killed.directory).stdout
    assert said.endswith("next: ceremony rehearse resume --dir DIR --hsm hsm.toml --words-file WORDS\n")
    _resume(killed)
    said = killed.run("status", "--dir", killed.directory).stdout
    assert "another directory" in said.splitlines()[-1]
    killed = below[2][1].copy(tmp_path / "below")
    said = killed.run("status", "--dir", killed.directory).stdout
    assert said.endswith("next: ceremony rehearse resume --dir DIR --hsm hsm.toml --words-file WORDS --out OUT\n")


@pytest.mark.parametrize(
    ("ends_at", "said"), [("_Dealing", "before the HSM was asked"), ("sign_root", "Destroy token")]
)
def test_what_a_failed_root_act_leaves(tmp_path: Path, ends_at: str, said: str) -> None:
    """Whoever is told to destroy a token that nothing was asked of destroys a device, and its warranty, for nothing."""
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(PLAN)

    def refuse(*_: object, **__: object) -> None:
        raise PolicyDenied("people.refused", "people stop here")

    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        patch.setattr(f"ceremony.conduct.root.{ends_at}", refuse)
        done = rehearsal.root()
    assert (done.exit_code, said in done.stderr) == (1, True), done.stderr


def _at(pictures: list[tuple[str, Rehearsal]], kind: Kind) -> Rehearsal:
    return next(picture for found, picture in pictures if found == kind)


def test_the_hsm_acted_and_the_record_does_not_know(pictures: list[tuple[str, Rehearsal]], tmp_path: Path) -> None:
    """An intent without its result: the key may be there, the PINs may be the shares'. Nobody must guess."""
    before, after = _at(pictures, Kind.TOKEN_INITIALISED), _at(pictures, Kind.KEY_GENERATED)
    # The record stops where the HSM was asked; the HSM is as it was later.
    for number, (later, kind, found) in enumerate(
        ((before, Kind.SHARES_READ_BACK, "shares-open-it"), (after, Kind.INVENTORY_TAKEN, "key"))
    ):
        again = _at(pictures, kind).copy(tmp_path / str(number))
        if found == "key":
            path = again.directory / "transcript.jsonl"
            lines = (later.directory / "transcript.jsonl").read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join(lines[:-1]))
        shutil.rmtree(again.directory / "tokens")
        shutil.copytree(later.directory / "tokens", again.directory / "tokens")
        status, said = _resume(again)
        assert status == 0, said
        assert f"the HSM says: {found}" in said
        assert again.run("verify", again.directory).exit_code == 0


def test_a_failed_try_leaves_the_act_open(pictures: list[tuple[str, Rehearsal]], tmp_path: Path) -> None:
    """A custodian who is late must not cost the root."""
    again = _at(pictures, Kind.KEY_GENERATED).copy(tmp_path / "again")
    words = again.words.read_bytes()
    again.words.unlink()
    assert _resume(again)[0] == 1
    again.words.write_bytes(words)
    again.words.chmod(0o600)
    assert _resume(again)[0] == 0
    verified = again.run("verify", again.directory)
    assert verified.exit_code == 0, verified.stderr


def test_what_is_not_resumed(pictures: list[tuple[str, Rehearsal]], tmp_path: Path) -> None:
    """Each refusal must come before anything is written."""
    _, below = _split(pictures)
    signed = next(picture for kind, picture in below if kind == Kind.CERTIFICATE_ISSUED).copy(tmp_path / "signed")
    before = signed.snapshot()
    status, said = _resume(signed)
    assert (status, "add --out" in said) == (1, True)
    done = signed.run("resume", "--dir", signed.directory, "--hsm", signed.base / "hsm.toml")
    assert (done.exit_code, "not a real one" in done.stderr) == (1, True)
    assert signed.snapshot() == before
    (signed.directory / "plan.toml").write_text(PLAN.replace("Killed Root", "Other Root"))
    status, said = _resume(signed)
    assert (status, "is not the plan" in said) == (1, True)
    nothing = Rehearsal(tmp_path / "nothing")
    nothing.base.mkdir()
    nothing.prepare(PLAN)
    status, said = _resume(nothing)
    assert (status, "holds no ceremony" in said) == (1, True)


PROGRAM = """
import os, sys
from ceremony import host
from ceremony.cli import cli
from ceremony.transcript import Transcript
host.harden_process = lambda: ()
append, left = Transcript.append, [int(sys.argv.pop(1))]
def killed(self, kind, body):
    record = append(self, kind, body)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), 9)
    return record
Transcript.append = killed
cli()
"""


@pytest.mark.parametrize("record", [2, 9, 14])
def test_killed_for_real(tmp_path: Path, record: int) -> None:
    """Pictures show the disk; a real kill also shows what the process itself leaves behind."""
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(PLAN)
    command = [
        sys.executable, "-c", PROGRAM, str(record), "rehearse", "root", "--plan", tmp_path / "plan.toml", "--hsm",
        tmp_path / "hsm.toml", "--dir", rehearsal.directory, "--words-file", rehearsal.words,
    ]  # fmt: skip
    killed = subprocess.run(
        [str(each) for each in command], capture_output=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert killed.returncode == -9, killed.stderr
    status, said = _resume(rehearsal)
    assert status == 0 or "begin anew in another directory" in said
    assert status == 1 or rehearsal.run("verify", rehearsal.directory).exit_code == 0
