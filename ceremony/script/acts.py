"""The steps of the acts that sign: those that ``ceremony.conduct`` announces, in its order, and the people's own."""

from __future__ import annotations

from ceremony.crl import planned_lists
from ceremony.crosscert import cross_file
from ceremony.rollover import rollover_files
from ceremony.script import facts
from ceremony.script.making import (
    ADMINISTRATOR,
    OF_DAY,
    PRINTED,
    Making,
    closed,
    dealing,
    fields,
    host,
    signed,
    signed_by,
    unlocked,
    unlocked_anew,
)
from ceremony.script.model import Expected, Step
from ceremony.script.names import StepName
from shared.clock import rfc3339
from shared.names import format_name

# More lists than these are summed up: nobody compares a hundred dates.
_MOST_LISTED = 24
_MOST_COMPARED = 4


def root(making: Making) -> tuple[Step, ...]:
    """Return the steps of the root act."""
    plan, shares = making.plan, making.shares
    root = plan.root
    begin = rfc3339(root.fixed.not_before) if root.fixed.not_before else None
    return (
        host(making, f"ceremony root create --plan plan.toml --hsm hsm.toml {OF_DAY} {PRINTED}"),
        making.step(
            StepName.TRANSCRIPT_OPENED,
            ADMINISTRATOR,
            "The screen shows the plan's digest; it begins and ends as on this page.",
            says="Up to here we can stop, and nothing has happened.",
            expects=(Expected(what="plan", digest=plan.digest),),
            requires={facts.HOST},
            provides={facts.TRANSCRIPT},
        ),
        making.step(
            StepName.HSM_INITIALISED,
            ADMINISTRATOR,
            "The screen shows the token's label and serial; a witness reads the serial on the device.",
            says="From here on, to stop means to destroy this token and to begin again with another one.",
            blanks=("Token serial", "Firmware"),
            commits=True,
            requires={facts.TRANSCRIPT, facts.BLANK_TOKEN},
            provides={facts.TOKEN},
            ends={facts.BLANK_TOKEN},
        ),
        *dealing(making, shares, provides={facts.HELD}),
        making.step(
            StepName.ROOT_KEY,
            ADMINISTRATOR,
            f"The screen says that the key {root.label} was generated inside, {plan.leaving}, and can only sign.",
            f"It is a key of the kind {root.key}.",
            requires={facts.TOKEN, facts.SECRET, facts.HELD},
            provides={facts.ROOT_KEY},
        ),
        making.step(
            StepName.ROOT_CERTIFICATE,
            ADMINISTRATOR,
            *fields(root.subject, root.years, root.extensions, root.fixed.serial, begin),
            "The screen names the second program (openssl) that verified it too.",
            expects=signed(making, "root.crt"),
            requires={facts.ROOT_KEY, facts.SECRET},
            provides={facts.ROOT},
            ends={facts.SECRET},
        ),
        unlocked_anew(making, shares, requires={facts.ROOT, facts.HELD, facts.TOKEN}),
        closed(making),
    )


def amend(making: Making) -> tuple[Step, ...]:
    """Return the steps in which the plan of a later day takes over."""
    plan = making.plan
    return (
        host(making, f"ceremony plan amend {OF_DAY} PLAN", plan=facts.NEXT_PLAN),
        making.step(
            StepName.PLAN_AMENDED,
            ADMINISTRATOR,
            "The machine's clock and a clock that is not the machine's agree to the minute, in UTC.",
            "A witness reads the plan's words from this page; those that are asked for are typed.",
            f"The screen shows the same words, and names the acts of this day: {', '.join(map(str, plan.acts[1:]))}.",
            says="With this record the plan is in force. It follows the plan whose digest it names.",
            expects=(Expected(what="plan", digest=plan.digest), Expected(what="plan before it", digest=plan.previous)),
            requires={facts.HOST, facts.NEXT_PLAN},
            provides={facts.PLAN, facts.TRANSCRIPT},
            ends={facts.NEXT_PLAN},
        ),
        closed(making),
    )


def intermediate(making: Making) -> tuple[Step, ...]:
    """Return the steps of an intermediate."""
    planned = next(each for each in making.plan.intermediates if each.file == making.name)
    file = f"{planned.file}.crt"
    begin = rfc3339(planned.fixed.not_before) if planned.fixed.not_before else None
    known = making.known.requests.get(planned.file)
    return (
        host(making, f"ceremony intermediate sign {OF_DAY} --hsm hsm.toml --out OUT REQUEST"),
        making.step(
            StepName.REQUEST_READ,
            ADMINISTRATOR,
            "A witness reads the request's words from the paper that came with it; those that are asked for are typed.",
            "The screen shows the same words, and says that possession of the key was proven.",
            f"It says of the subject {format_name(planned.subject)}: as planned.",
            expects=(Expected(what=f"request of {planned.file}", digest=known),),
            requires={facts.HOST, facts.MATERIALS, *facts.issuer(planned.issuer)},
            provides={facts.request(planned.file)},
        ),
        unlocked(making),
        making.step(
            StepName.INTERMEDIATE_CERTIFICATE,
            ADMINISTRATOR,
            *signed_by(making, planned.issuer),
            *fields(planned.subject, planned.years, planned.extensions, planned.fixed.serial, begin),
            "The screen names the second program (openssl) that verified it too.",
            expects=signed(making, file),
            commits=True,
            requires={facts.UNLOCKED, facts.request(planned.file), *facts.issuer(planned.issuer)},
            provides={facts.certificate(planned.file)},
        ),
        making.step(
            StepName.REPLY_WRITTEN,
            ADMINISTRATOR,
            "The reply is copied to the medium that goes back, or its QR codes are photographed.",
            expects=(Expected(what=f"reply for {planned.file}"),),
            blanks=("Medium",),
            requires={facts.certificate(planned.file)},
        ),
        closed(making),
    )


def crl(making: Making) -> tuple[Step, ...]:
    """Return the steps of a revocation list, or of a calendar of them."""
    planned = next(each for each in making.plan.crls if each.name == making.name)
    lists = [
        f"List {planned.number + at}: from {rfc3339(planned.this_update + at * planned.period)}"
        f" to {rfc3339(planned.next_update + at * planned.period)}."
        for at in range(planned.count)
    ]
    if len(lists) > _MOST_LISTED:
        lists = [
            lists[0],
            f"{len(lists) - 2} lists between them, each {planned.period.days} days after the one before.",
            lists[-1],
        ]
    revoked = [f"It revokes {each.file}: {each.reason}, {rfc3339(each.date)}." for each in planned.revoked]
    return (
        host(making, f"ceremony crl sign {OF_DAY} --hsm hsm.toml {planned.name}"),
        unlocked(making),
        making.step(
            StepName.LIST_SIGNED,
            ADMINISTRATOR,
            *signed_by(making, planned.issuer),
            *lists,
            *(revoked or ["It revokes nothing."]),
            "The screen names the second program (openssl) that verified it too.",
            expects=tuple(
                Expected(what=f"content of list {each.number}, to be signed", digest=making.known.tbs.get(each.file))
                for each in planned_lists(planned)[:_MOST_COMPARED]
            ),
            commits=True,
            requires={
                facts.UNLOCKED,
                *facts.issuer(planned.issuer),
                *(facts.certificate(each.file) for each in planned.revoked),
            },
        ),
        closed(making),
    )


def cross(making: Making) -> tuple[Step, ...]:
    """Return the steps of a cross-certificate."""
    planned = next(each for each in making.plan.crosses if each.name == making.name)
    file = cross_file(planned.name)
    begin = rfc3339(planned.fixed.not_before) if planned.fixed.not_before else None
    return (
        host(making, f"ceremony cross sign {OF_DAY} --hsm hsm.toml {planned.name} CERTIFICATE"),
        making.step(
            StepName.OTHER_ROOT_READ,
            ADMINISTRATOR,
            f"The screen says of the subject {format_name(planned.subject)}: as planned.",
            "A witness reads the words of the other root's fingerprint from a paper of its owner.",
            expects=(Expected(what="other root's certificate", digest=bytes.fromhex(planned.fingerprint)),),
            requires={facts.HOST, facts.MATERIALS, *facts.issuer(planned.issuer)},
            provides={facts.OTHER_ROOT},
        ),
        unlocked(making),
        making.step(
            StepName.CROSS_CERTIFICATE,
            ADMINISTRATOR,
            *signed_by(making, planned.issuer),
            *fields(planned.subject, planned.years, planned.extensions, planned.fixed.serial, begin),
            "The screen names the second program (openssl) that verified it too.",
            expects=signed(making, file),
            commits=True,
            requires={facts.UNLOCKED, facts.OTHER_ROOT, *facts.issuer(planned.issuer)},
            provides={facts.certificate(file.removesuffix(".crt"))},
            ends={facts.OTHER_ROOT},
        ),
        closed(making),
    )


def rollover(making: Making) -> tuple[Step, ...]:
    """Return the steps of the change to a next root."""
    rollover = next(each for each in making.plan.rollovers if each.name == making.name)
    planned, files = rollover.root, rollover_files(making.name)
    begin = rfc3339(planned.fixed.not_before) if planned.fixed.not_before else None
    return (
        host(making, f"ceremony rollover {OF_DAY} --hsm hsm.toml {making.name}"),
        unlocked(making),
        making.step(
            StepName.NEXT_ROOT_KEY,
            ADMINISTRATOR,
            f"The screen says that the key {planned.label} was generated inside, {making.plan.leaving},"
            " and can only sign.",
            f"It is a key of the kind {planned.key}.",
            commits=True,
            requires={facts.UNLOCKED, *facts.issuer(rollover.issuer)},
            provides={facts.NEXT_KEY},
        ),
        making.step(
            StepName.NEXT_ROOT_CERTIFICATES,
            ADMINISTRATOR,
            *fields(planned.subject, planned.years, planned.extensions, planned.fixed.serial, begin),
            *(f"The old root is that of the rollover {name}." for name in (rollover.issuer,) if name),
            "Three certificates are signed: the next root; the old key by the new one; the new key by the old one.",
            expects=(Expected(what=f"certificate {files.root}"),),
            requires={facts.NEXT_KEY, facts.UNLOCKED, *facts.issuer(rollover.issuer)},
            provides={
                *facts.issuer(making.name),
                *(facts.certificate(file.removesuffix(".crt")) for file in (files.old_with_new, files.new_with_old)),
            },
            ends={facts.NEXT_KEY},
        ),
        closed(making),
    )
