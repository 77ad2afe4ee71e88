"""Sheets given to their custodians, one at a time: unreadable ones again, and none left on the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.keyboard import typed, types
from fakes.randomness import seeded
from fakes.rotation import PLAN

from ceremony import paper
from ceremony.conduct.dealing import Dealt, deal, hand_out, sheets_of
from ceremony.conduct.directory import CeremonyDirectory, Journal, create_journal
from ceremony.conduct.setting import Setting
from ceremony.hsm import HsmSettings
from ceremony.plan import Plan, load_plan
from ceremony.records import Kind, Mode
from ceremony.secret import CeremonySecret
from ceremony.shares import ShareSet
from ceremony.terminal import AtTerminal, People
from shared import terminal
from shared.clock import SystemClock
from shared.errors import PolicyDenied, RequestRejected


class Room:
    """A ceremony that has come to its sheets."""

    def __init__(self, base: Path, mode: Mode, keyboard: Callable[[int, ShareSet], str]) -> None:
        self.plan: Plan = load_plan(PLAN.encode())
        self.opened = 0
        people: People = AtTerminal(keyboard=types(lambda time: keyboard(time, self.set)))
        self.setting = Setting(
            directory=CeremonyDirectory(path=base),
            hsm=HsmSettings(module=Path("/nowhere"), token_label="root"),
            people=people,
            clock=SystemClock(),
            rng=os.urandom,
            mode=mode,
        )
        self.journal: Journal = create_journal(self.setting.directory, mode, self.plan, self.setting.clock)
        secret = CeremonySecret(value=seeded(1)(32))
        self.set = deal(self.setting, self.journal, secret, self.plan.shares, act="root")

    @property
    def sheets(self) -> Path:
        return self.setting.directory.sheets

    def hand_out(self) -> None:
        dealt = Dealt(plan=self.plan, shares=self.plan.shares, set=self.set, directory=self.sheets)
        hand_out(self.setting, self.journal, dealt)


@pytest.fixture(autouse=True)
def questions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everybody confirms; what they were asked is kept."""
    asked: list[str] = []

    def agree(question: str) -> str:
        asked.append(question.strip())
        return "yes"

    monkeypatch.setattr(terminal, "ask_line", agree)
    return asked


def _in_order(time: int, dealt: ShareSet) -> str:
    return typed(dealt.shares[min(time, 4) - 1].words)


def test_one_custodian_after_the_other(tmp_path: Path, questions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """At no moment lie two people's secrets on the machine, and in the end none does."""
    seen: list[list[str]] = []
    draw = paper.share_sheet

    def watch(*arguments: object) -> bytes:
        seen.append(sorted(path.name for path in (tmp_path / "sheets").glob("share-*")))
        return draw(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(paper, "share_sheet", watch)
    room = Room(tmp_path, Mode.REAL, _in_order)
    room.hand_out()
    assert seen == [[]] * 5
    assert sorted(path.name for path in room.sheets.iterdir()) == [f"receipt-{number}.pdf" for number in range(1, 6)]
    assert [record.kind for record in room.journal.records][2:] == [
        *["sheet-written", "sheet-read-back", "sheet-removed"] * 5, "shares-read-back",
    ]  # fmt: skip
    assert [record.body["copy"] for record in room.journal.find(Kind.SHEET_REMOVED)] == [1, 1, 1, 1, 2]
    names = [sheet.custodian for sheet in sheets_of(room.plan.shares)]
    for name, at_the_printer, in_hand in zip(names, questions[::2], questions[1::2], strict=True):
        assert at_the_printer.startswith(f"{name} stands at the printer, alone")
        assert in_hand.startswith(f"{name} holds the printed sheet")


def test_a_rehearsal_keeps_its_sheets(tmp_path: Path) -> None:
    """Practising ends with papers to look at; they say that they protect nothing."""
    room = Room(tmp_path, Mode.REHEARSAL, _in_order)
    room.hand_out()
    assert len(list(room.sheets.glob("share-*.pdf"))) == 5
    assert not room.journal.find(Kind.SHEET_REMOVED)


@pytest.mark.parametrize("trouble", ["unreadable", "somebody else's"])
def test_a_bad_sheet_is_printed_again(tmp_path: Path, questions: list[str], trouble: str) -> None:
    """A mangled print is found while it can be printed again, not on the day of the disaster."""

    def keyboard(time: int, dealt: ShareSet) -> str:
        if time == 1 and trouble == "unreadable":
            return typed((*dealt.shares[0].words[:2], *["academic"] * 31)) + "\r" * 4
        if time == 1:
            return typed(dealt.shares[1].words)
        return _in_order(time - 1, dealt)

    room = Room(tmp_path, Mode.REAL, keyboard)
    room.hand_out()
    assert sum("Ada holds the printed sheet" in question for question in questions) == 2
    assert len(room.journal.find(Kind.SHEET_WRITTEN)) == 5


def test_three_bad_prints_end_the_act(tmp_path: Path) -> None:
    """A printer that cannot print does not go on for ever, and leaves no words behind."""
    room = Room(tmp_path, Mode.REAL, lambda _, dealt: typed(dealt.shares[2].words))
    with pytest.raises(RequestRejected) as refused:
        room.hand_out()
    assert refused.value.code == "share.other-sheet"
    assert not list(room.sheets.glob("share-*"))


def test_whoever_says_no_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who did not look away is a reason to stop, and the sheet is gone then too."""
    room = Room(tmp_path, Mode.REAL, _in_order)
    monkeypatch.setattr(terminal, "ask_line", lambda question: "no" if "holds" in question else "yes")
    with pytest.raises(PolicyDenied) as denied:
        room.hand_out()
    assert denied.value.code == "people.refused"
    assert not list(room.sheets.glob("share-*"))
    assert not room.journal.find(Kind.SHEET_READ_BACK)
