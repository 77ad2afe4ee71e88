"""A day with every kind of act, conducted twice: the paper leads through it, and the second run repeats the first."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.clock import NOON, FakeClock
from fakes.day import DAY
from fakes.rehearsal import Rehearsal, no_hardening, request_bundle
from fakes.softhsm import needs_softhsm

from ceremony.compare import Watch, compare
from ceremony.conduct import rotation
from ceremony.conduct.backup import make_backup, try_backup
from ceremony.conduct.crl import sign_lists
from ceremony.conduct.cross import sign_cross
from ceremony.conduct.destroy import destroy
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.intermediate import sign_intermediate
from ceremony.conduct.rollover import roll_over
from ceremony.conduct.root import create_root, words_keeper
from ceremony.conduct.setting import Setting
from ceremony.hsm import load_hsm_settings
from ceremony.plan import Plan, load_plan
from ceremony.records import Mode
from ceremony.script import StepName, build_script
from ceremony.terminal import Rehearsing
from ceremony.transcript import Record, verify_chain
from shared import keys, names
from shared.issue import IssuanceRequest, Issuer, issue, prepare
from shared.keys import fingerprint
from shared.pem import certificate_pem
from shared.profile import root_profile

pytestmark = needs_softhsm


class Listening(Rehearsing):
    """A rehearsal that notes which steps were announced."""

    def __init__(self, *words: Path) -> None:
        super().__init__(*words)
        self.heard: list[StepName] = []

    def step(self, name: StepName) -> None:
        self.heard.append(name)
        super().step(name)


class Day:
    """A day's inputs, and how each of its acts is conducted."""

    def __init__(self, base: Path, plan: str, other_root: bytes) -> None:
        self._rehearsal = Rehearsal(base)
        base.mkdir()
        self._rehearsal.prepare(plan)
        self._plan = load_plan(plan.encode())
        self._data = plan.encode()
        self._new_words = base / "new-words.txt"
        self._other = base / "other.crt"
        self._other.write_bytes(other_root)

    def conduct(self, *, watch: Watch | None = None) -> dict[str, list[StepName]]:
        """Conduct every act; return what was announced in each."""
        return {str(act): self._listen(str(act), watch) for act in self._plan.acts}

    def records(self) -> tuple[Record, ...]:
        return verify_chain((self._rehearsal.directory / "transcript.jsonl").read_bytes())

    def _listen(self, act: str, watch: Watch | None) -> list[StepName]:
        # Whoever holds the live set: the words of both are offered.
        words = [path for path in (self._rehearsal.words, self._new_words) if path.exists() or "spring" in act]
        people = Listening(*(words or [self._rehearsal.words]))
        self._acts(Setting(
            directory=CeremonyDirectory(path=self._rehearsal.directory),
            hsm=load_hsm_settings(self._rehearsal.base / "hsm.toml"),
            people=people,
            clock=FakeClock(NOON),
            rng=os.urandom,
            mode=Mode.REHEARSAL,
            watch=watch,
        ))[act]()  # fmt: skip
        return people.heard

    def _acts(self, setting: Setting) -> dict[str, Callable[[], object]]:
        keep = rotation.words_keeper(self._new_words)
        return {
            "root": lambda: create_root(
                setting, self._plan, self._data, keep_shares=words_keeper(self._rehearsal.words)
            ),
            "intermediate:alpha": lambda: self._intermediate(setting, 0),
            "intermediate:beta": lambda: self._intermediate(setting, 1),
            "crl:first": lambda: sign_lists(setting, "first"),
            "cross:old": lambda: sign_cross(setting, "old", self._other),
            "rollover:next": lambda: roll_over(setting, "next"),
            "rotate:spring": lambda: rotation.rotate(setting, "spring", keep_shares=keep, outputs=(self._new_words,)),
            "backup": lambda: make_backup(setting),
            "restore-test": lambda: try_backup(setting, None),
            "destroy": lambda: destroy(setting),
        }

    def _intermediate(self, setting: Setting, place: int) -> None:
        planned = self._plan.intermediates[place]
        key = keys.generate(keys.KeyKind.EC_P256)
        request = self._rehearsal.base / f"{planned.file}.bundle"
        request.write_bytes(request_bundle(key, subject=planned.subject))
        sign_intermediate(setting, [request], self._rehearsal.base / planned.file)


def _other_root() -> tuple[bytes, str]:
    key = keys.generate(keys.KeyKind.EC_P256)
    name = names.subject(common="Contoso Root CA", organization="Contoso")
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    request = IssuanceRequest(
        subject=name, public_key=key.public_key(), serial=1 << 126, not_before=begin,
        not_after=begin.replace(year=2035),
    )  # fmt: skip
    certificate = issue(prepare(root_profile(), request, Issuer.new_root(name, key.public_key())), key)
    return certificate_pem(certificate), fingerprint(certificate)


def _plan(other: str) -> str:
    text = DAY.replace("d7a7a0fb5d7e2731d771e9484ebcdef71d5f0c3e0a2948782bc83ee0ea699ef4", other)
    # What the day begins with lies before its clock.
    return text.replace("2026-12-01T10:00:00Z", "2026-11-01T10:00:00Z").replace(
        "2026-12-01T11:00:00Z", "2026-11-02T11:00:00Z"
    )


def _announced(plan: Plan) -> dict[str, list[StepName]]:
    script = build_script(plan)
    return {str(act): [step.name for step in script.section(act).steps if step.announced] for act in plan.acts}


def test_a_day_as_printed_and_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper must have every step that the screen announces, in its order; and a good second run is as rehearsed."""
    no_hardening(monkeypatch)
    other, digest = _other_root()
    text = _plan(digest)
    first, second = Day(tmp_path / "first", text, other), Day(tmp_path / "second", text, other)
    heard = first.conduct()
    assert heard == _announced(load_plan(text.encode()))
    watch = Watch(first.records())
    assert second.conduct(watch=watch) == heard
    assert [str(each) for each in compare(first.records(), second.records())] == []
