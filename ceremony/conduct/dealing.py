"""From a secret to sheets in their custodians' hands: split, proven, printed, read back, one custodian at a time.

The steps; the numbers return in the code.

1. the secret is split, every quorum of every set of groups is proven in memory, the commitments are recorded;
2. a custodian comes to the printer, alone; only then is their sheet written, and printed;
3. the custodian reads the sheet back from the paper: a sheet that nobody can read is printed again;
4. in a real ceremony the file is overwritten and removed before the next custodian comes. A rehearsal keeps it. A
   program that is killed leaves what it was writing: whoever goes on, or gives the set up, clears that away.

All of it happens before anything depends on the secret, so that no crash and no bad printer can lock anybody out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ceremony import paper, shares
from ceremony.conduct.directory import Journal
from ceremony.conduct.setting import Setting
from ceremony.plan import Plan, SharesPlan
from ceremony.records import Kind, Mode
from ceremony.script import StepName
from ceremony.secret import CeremonySecret
from ceremony.shares import ShareCommitments, ShareSet
from ceremony.transcript import Json, Record
from shared import durable
from shared.errors import RequestRejected
from shared.names import common_name_of

_MOST_PRINTS = 3
_UNREADABLE = frozenset({"share.too-many-attempts", "share.other-sheet"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One custodian's sheet; nothing of it is secret."""

    number: int
    """Counts the custodians from 1."""
    custodian: str
    index: int
    """Of the share on it."""
    copy: int
    """Which copy of the share; 1 except in a group of which one share is enough."""


def sheets_of(planned: SharesPlan) -> tuple[Sheet, ...]:
    """Return the sheets that a plan of shares leads to, one a custodian."""
    pairs = zip(planned.shape.sheets(), planned.custodians, strict=True)
    return tuple(
        Sheet(number=number, custodian=custodian, index=index, copy=copy)
        for number, ((index, copy), custodian) in enumerate(pairs, start=1)
    )


def sheet_facts(plan: Plan, sheet: Sheet, commitments: ShareCommitments, mode: Mode) -> paper.SheetFacts:
    """Return the public part of a sheet: the receipt is drawn from it, on the day and by whoever verifies.

    Raises:
        RequestRejected: ``paper.*``.
        Fatal: ``paper.wrong-share``.
    """
    return paper.SheetFacts(
        title=plan.title,
        root_name=common_name_of(plan.root.subject),
        custodian=sheet.custodian,
        index=sheet.index,
        copy=sheet.copy,
        commitments=commitments,
        rehearsal=mode is Mode.REHEARSAL,
    )


def check_sheets(plan: Plan, planned: SharesPlan) -> None:
    """Refuse, before anything is made, names that the sheets cannot show and groups that cannot be.

    Raises:
        RequestRejected: ``paper.*``, ``share.bad-threshold`` or ``share.too-many-quorums``.
    """
    paper.check_papers(
        title=plan.title,
        root_name=common_name_of(plan.root.subject),
        custodians=planned.custodians,
        groups=[group.name for group in planned.shape.groups],
    )


def deal(setting: Setting, journal: Journal, secret: CeremonySecret, planned: SharesPlan, *, act: str) -> ShareSet:
    """Split the secret, prove every quorum, and record the commitments.

    Args:
        setting: the people and the randomness.
        journal: where it is recorded.
        secret: fresh, and of nothing yet.
        planned: who shall hold a share.
        act: the planned act, for example ``rotate:second``.

    Raises:
        Fatal: ``share.unproven`` or ``share.bad-rng``.
    """
    # 1.
    people = setting.people
    people.step(StepName.SHARES_SPLIT)
    dealt = shares.split(secret, shape=planned.shape, rng=setting.rng)
    with people.progress("quorums proven", dealt.shape.quorums) as progress:
        proven = shares.prove_every_quorum(dealt, secret, progress=progress)
    journal.append(Kind.SHARES_DEALT, dealt.commitments.to_json() | {"quorums_proven": proven, "act": act})
    people.tell(f"set {dealt.set_id}: {planned.describe()}; all {proven} quorums recover the secret")
    return dealt


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealt:
    """What is handed out: a proven set, to whom, and where its papers lie meanwhile."""

    plan: Plan
    shares: SharesPlan
    """Who holds which share: the plan's own, or a rotation's."""
    set: ShareSet
    directory: Path
    """For sheets and receipts; new, inside the ceremony's directory."""


def hand_out(setting: Setting, journal: Journal, dealt: Dealt) -> None:
    """Give each custodian their sheet, and have it read back.

    Args:
        setting: the people, and whether it counts.
        journal: where each sheet is recorded.
        dealt: what to hand out.

    Raises:
        RequestRejected: ``share.*`` when a sheet cannot be read back, ``file.*``.
        PolicyDenied: ``people.refused``.
        StoreFailed: ``file.write-failed``.
    """
    people, real, commitments = setting.people, setting.mode is Mode.REAL, dealt.set.commitments
    people.step(StepName.SHEETS_WRITTEN)
    durable.make_directory(dealt.directory, private=True)
    sheets = sheets_of(dealt.shares)
    for sheet in sheets:
        people.confirm(f"{sheet.custodian} stands at the printer, alone; everybody else looks away")
        path = dealt.directory / f"share-{sheet.number}.pdf"
        try:
            _write(setting, journal, dealt, sheet, path)
            people.tell(f"{dealt.set.shares[sheet.index - 1].name} for {sheet.custodian}: {path}")
            _print_and_read(setting, sheet, commitments, path)
            journal.append(Kind.SHEET_READ_BACK, _facts(dealt, sheet))
        finally:
            # 4. Also when people stop here: no secret stays on the machine for the sake of a tidy end.
            if real and path.exists():
                durable.erase(path)
        if real:
            journal.append(Kind.SHEET_REMOVED, _facts(dealt, sheet))
            people.tell(f"{path} was overwritten and removed: the paper is the only one")
    people.step(StepName.SHEETS_READ_BACK)
    indexes = [sheet.index for sheet in sheets]
    journal.append(Kind.SHARES_READ_BACK, {"set_id": dealt.set.set_id, "indexes": list(indexes)})
    people.tell(f"{commitments.shape.names(indexes)} read back and recognised")


def clear_away(setting: Setting, written: Iterable[Record]) -> None:
    """Overwrite and remove what is left of the sheets of a set that is given up.

    A rehearsal keeps its sheets. What was staged for one and never moved into place has the same words on it, under a
    hidden name that no record tells of: it goes in both.

    Args:
        setting: where, and whether it counts.
        written: the records of the sheets, as ``hand_out`` made them.

    Raises:
        RequestRejected: ``file.not-regular``.
        StoreFailed: ``file.write-failed``.
    """
    for record in written:
        sheet = setting.directory.path / str(record.body.get("file"))
        left = [each for path in (sheet, _receipt(sheet)) for each in _staged(path)]
        if setting.mode is Mode.REAL and sheet.exists():
            left.insert(0, sheet)
        for path in left:
            durable.erase(path)
            setting.people.tell(f"{path} was overwritten and removed")


def _staged(path: Path) -> tuple[Path, ...]:
    return durable.staged_for(path) if path.parent.is_dir() else ()


def _receipt(sheet: Path) -> Path:
    return sheet.with_name(sheet.name.replace("share-", "receipt-"))


def _facts(dealt: Dealt, sheet: Sheet) -> dict[str, Json]:
    return {"set_id": dealt.set.set_id, "index": sheet.index, "copy": sheet.copy, "custodian": sheet.custodian}


def _write(setting: Setting, journal: Journal, dealt: Dealt, sheet: Sheet, path: Path) -> None:
    # 2. The receipt is public and stays.
    facts = sheet_facts(dealt.plan, sheet, dealt.set.commitments, setting.mode)
    drawn, receipt = paper.share_sheet(facts, dealt.set.shares[sheet.index - 1]), paper.share_receipt(facts)
    journal.append(
        Kind.SHEET_WRITTEN,
        _facts(dealt, sheet)
        | {
            "file": str(path.relative_to(setting.directory.path)),
            "sha256": hashlib.sha256(drawn).hexdigest(),
            "receipt_sha256": hashlib.sha256(receipt).hexdigest(),
        },
    )
    # After the record: whatever stops the program, no paper lies here that nobody knows of.
    with durable.Staging() as staging:
        staging.add(path, drawn, mode=durable.PRIVATE)
        staging.add(_receipt(path), receipt)


def _print_and_read(setting: Setting, sheet: Sheet, commitments: ShareCommitments, path: Path) -> None:
    people = setting.people
    for again in reversed(range(_MOST_PRINTS)):
        people.print_sheet(sheet.custodian, path)
        # 3.
        try:
            people.read_back(commitments, sheet.custodian, sheet.index)
        except RequestRejected as refusal:
            if refusal.code not in _UNREADABLE or not again:
                raise
            people.tell(f"{refusal.message}: the sheet is printed again; destroy the bad one now, seen by a witness")
        else:
            return
