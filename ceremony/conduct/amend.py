"""The first act of a later day: its plan takes over, agreed on like the first one, and bound to it.

The steps; the numbers return in the code. Until 4 nothing is lost by stopping. No HSM and no share is needed: a plan
alone opens nothing, and the custodians compare its words before they unlock anything for it.

1. the host is fit; the transcript verifies and is continued; the root is there, and no rotation hangs in the air;
2. the plan is read: it follows the plan in force, and what the record shows already is not described anew; its script
   can be done, its papers can be printed, and what earlier lists revoked stays revoked;
3. people compare the machine's clock with one of theirs: its time goes into what this day signs. The plan's digest is
   compared: words that only people's papers show are read aloud and typed;
4. the file appears, and then the record that names it and the plan before it: from there on it is in force. A file
   without that record is nobody's plan; running the act again with the same file goes on with it;
5. the transcript closes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ceremony.conduct.continuing import check_continues, later_act
from ceremony.conduct.dealing import check_sheets
from ceremony.conduct.directory import CeremonyDirectory, Journal, open_ceremony
from ceremony.conduct.setting import Scene, check_host, confirm_time
from ceremony.crl import act_that_signs, check_fixed, check_kept, issued_certificates
from ceremony.plan import (
    AMENDMENT,
    FIRST_ROOT,
    ActKind,
    CrlPlan,
    Plan,
    amend_plan,
    load_plan,
    previous_of,
)
from ceremony.plan_history import PlanHistory, amendment_facts, plan_file, standing
from ceremony.records import Act, Kind
from ceremony.script import StepName, build_script, numbered
from ceremony.transcript import Record
from shared import durable
from shared.errors import RequestRejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Amended:
    """What the act leaves."""

    plan: Plan
    file: str
    """Relative to the ceremony's directory."""
    head: bytes
    """The transcript's head digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedPlan:
    """A plan that may take over, in the ceremony that it belongs to."""

    plan: Plan
    file: str
    journal: Journal
    plans: PlanHistory


def amend(scene: Scene, data: bytes) -> Amended:
    """Conduct the act.

    Args:
        scene: where and with which people.
        data: the bytes of the plan's file.

    Raises:
        RequestRejected: ``plan.*``, ``script.*``, ``paper.*``, ``ceremony.*``, ``transcript.*``, ``file.*``.
        PolicyDenied: ``host.not-fit``, ``digest.not-confirmed``, ``crl.forgets``.
        StoreFailed: ``file.write-failed``.
    """
    people, directory = scene.people, scene.directory
    # 1., 2. Refused before anything is recorded.
    examined = examine_amendment(scene, data)
    plan, journal = examined.plan, examined.journal
    # 3.
    journal.host = (*journal.host, confirm_time(scene))
    people.step(StepName.PLAN_AMENDED)
    people.compare("plan", plan.digest)
    with later_act(scene, journal, examined.plans.current, Act.AMEND):
        # 4.
        durable.make_directory(directory.plans)
        if not (directory.path / examined.file).exists():
            durable.write_new(directory.path / examined.file, data)
        journal.append(Kind.PLAN_AMENDED, amendment_facts(plan))
        people.tell(f"{directory.path / examined.file} is in force: {', '.join(map(str, plan.acts[1:]))}")
    # 5.
    people.step(StepName.TRANSCRIPT_CLOSED)
    return Amended(plan=plan, file=examined.file, head=journal.head())


def examine_amendment(scene: Scene, data: bytes) -> ExaminedPlan:
    """Check everything that can be before people compare words; nothing is written, nobody is asked.

    Raises:
        RequestRejected, PolicyDenied: as ``amend``.
    """
    directory = scene.directory
    # 1.
    journal, plans = open_ceremony(directory, scene.clock, watch=scene.watch)
    check_continues(scene, journal, plans, command="ceremony plan amend", rehearsal="ceremony rehearse amend")
    if journal.find(Kind.TOKEN_ERASED):
        raise RequestRejected("ceremony.destroyed", "the root key of this ceremony was destroyed: nothing can follow")
    journal.commitments()
    if journal.shares().superseded():
        raise RequestRejected(
            "ceremony.rotation-unfinished",
            "the last rotation replaced the PINs, and did not declare the old shares dead",
            hint="finish it first: run `ceremony share rotate` again",
        )
    # 2.
    if plans.find(hashlib.sha256(data).digest()) is not None:
        raise RequestRejected(
            "ceremony.already-amended",
            "this plan took over already",
            hint="when its act was interrupted, run `ceremony resume`",
        )
    plan = amend_plan(plans.current, data, standing(journal.records))
    file = plan_file(plan.number)
    path = directory.path / file
    if path.exists() and durable.read_file(path) != data:
        raise RequestRejected(
            "file.exists",
            f"{path} is another plan, and no record tells of it",
            hint="an earlier attempt left it: run the act with that file, or take it away",
        )
    scene.people.guide(numbered(plan, AMENDMENT), typist=plan.roles.administrator)
    check_day(plan, journal.records)
    journal.host, journal.host_plan = check_host(scene, plan), plan
    return ExaminedPlan(plan=plan, file=file, journal=journal, plans=plans)


def check_day(plan: Plan, records: Sequence[Record]) -> None:
    """Insist that what a plan lists can be done by the ceremony of these records.

    Args:
        plan: of a later day.
        records: up to that day.

    Raises:
        RequestRejected: ``script.*``, ``paper.*``, ``plan.no-next-root`` or ``crl.not-issued``.
        PolicyDenied: ``crl.forgets`` or ``crl.outside-root``.
    """
    build_script(plan)
    check_fixed(plan)
    done, today = issued_certificates(records), set(map(str, plan.acts))
    roots = {str(record.body.get("name")) for record in records if record.kind == Kind.NEXT_KEY_GENERATED}
    for act in plan.acts:
        issuer = plan.issuer_of(act)
        if issuer not in {FIRST_ROOT, *roots} and f"{ActKind.ROLLOVER}:{issuer}" not in today:
            raise RequestRejected(
                "plan.no-next-root", f"{act}: there is no next root {issuer} that could sign", hint="list its rollover"
            )
        if act.kind is ActKind.ROTATE:
            check_sheets(plan, next(each.shares for each in plan.rotations if each.name == act.name))
        if act.kind is ActKind.CRL:
            _check_list(plan, next(each for each in plan.crls if each.name == act.name), records, done, today)


def _check_list(
    plan: Plan, crl: CrlPlan, records: Sequence[Record], done: Collection[str], today: Collection[str]
) -> None:
    missing = [each.file for each in crl.revoked if each.file not in done]
    for file in missing:
        if act_that_signs(file) not in today:
            raise RequestRejected(
                "crl.not-issued", f"{file} was never issued here, so {crl.name} cannot revoke it", hint="sign it first"
            )
    # What this very day signs cannot be looked up yet: the act itself looks again.
    if not missing:
        check_kept(plan, crl, records)


def read_plan(data: bytes, directory: CeremonyDirectory | None) -> Plan:
    """Read a plan of any day.

    Args:
        data: the bytes of its file.
        directory: of the ceremony that a later day's plan goes on with.

    Raises:
        RequestRejected: ``plan.*``; ``plan.later-day`` without the ceremony of a later day's plan.
    """
    if previous_of(data) is None or directory is None:
        return load_plan(data)
    records = directory.load_records()
    plans = directory.load_plans(records)
    known = plans.find(hashlib.sha256(data).digest())
    return known or amend_plan(plans.current, data, standing(records))
