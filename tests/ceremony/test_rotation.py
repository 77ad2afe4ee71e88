"""Rotations on a real (soft) HSM: the old shares die, the new ones live, and no stop on the way locks anybody out."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.forgery import rewrite
from fakes.keyboard import typed, types
from fakes.rehearsal import Rehearsal, fit_host, no_hardening, request_bundle
from fakes.rotation import PLAN, Stopped, rotate, stopping
from fakes.softhsm import needs_softhsm

from ceremony import hsm, shares
from ceremony.conduct.directory import CeremonyDirectory, Journal, open_journal
from ceremony.conduct.root import create_root
from ceremony.conduct.rotation import rotate as conduct
from ceremony.conduct.setting import Setting
from ceremony.hsm import Pins, PinsFound, load_hsm_settings
from ceremony.plan import load_plan
from ceremony.records import Kind, Mode
from ceremony.secret import CeremonySecret
from ceremony.share_history import DealtSet
from ceremony.terminal import AtTerminal, Rehearsing
from shared import keys, terminal
from shared.clock import SystemClock
from shared.errors import Fatal

pytestmark = needs_softhsm


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)


@pytest.fixture(scope="module")
def rooted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """A root whose shares are in groups; never changed, tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        rehearsal = Rehearsal(tmp_path_factory.mktemp("rooted"))
        rehearsal.prepare(PLAN)
        done = rehearsal.root()
        assert done.exit_code == 0, done.stderr
        yield rehearsal


def journal(rehearsal: Rehearsal) -> Journal:
    return open_journal(CeremonyDirectory(path=rehearsal.directory), SystemClock())


def secret(rehearsal: Rehearsal, dealt: DealtSet, words: Path) -> CeremonySecret:
    del rehearsal
    return shares.combine(shares.read_words_file(words), dealt.commitments)


def opened_by(rehearsal: Rehearsal, ceremony_secret: CeremonySecret) -> PinsFound:
    serial = str(journal(rehearsal).find(Kind.TOKEN_INITIALISED)[0].body["serial"])
    pins = Pins(so=ceremony_secret.so_pin(), user=ceremony_secret.user_pin())
    return hsm.try_pins(load_hsm_settings(rehearsal.base / "hsm.toml"), serial, pins)


def verified(rehearsal: Rehearsal) -> str:
    done = rehearsal.run("verify", rehearsal.directory)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_rotation_from_groups_to_others(rooted: Rehearsal, tmp_path: Path) -> None:
    """Two rotations one after the other: at every moment exactly the last custodians can sign."""
    rehearsal = rooted.copy(tmp_path / "copy")
    first = journal(rehearsal).shares().live
    assert first is not None
    done = rotate(rehearsal)
    assert done.exit_code == 0, done.stderr
    second = journal(rehearsal).shares().live
    assert second is not None
    assert (second.act, second.commitments.shape.describe()) == ("rotate:second", "2 of 3 custodians")
    assert opened_by(rehearsal, secret(rehearsal, first, rehearsal.words)) == PinsFound(user=False, so=False)
    assert opened_by(rehearsal, secret(rehearsal, second, rehearsal.base / "words-2.txt")).both
    # The old words are refused by their set, before the HSM is asked.
    request, *_ = rehearsal.request(request_bundle(keys.generate(keys.KeyKind.EC_P256)))
    refused = rehearsal.intermediate(request)
    assert (refused.exit_code, "which the record says was replaced" in refused.stderr) == (1, True)
    assert rehearsal.intermediate(request, words=rehearsal.base / "words-2.txt").exit_code == 0
    third = rehearsal.run(
        "rehearse", "rotate", "--dir", rehearsal.directory, "--hsm", rehearsal.base / "hsm.toml", "--words-file",
        rehearsal.base / "words-2.txt", "--new-words-file", rehearsal.base / "words-3.txt",
    )  # fmt: skip
    assert third.exit_code == 0, third.stderr
    said = verified(rehearsal)
    assert said.count("is dead: its PINs were tried and refused") == 2
    assert "2 of 2 groups (2 of 2 board, 1 of 1 safe) unlock the HSM" in said
    for again in ("second", "third"):
        refused = rotate(rehearsal, new="words-4.txt", name=again)
        assert (refused.exit_code, "was already done" in refused.stderr) == (1, True)


def test_a_rotation_that_is_no_act_of_the_plan(tmp_path: Path) -> None:
    """What the order of the day does not list is not done, though the plan describes it."""
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(PLAN.replace('"rotate:second", ', ""))
    assert rehearsal.root().exit_code == 0
    done = rotate(rehearsal)
    assert (done.exit_code, "the plan has no act rotate:second" in done.stderr) == (1, True)


def test_a_dry_run_touches_nothing(rooted: Rehearsal, tmp_path: Path) -> None:
    """Whoever tries a rotation out must not have changed whose shares unlock the root."""
    rehearsal = rooted.copy(tmp_path / "copy")
    before = {path: path.read_bytes() for path in sorted(rehearsal.base.rglob("*")) if path.is_file()}
    done = rotate(rehearsal, "--dry-run")
    assert done.exit_code == 0, done.stderr
    for expected in ("dry run of rotate:second", "[pins.replaced]", "sheets/second/share-3.pdf", "PINs are replaced"):
        assert expected in done.stdout
    assert before == {path: path.read_bytes() for path in sorted(rehearsal.base.rglob("*")) if path.is_file()}


def test_refusals_leave_no_trace(rooted: Rehearsal, tmp_path: Path) -> None:
    """A mistake on the command line must cost nothing: no record, no sheet, no PIN."""
    rehearsal = rooted.copy(tmp_path / "copy")
    (rehearsal.base / "words-2.txt").write_text(rehearsal.words.read_text())
    (rehearsal.base / "words-2.txt").chmod(0o600)
    before = rehearsal.snapshot()
    for done, said in (
        (rotate(rehearsal), "words-2.txt already exists"),
        (rotate(rehearsal, new="x", name="fourth"), "the plan has no rotation fourth"),
        (rotate(rehearsal, "--take-back", new="x"), "no rotation was interrupted"),
        (rehearsal.run("rehearse", "rotate", "--dir", rehearsal.directory, "--hsm", rehearsal.base / "hsm.toml",
                       "--words-file", rehearsal.words, "--new-words-file", "x"), "say which rotation"),
        (rehearsal.run("share", "rotate", "--dir", rehearsal.directory, "--hsm", rehearsal.base / "hsm.toml", "second"),
         "this ceremony is a rehearsal"),
    ):  # fmt: skip
        assert (done.exit_code, said in done.stderr) == (1, True), done.stderr
        assert rehearsal.snapshot() == before
    setting = Setting(
        directory=CeremonyDirectory(path=rehearsal.directory),
        hsm=load_hsm_settings(rehearsal.base / "hsm.toml"),
        people=Rehearsing(rehearsal.words),
        clock=SystemClock(),
        rng=os.urandom,
        mode=Mode.REAL,
    )
    with pytest.raises(Fatal):
        conduct(setting, "second", keep_shares=print)


def _records_of_a_rotation(rooted: Rehearsal, place: Path) -> list[str]:
    rehearsal = rooted.copy(place)
    before = len((rehearsal.directory / "transcript.jsonl").read_bytes().splitlines())
    assert rotate(rehearsal).exit_code == 0
    lines = (rehearsal.directory / "transcript.jsonl").read_bytes().splitlines()[before:]
    kinds = [str(json.loads(line)["kind"]) for line in lines]
    return [kind for kind in kinds if kind != "act-signed"]


def test_every_place_at_which_it_can_stop_is_tried(rooted: Rehearsal, tmp_path: Path) -> None:
    """The parametrised test below counts records: a further one must not go untried."""
    assert _records_of_a_rotation(rooted, tmp_path / "whole") == [
        "act-opened", "host-checked", "quorum-unlocked", "inventory-taken", "entropy-mixed", "shares-dealt",
        *["sheet-written", "sheet-read-back"] * 3,
        "shares-read-back", "quorum-recombined", "hsm-intent", "inventory-taken", "pins-replaced", "shares-retired",
        "act-closed",
    ]  # fmt: skip


@pytest.mark.parametrize("after", range(19))
def test_stopped_anywhere_nobody_is_locked_out(
    rooted: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Whenever the power goes, old or new shares open the HSM, and the act run again ends with the new ones alone."""
    rehearsal = rooted.copy(tmp_path / "copy")
    new_words = rehearsal.base / "words-2.txt"
    with stopping(monkeypatch, after=after) as kinds, pytest.raises(BaseException) as stopped:
        done = rotate(rehearsal)
        raise done.exception or AssertionError(done.output)
    assert isinstance(stopped.value, Stopped | SystemExit)
    assert len(kinds) > after
    history = journal(rehearsal).shares()
    old = next(each for each in history.dealt if each.act == "root")
    openers = [opened_by(rehearsal, secret(rehearsal, old, rehearsal.words))]
    if len(history.dealt) > 1 and new_words.exists():
        openers.append(opened_by(rehearsal, secret(rehearsal, history.dealt[1], new_words)))
    assert any(each.user for each in openers)
    assert any(each.so for each in openers)
    # Nobody signs while it is not known whose shares these are.
    if history.replacing is not None:
        request, *_ = rehearsal.request(request_bundle(keys.generate(keys.KeyKind.EC_P256)))
        refused = rehearsal.intermediate(request)
        assert "a rotation of shares was interrupted" in refused.stderr
        assert rehearsal.run("verify", rehearsal.directory).exit_code == 1
    again = rotate(rehearsal)
    if kinds[-1] == "act-closed":
        assert "was already done" in again.stderr
        return
    assert again.exit_code == 0, again.stderr
    live = journal(rehearsal).shares().live
    assert live is not None
    assert live.act == "rotate:second"
    assert opened_by(rehearsal, secret(rehearsal, live, new_words)).both
    assert opened_by(rehearsal, secret(rehearsal, old, rehearsal.words)) == PinsFound(user=False, so=False)
    said = verified(rehearsal)
    assert f"the set {old.set_id} is dead" in said


def test_a_real_rotation_with_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path that counts: typed shares of both sets, sheets that leave the machine, and an auditor's verdict."""
    fit_host(monkeypatch, fit=True)
    monkeypatch.setattr(terminal, "ask_line", lambda _: "yes")
    dealt: list[shares.ShareSet] = []
    split = shares.split

    def overheard(*arguments: object, **options: object) -> shares.ShareSet:
        dealt.append(split(*arguments, **options))  # type: ignore[arg-type]
        return dealt[-1]

    monkeypatch.setattr(shares, "split", overheard)
    # The root: five read back (two hold copies), a quorum. The rotation: old quorum, three read back, new quorum.
    order = [(0, 1), (0, 2), (0, 3), (0, 4), (0, 4), (0, 1), (0, 4), (0, 2)]
    order += [(0, 3), (0, 2), (0, 4), (1, 1), (1, 2), (1, 3), (1, 3), (1, 1)]

    def custodian(time: int) -> str:
        which, index = order[time - 1]
        return typed(dealt[which].shares[index - 1].words)

    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(PLAN)
    setting = Setting(
        directory=CeremonyDirectory(path=rehearsal.directory),
        hsm=load_hsm_settings(rehearsal.base / "hsm.toml"),
        people=AtTerminal(keyboard=types(custodian)),
        clock=SystemClock(),
        rng=os.urandom,
        mode=Mode.REAL,
    )
    create_root(setting, load_plan(PLAN.encode()), PLAN.encode())
    done = conduct(setting, "second")
    assert done.commitments == dealt[1].commitments
    assert not list((rehearsal.directory / "sheets").rglob("share-*.pdf"))
    assert len(list((rehearsal.directory / "sheets").rglob("receipt-*.pdf"))) == 8
    said = rehearsal.run("verify", rehearsal.directory, "--head", done.head.hex())
    assert said.exit_code == 0, said.stderr
    assert "is dead: its PINs were tried and refused" in said.stdout


@pytest.mark.parametrize("done_steps", [0, 1, 2])
@pytest.mark.parametrize("way", ["finish", "take back"])
def test_stopped_between_the_two_pins(
    rooted: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done_steps: int, way: str
) -> None:
    """User PIN new and security officer's old is the state that nobody plans for: both ways out of it must work."""
    from ceremony.hsm import pins  # noqa: PLC0415 (only here)

    rehearsal = rooted.copy(tmp_path / "copy")
    steps = [0]
    replace = pins._replace

    def stop(*arguments: object, **options: object) -> None:
        if steps[0] == done_steps:
            raise Stopped
        steps[0] += 1
        replace(*arguments, **options)  # type: ignore[arg-type]

    prove = pins._prove

    def stop_before_the_proof(*arguments: object, **options: object) -> None:
        if steps[0] == done_steps:
            raise Stopped
        prove(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, stopping(patch, after=15):
        patch.setattr(pins, "_replace", stop)
        patch.setattr(pins, "_prove", stop_before_the_proof)
        with pytest.raises(BaseException):  # noqa: B017 (whatever the runner makes of the stop)
            raise rotate(rehearsal).exception or AssertionError
    history = journal(rehearsal).shares()
    assert history.replacing is not None
    old = secret(rehearsal, history.dealt[0], rehearsal.words)
    new = secret(rehearsal, history.dealt[1], rehearsal.base / "words-2.txt")
    assert opened_by(rehearsal, new) == PinsFound(user=done_steps > 0, so=done_steps > 1)
    if way == "finish":
        again = rotate(rehearsal)
        assert again.exit_code == 0, again.stderr
        assert opened_by(rehearsal, new).both
        expected = (
            "its PINs were replaced, and not tried again" if done_steps == 2 else "its PINs were tried and refused"
        )
        assert expected in verified(rehearsal)
        return
    back = rotate(rehearsal, "--take-back")
    if done_steps == 2:
        assert (back.exit_code, "[hsm.wrong-pin]" in back.stderr) == (1, True)
        assert rotate(rehearsal).exit_code == 0
        return
    assert back.exit_code == 0, back.stderr
    assert opened_by(rehearsal, old).both
    assert "given up before it unlocked anything" in verified(rehearsal)
    # And the day after, it is begun anew.
    assert rotate(rehearsal, new="words-3.txt").exit_code == 0
    assert "is dead: its PINs were tried and refused" in verified(rehearsal)


def test_killed_for_real(rooted: Rehearsal, tmp_path: Path) -> None:
    """SIGKILL runs no clean-up: what the record says must be enough on its own."""
    rehearsal = rooted.copy(tmp_path / "copy")
    program = (
        "import os, signal, sys\n"
        "from ceremony import host\n"
        "host.harden_process = lambda: ()\n"
        "from ceremony.hsm import pins\n"
        "prove = pins._prove\n"
        "def kill(*a, **o): os.kill(os.getpid(), signal.SIGKILL)\n"
        "pins._prove = kill\n"
        "from ceremony.cli import cli\n"
        "cli()\n"
    )
    arguments = [
        "rehearse", "rotate", "--dir", rehearsal.directory, "--hsm", rehearsal.base / "hsm.toml", "--words-file",
        rehearsal.words, "--new-words-file", rehearsal.base / "words-2.txt", "second",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = rotate(rehearsal)
    assert again.exit_code == 0, again.stderr
    assert "the act before, rotate, was never closed" in again.stderr
    assert "1 broke off" in verified(rehearsal)


KILLED_WHILE_WRITING = """
import os, signal
from ceremony import host
from ceremony.cli import cli
from shared.durable import Staging
host.harden_process = lambda: ()
commit = Staging.commit
def killed(self):
    if "share-2.pdf" in str(self._staged):
        os.kill(os.getpid(), signal.SIGKILL)
    commit(self)
Staging.commit = killed
cli()
"""


@pytest.mark.parametrize("act", ["root", "rotate"])
def test_killed_while_a_sheet_is_written(rooted: Rehearsal, tmp_path: Path, act: str) -> None:
    """A sheet that was on its way to its place has a share's words on it, under a hidden name: it must not stay."""
    if act == "root":
        rehearsal = Rehearsal(tmp_path)
        rehearsal.prepare(PLAN)
        more = ["root", "--plan", tmp_path / "plan.toml", "--words-file", rehearsal.words]
    else:
        rehearsal = rooted.copy(tmp_path / "copy")
        more = ["rotate", "--words-file", rehearsal.words, "--new-words-file", rehearsal.base / "words-2.txt", "second"]
    more += ["--dir", rehearsal.directory, "--hsm", rehearsal.base / "hsm.toml"]
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, "rehearse", *map(str, more)]
    done = subprocess.run(command, capture_output=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL, done.stderr
    hidden = sorted(rehearsal.directory.rglob(".*.new"))
    assert [path.name.partition(".pdf")[0] for path in hidden] == [".receipt-2", ".share-2"]
    if act == "root":
        given_up = rehearsal.run(
            "rehearse", "resume", "--dir", rehearsal.directory, "--hsm", rehearsal.base / "hsm.toml", "--words-file",
            rehearsal.words,
        )  # fmt: skip
        assert "[resume.given-up]" in given_up.stderr
    else:
        again = rotate(rehearsal)
        assert again.exit_code == 0, again.stderr
        verified(rehearsal)
    assert not list(rehearsal.directory.rglob(".*"))


def test_no_secret_of_either_set_is_written_or_shown(rooted: Rehearsal, tmp_path: Path) -> None:
    """Two secrets, four PINs, seven shares: none of it may be anywhere but on the sheets."""
    rehearsal = rooted.copy(tmp_path / "copy")
    done = rotate(rehearsal)
    assert done.exit_code == 0
    history = journal(rehearsal).shares()
    hidden: list[bytes] = []
    for dealt, words in zip(history.dealt, (rehearsal.words, rehearsal.base / "words-2.txt"), strict=True):
        found = secret(rehearsal, dealt, words)
        hidden += [found.value, found.value.hex().encode(), found.user_pin(), found.so_pin()]
        for share in shares.read_words_file(words):
            hidden += [" ".join(share.words[at : at + 3]).encode() for at in range(len(share.words) - 2)]
    places = {
        name: content
        for name, content in rehearsal.snapshot().items()
        if not re.search(r"(^|/)(share-[0-9]+\.pdf|words(-2)?\.txt)$", name)
    }
    assert any("receipt" in name for name in places)
    places |= {"talk": done.output.encode()}
    places |= {str(path): path.read_bytes() for path in (rehearsal.directory / "tokens").rglob("*") if path.is_file()}
    for name, content in places.items():
        for text in hidden:
            assert text.lower() not in content.lower(), name


def test_a_rewritten_rotation_is_found(rooted: Rehearsal, tmp_path: Path) -> None:
    """Leaving the proof of the new sheets out, or the old set's death, must not verify."""
    rehearsal = rooted.copy(tmp_path / "copy")
    assert rotate(rehearsal).exit_code == 0
    original = (rehearsal.directory / "transcript.jsonl").read_bytes()
    for kind, code in (
        ("quorum-recombined", "verify.shares.recombined"),
        ("shares-retired", "verify.shares.retired"),
        ("pins-replaced", "share.bad-history"),
        ("sheet-read-back", "verify.shares.read-back"),
    ):
        rewrite(rehearsal.directory, lambda records, kind=kind: _drop_last(records, kind))  # type: ignore[misc]
        done = rehearsal.run("verify", rehearsal.directory)
        assert (done.exit_code, code in done.stderr) == (1, True), (kind, done.stderr)
        (rehearsal.directory / "transcript.jsonl").write_bytes(original)
    shutil.rmtree(rehearsal.directory / "tokens")
    assert verified(rehearsal)


def _drop_last(records: list[dict[str, object]], kind: str) -> None:
    place = max(number for number, record in enumerate(records) if record["kind"] == kind)
    del records[place]
