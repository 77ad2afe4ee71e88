"""The act of the root's revocation lists: a quorum wakes the root once, and it signs one list or a calendar of them.

The steps; the numbers return in the code. Until 3 nothing is lost by stopping.

1. the host is fit; the transcript verifies and is continued; the plan lists the act, its numbers are above all that
   were ever used, its dates lie inside the root's validity, and what earlier lists revoked stays revoked;
2. every list is built as a draft and linted, before anybody is asked for a share;
3. a quorum unlocks the HSM, whose inventory is as recorded and which holds the issuing root's key;
4. each list is recorded, signed and verified, by a second implementation too, and recorded with its bytes;
5. all lists appear together; the transcript closes.

After a crash the act goes on: what was signed is taken from the record, what was not is signed then. A list's bytes
before its signature follow from the plan, so no number is ever used for two contents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ceremony import pkilint_opinion
from ceremony.conduct.continuing import later_act
from ceremony.conduct.issuers import IssuingRoot
from ceremony.conduct.later import (
    Continued,
    File,
    continue_ceremony,
    places_taken,
    probe_places,
    unlocked_hsm,
    write_files,
)
from ceremony.conduct.setting import Setting
from ceremony.crl import (
    PlannedList,
    check_kept,
    check_numbers,
    check_plan,
    issued_certificates,
    list_facts,
    planned_lists,
    prepare_list,
    recorded_list,
)
from ceremony.plan import ActKind, CrlPlan, PlannedAct
from ceremony.records import Act, Kind
from ceremony.script import StepName
from ceremony.second_opinion import openssl_verifies_list
from shared.clock import rfc3339
from shared.crl import PreparedCrl, issue_crl
from shared.errors import Fatal, RequestRejected
from shared.keys import ca_key, kind_of
from shared.keystore import CaHsmKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ListsSigned:
    """What the act leaves."""

    files: tuple[str, ...]
    """Relative to the ceremony's directory, in the order of their numbers."""
    head: bytes
    """The transcript's head digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyList:
    """A list that was linted and waits for its signature."""

    planned: PlannedList
    prepared: PreparedCrl
    pkilint: str
    """Who else judged it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedLists:
    """Lists that may be signed, in the ceremony that may sign them."""

    continued: Continued
    issuer: IssuingRoot
    lists: tuple[PlannedList, ...]
    ready: tuple[ReadyList, ...]
    """Those that wait for their signature."""
    signed: Mapping[str, bytes]
    """Those that an earlier attempt signed, by their file."""


def sign_lists(setting: Setting, name: str) -> ListsSigned:
    """Conduct the act of a planned list or calendar.

    Args:
        setting: where, with which HSM and people.
        name: which of the plan's.

    Raises:
        RequestRejected: ``ceremony.*``, ``crl.*``, ``share.*``, ``transcript.*``, ``file.*``.
        PolicyDenied: ``host.not-fit``, ``crl.*``, ``lint.*``, ``pkilint.*``.
        PeerFailed: ``hsm.*``.
        Fatal: when something does not hold.
    """
    people = setting.people
    # 1., 2. Refused before anything is recorded.
    examined = examine_lists(setting, name)
    continued, lists, ready, signed = examined.continued, examined.lists, examined.ready, dict(examined.signed)
    probe_places(continued, *(each.file for each in lists))
    with later_act(setting, continued.journal, continued.plan, Act.CRL, name=name):
        if ready:
            # 3.
            with unlocked_hsm(continued) as opened:
                people.step(StepName.LIST_SIGNED)
                key = examined.issuer.key(opened.token)
                for each in ready:
                    signed[each.planned.file] = _sign(examined, each, key)
        else:
            people.tell("they were signed before, and could not be written then: these are those lists")
        # 5.
        write_files(continued, *(File(name=each.file, content=signed[each.file]) for each in lists))
    people.step(StepName.TRANSCRIPT_CLOSED)
    return ListsSigned(files=tuple(each.file for each in lists), head=continued.journal.head())


def examine_lists(setting: Setting, name: str) -> ExaminedLists:
    """Check everything that can be before a share is asked for, and lint every list; nothing is written.

    Raises:
        RequestRejected, PolicyDenied, Fatal: as ``sign_lists``.
    """
    # 1.
    continued = continue_ceremony(
        setting,
        PlannedAct(kind=ActKind.CRL, name=name),
        command="ceremony crl sign",
        rehearsal="ceremony rehearse crl",
    )
    plan = next(each for each in continued.plan.crls if each.name == name)
    issuer = continued.issuer(plan.issuer)
    check_plan(plan, root=issuer.certificate, now=setting.clock.now())
    previous = check_numbers(plan, continued.journal.records)
    check_kept(continued.plan, plan, continued.journal.records)
    lists = planned_lists(plan)
    signed = _signed(continued, lists)
    if places_taken(continued, {each.file: signed.get(each.file) for each in lists}):
        raise RequestRejected("ceremony.already-signed", f"the lists of {name} were already signed and lie here")
    # 2.
    ready = _prepare(continued, plan, lists, signed, previous)
    return ExaminedLists(continued=continued, issuer=issuer, lists=lists, ready=tuple(ready), signed=signed)


def _signed(continued: Continued, lists: Sequence[PlannedList]) -> dict[str, bytes]:
    files = {each.file for each in lists}
    return {
        str(record.body["file"]): recorded_list(record.body)
        for record in continued.journal.find(Kind.LIST_ISSUED)
        if record.body.get("file") in files
    }


def _prepare(
    continued: Continued,
    plan: CrlPlan,
    lists: Sequence[PlannedList],
    signed: Mapping[str, bytes],
    previous: int | None,
) -> list[ReadyList]:
    # 2.
    issued, found = issued_certificates(continued.journal.records), []
    root = continued.issuer(plan.issuer).certificate
    promised = {record.body.get("file"): record.body for record in continued.journal.find(Kind.LIST_PREPARED)}
    for planned in lists:
        if planned.file not in signed:
            prepared = prepare_list(plan, planned, root=root, issued=issued, previous_number=previous)
            before = promised.get(planned.file)
            if before is not None and before.get("tbs_sha256") != prepared.tbs_digest:
                raise Fatal(
                    "crl.other-content",
                    f"the list {planned.number} was to be signed with another content once",
                    hint="give the lists a new name and higher numbers",
                )
            judged = pkilint_opinion.accept_list(prepared.tbs, kind_of(ca_key(root)))
            found.append(ReadyList(planned=planned, prepared=prepared, pkilint=judged))
        previous = planned.number
    return found


def _sign(examined: ExaminedLists, ready: ReadyList, key: CaHsmKey) -> bytes:
    # 4.
    continued, planned, prepared = examined.continued, ready.planned, ready.prepared
    journal, people = continued.journal, continued.setting.people
    journal.append(
        Kind.LIST_PREPARED,
        {"file": planned.file, "number": planned.number, "tbs_sha256": prepared.tbs_digest},
    )
    people.show_digest(f"content of list {planned.number}, to be signed", bytes.fromhex(prepared.tbs_digest))
    made = issue_crl(prepared, key)
    version = openssl_verifies_list(examined.issuer.certificate, made.der)
    facts = list_facts(planned.file, made.der)
    journal.append(Kind.LIST_ISSUED, {**facts, "second_opinion": version or "not asked", "pkilint": ready.pkilint})
    people.tell(
        f"{planned.file}: {rfc3339(planned.this_update)} to {rfc3339(planned.next_update)},"
        f" {len(made.crl)} revoked, sha256 {facts['sha256']}"
    )
    people.tell(f"second opinion: {version or 'openssl is not installed'}; pkilint: {ready.pkilint}")
    return made.der
