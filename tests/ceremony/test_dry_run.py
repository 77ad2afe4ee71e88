"""Dry runs touch nothing and refuse what the act refuses; the acts announce what the script prints."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.day import DAY
from fakes.rehearsal import Rehearsal, fit_host, full_rehearsal, no_hardening, request_bundle
from fakes.softhsm import needs_softhsm

from ceremony import hsm
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.intermediate import sign_intermediate
from ceremony.conduct.root import create_root
from ceremony.conduct.rotation import rotate
from ceremony.conduct.rotation import words_keeper as new_words_keeper
from ceremony.conduct.setting import Setting
from ceremony.hsm import load_hsm_settings
from ceremony.plan import EXAMPLE, Plan, load_plan
from ceremony.records import Mode
from ceremony.script import StepName, build_script, numbered
from ceremony.terminal import AtTerminal, Rehearsing
from shared import keys, terminal
from shared.clock import SystemClock
from shared.errors import PolicyDenied

pytestmark = needs_softhsm

GOLDEN = Path(__file__).parents[1] / "vectors" / "dry-run"


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardening(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """One finished rehearsal, never changed: tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        no_hardening(patch)
        yield full_rehearsal(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def rooted(tmp_path: Path, finished: Rehearsal) -> Rehearsal:
    """A rehearsal whose root act alone is done."""
    rehearsal = finished.copy(tmp_path / "rooted")
    path = rehearsal.directory / "transcript.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    closed = next(number for number, line in enumerate(lines) if b'"kind":"act-closed"' in line)
    path.write_bytes(b"".join(lines[: closed + 1]))
    for made in (rehearsal.directory / "intermediate.crt", *rehearsal.crossing.iterdir()):
        made.unlink()
    return rehearsal


def _everything(base: Path) -> dict[str, bytes | None]:
    """Return every file and directory, the HSM's own too."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(base.rglob("*"))}


def _golden(name: str, shown: str, base: Path) -> None:
    told = shown.replace(str(base), "BASE")
    told = re.sub(r"^  ([a-zA-Z]+ ){31}[a-zA-Z]+$", "  WORDS", told, flags=re.MULTILINE)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("COLDROOT_WRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(told)
    assert told == file.read_text()


def _root_arguments(rehearsal: Rehearsal) -> list[str | Path]:
    base = rehearsal.base
    return ["--plan", base / "plan.toml", "--hsm", base / "hsm.toml", "--dir", rehearsal.directory, "--dry-run"]


@pytest.mark.parametrize("plan", [EXAMPLE, DAY], ids=["example", "day"])
def test_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: str) -> None:
    """Whoever tries a command the day before must see all of it, and find the machine as it was."""
    fit_host(monkeypatch, fit=True)
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(plan)
    before = _everything(tmp_path)
    name = "example" if plan == EXAMPLE else "day"
    done = rehearsal.run("rehearse", "root", *_root_arguments(rehearsal), "--words-file", rehearsal.words)
    assert done.exit_code == 0, done.stderr
    _golden(f"rehearse-root-{name}", done.stdout, tmp_path)
    done = rehearsal.run("root", "create", *_root_arguments(rehearsal))
    assert done.exit_code == 0, done.stderr
    _golden(f"root-create-{name}", done.stdout, tmp_path)
    assert _everything(tmp_path) == before


def test_root_refuses_what_the_act_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run that passes where the act would not is worse than none."""
    cases: list[tuple[Callable[[Rehearsal], object], str]] = [
        (lambda each: (each.base / "plan.toml").write_text(EXAMPLE.replace("Ada", "王")), "cannot be printed"),
        (lambda each: (each.base / "plan.toml").write_text(EXAMPLE.replace("years = 10", "")), "root.years is missing"),
        (
            lambda each: (each.base / "plan.toml").write_text(
                DAY.replace('"intermediate:alpha", "intermediate:beta", "crl:first"', '"crl:first"')
            ),
            "the step crl:first/list.signed cannot be done",
        ),
        (lambda each: (each.base / "hsm.toml").write_text('module = "/none.so"\ntoken_label = "x"\n'), "/none.so"),
        (lambda each: each.words.write_text("x"), "already exists"),
        (lambda each: (each.directory / "sheets").mkdir(parents=True), "already holds a ceremony"),
    ]
    for number, (damage, said) in enumerate(cases):
        rehearsal = Rehearsal(tmp_path / str(number))
        rehearsal.base.mkdir()
        rehearsal.prepare()
        damage(rehearsal)
        before = _everything(rehearsal.base)
        done = rehearsal.run("rehearse", "root", *_root_arguments(rehearsal), "--words-file", rehearsal.words)
        assert (done.exit_code, done.stdout, said in done.stderr) == (1, "", True), done.stderr
        assert _everything(rehearsal.base) == before
    fit_host(monkeypatch, fit=False)
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare()
    done = rehearsal.run("root", "create", *_root_arguments(rehearsal))
    assert (done.exit_code, "not fit for a ceremony" in done.stderr) == (1, True)


def test_intermediate(rooted: Rehearsal, finished: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is judged beforehand, and nobody is asked for a share."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the HSM was asked")

    monkeypatch.setattr(hsm, "open_token", never)
    key = keys.generate(keys.KeyKind.EC_P256)
    request, *_ = rooted.request(request_bundle(key))
    arguments: list[str | Path] = ["--dir", rooted.directory, "--hsm", rooted.base / "hsm.toml", "--dry-run"]
    arguments += ["--words-file", rooted.words, "--out"]
    before = _everything(rooted.base)
    done = rooted.run("rehearse", "intermediate", *arguments, rooted.base / "new" / "out", request)
    assert done.exit_code == 0, done.stderr
    _golden("rehearse-intermediate", done.stdout, rooted.base)
    (rooted.crossing / "reply-1.png").write_bytes(b"")
    done = rooted.run("rehearse", "intermediate", *arguments, rooted.crossing, request)
    assert (done.exit_code, "already exists" in done.stderr) == (1, True)
    (rooted.crossing / "reply-1.png").unlink()
    damaged, *_ = [rooted.base / "damaged.bundle"]
    damaged.write_bytes(request_bundle(key, damage=True))
    done = rooted.run("rehearse", "intermediate", *arguments, rooted.base / "new", damaged)
    assert (done.exit_code, "not signed by the key" in done.stderr) == (1, True)
    damaged.unlink()
    done = rooted.run("intermediate", "sign", *arguments[:5], "--out", rooted.base / "new", request)
    assert (done.exit_code, "this ceremony is a rehearsal" in done.stderr) == (1, True)
    assert _everything(rooted.base) == before
    again = [*arguments[:1], finished.directory, *arguments[2:]]
    done = rooted.run("rehearse", "intermediate", *again, rooted.base / "new", request)
    assert (done.exit_code, "already signed" in done.stderr) == (1, True)


class Listening(Rehearsing):
    """A rehearsal that notes which steps were announced."""

    def __init__(self, *words: Path) -> None:
        super().__init__(*words)
        self.heard: list[StepName] = []

    def step(self, name: StepName) -> None:
        self.heard.append(name)
        super().step(name)


def _setting(rehearsal: Rehearsal, people: Rehearsing | AtTerminal, mode: Mode = Mode.REHEARSAL) -> Setting:
    return Setting(
        directory=CeremonyDirectory(path=rehearsal.directory),
        hsm=load_hsm_settings(rehearsal.base / "hsm.toml"),
        people=people,
        clock=SystemClock(),
        rng=os.urandom,
        mode=mode,
    )


def _announced(plan: Plan, place: int) -> list[StepName]:
    return [step.name for step in build_script(plan).section(plan.acts[place]).steps if step.announced]


def test_the_acts_announce_what_the_script_prints(tmp_path: Path) -> None:
    """People follow the paper: a step that the screen has and the paper lacks, or the reverse, confuses everybody."""
    text = (
        EXAMPLE.replace("[root]", 'acts = ["root", "intermediate:intermediate", "rotate:next"]\n[root]', 1)
        + '\n[[rotation]]\nname = "next"\nthreshold = 2\ncustodians = ["Ada", "Fritz", "Gottfried"]\n'
    )
    plan = load_plan(text.encode())
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(text)
    rooting = Listening(rehearsal.words)
    from ceremony.conduct.root import words_keeper  # noqa: PLC0415 (only here)

    create_root(_setting(rehearsal, rooting), plan, text.encode(), keep_shares=words_keeper(rehearsal.words))
    assert rooting.heard == _announced(plan, 0)
    request, *_ = rehearsal.request(request_bundle(keys.generate(keys.KeyKind.EC_P256)))
    signing = Listening(rehearsal.words)
    sign_intermediate(_setting(rehearsal, signing), [request], rehearsal.crossing)
    assert signing.heard == _announced(plan, 1)
    new_words = tmp_path / "new.txt"
    rotating = Listening(rehearsal.words, new_words)
    rotate(_setting(rehearsal, rotating), keep_shares=new_words_keeper(new_words), outputs=(new_words,))
    assert rotating.heard == _announced(plan, 2)


def test_people_are_guided(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One step at a time: the next comes when the boxes are ticked, and what lasts begins when all agree."""
    plan = load_plan(EXAMPLE.encode())
    answers = iter(["", "yes", "yes", "stop"])
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt.strip())
        return next(answers)

    monkeypatch.setattr(terminal, "ask_line", answer)
    people = AtTerminal(guided=True)
    people.guide(numbered(plan, plan.acts[0]))
    people.step(StepName.TRANSCRIPT_OPENED)
    assert asked == []
    with pytest.raises(PolicyDenied) as stopped:
        people.step(StepName.HSM_INITIALISED)
        people.step(StepName.SECRET_MIXED)
    assert stopped.value.code == "people.stopped"
    assert [each.split(":")[0] for each in asked] == [
        "Step 2.2", "Step 2.2", "From here on, to stop is not free", "Step 2.3",
    ]  # fmt: skip
    told = capsys.readouterr().err
    assert "2.3 [hsm.initialised] The HSM is initialised" in told
    assert "who: Administrator" in told
    assert "read aloud: “From here on" in told


def test_a_real_run_repeats_its_rehearsal(tmp_path: Path, finished: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another plan than the one that was practised must stop before anything is written."""
    fit_host(monkeypatch, fit=True)
    rehearsal = Rehearsal(tmp_path)
    rehearsal.prepare(EXAMPLE.replace("years = 10", "years = 11"))
    before = _everything(tmp_path)
    arguments = _root_arguments(rehearsal)[:-1]
    monkeypatch.setattr(terminal, "ask_line", lambda _: "yes")
    done = rehearsal.run("root", "create", *arguments, "--rehearsed", finished.directory)
    assert done.exit_code == 1
    assert "this run is not what was rehearsed: record 0 genesis: plan" in done.stderr
    assert [path for path in _everything(tmp_path) if path not in before and not path.endswith("plan.toml")] == [
        str(rehearsal.directory)
    ]
    real = rehearsal.run("root", "create", *arguments, "--rehearsed", tmp_path)
    assert "transcript.jsonl" in real.stderr
