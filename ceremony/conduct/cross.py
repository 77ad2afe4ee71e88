"""The act of a cross-certificate: another CA's root crosses the gap, is compared, and is certified.

The steps; the numbers return in the code. Until 4 nothing is lost by stopping.

1. the host is fit; the transcript verifies and is continued; the plan lists the act;
2. the other root is read, held against the plan's fingerprint, and its words are compared aloud with its owner's;
3. a quorum unlocks the HSM, whose inventory is as recorded and which holds our root's key;
4. the certificate is linted, signed and verified, by a second implementation too, and recorded with its bytes;
5. it appears; the transcript closes. One that was signed and could not be written is delivered from the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from ceremony import pkilint_opinion
from ceremony.conduct.continuing import later_act
from ceremony.conduct.issuers import IssuingRoot
from ceremony.conduct.later import (
    Continued,
    File,
    continue_ceremony,
    places_taken,
    probe_places,
    record_issued,
    record_prepared,
    unlocked_hsm,
    write_files,
)
from ceremony.conduct.setting import Setting
from ceremony.crosscert import cross_file, prepare_cross, read_other_root
from ceremony.plan import ActKind, CrossPlan, PlannedAct
from ceremony.records import Act, Kind, certificate_facts, recorded_certificate
from ceremony.script import StepName
from ceremony.second_opinion import openssl_verifies
from shared import durable
from shared.clock import rfc3339
from shared.errors import RequestRejected
from shared.issue import issue
from shared.keys import ca_key, describe, kind_of
from shared.names import format_name
from shared.pem import certificate_pem
from shared.serials import random_serial


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossSigned:
    """What the act leaves."""

    certificate: x509.Certificate
    file: str
    """Relative to the ceremony's directory."""
    head: bytes
    """The transcript's head digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedCross:
    """Another root that may be certified, in the ceremony that may certify it."""

    continued: Continued
    issuer: IssuingRoot
    planned: CrossPlan
    other: x509.Certificate
    signed: x509.Certificate | None
    """What an earlier attempt signed for it and could not deliver."""


def sign_cross(setting: Setting, name: str, other_file: Path) -> CrossSigned:
    """Conduct the act of a planned cross-certificate.

    Args:
        setting: where, with which HSM and people.
        name: which of the plan's.
        other_file: the other root's certificate, PEM or DER.

    Raises:
        RequestRejected: ``ceremony.*``, ``cross.*``, ``pem.*``, ``share.*``, ``transcript.*``, ``file.*``.
        PolicyDenied: ``host.not-fit``, ``digest.not-confirmed``, ``cross.path-length``, ``lint.*``, ``pkilint.*``.
        PeerFailed: ``hsm.*``.
        Fatal: when something does not hold.
    """
    people, file = setting.people, cross_file(name)
    # 1., 2. Refused before anything is recorded.
    examined = examine_cross(setting, name, other_file)
    continued, plan, other, signed = examined.continued, examined.planned, examined.other, examined.signed
    probe_places(continued, file)
    people.compare("other root's certificate", bytes.fromhex(plan.fingerprint))
    with later_act(setting, continued.journal, continued.plan, Act.CROSS, name=name):
        continued.journal.append(Kind.OTHER_ROOT_ACCEPTED, {"name": name, **certificate_facts(other_file.name, other)})
        certificate = signed or _unlock_and_sign(examined, file)
        # 5.
        if signed is not None:
            people.tell("it was signed before, and could not be written then: this is that certificate")
        write_files(continued, File(name=file, content=certificate_pem(certificate)))
    people.step(StepName.TRANSCRIPT_CLOSED)
    return CrossSigned(certificate=certificate, file=file, head=continued.journal.head())


def examine_cross(setting: Setting, name: str, other_file: Path) -> ExaminedCross:
    """Read the other root and hold it against ceremony and plan; nothing is written, nobody is asked.

    Raises:
        RequestRejected, PolicyDenied: as ``sign_cross``.
    """
    people, file = setting.people, cross_file(name)
    # 1.
    continued = continue_ceremony(
        setting,
        PlannedAct(kind=ActKind.CROSS, name=name),
        command="ceremony cross sign",
        rehearsal="ceremony rehearse cross",
    )
    planned = next(each for each in continued.plan.crosses if each.name == name)
    # 2.
    people.step(StepName.OTHER_ROOT_READ)
    other = read_other_root(planned, durable.read_file(other_file))
    people.tell(f"subject: {format_name(other.subject)}, as planned")
    people.tell(f"key: {describe(ca_key(other))}; valid until {rfc3339(other.not_valid_after_utc)}")
    signed = _signed(continued, file)
    if places_taken(continued, {file: certificate_pem(signed) if signed is not None else None}):
        raise RequestRejected("ceremony.already-signed", f"{file} was already signed, and lies here")
    # What would be refused once the HSM is open is refused now; the serial is of no consequence for that.
    issuer = continued.issuer(planned.issuer)
    serial = random_serial(setting.rng)
    prepare_cross(planned, other, root=issuer.certificate, serial=serial, now=setting.clock.now())
    return ExaminedCross(continued=continued, issuer=issuer, planned=planned, other=other, signed=signed)


def _signed(continued: Continued, file: str) -> x509.Certificate | None:
    for record in continued.journal.find(Kind.CROSS_ISSUED):
        if record.body.get("file") == file:
            return recorded_certificate(record.body)
    return None


def _unlock_and_sign(examined: ExaminedCross, file: str) -> x509.Certificate:
    # 3.
    continued, root = examined.continued, examined.issuer.certificate
    with unlocked_hsm(continued) as opened:
        key = examined.issuer.key(opened.token)
        # 4.
        continued.setting.people.step(StepName.CROSS_CERTIFICATE)
        prepared = prepare_cross(
            examined.planned,
            examined.other,
            root=root,
            serial=random_serial(opened.token.random),
            now=continued.setting.clock.now(),
        )
        judged = pkilint_opinion.accept_certificate(prepared.tbs, kind_of(key.public_key()))
        record_prepared(continued, file, prepared.tbs_digest)
        certificate = issue(prepared, key)
        version = openssl_verifies(root, [certificate], at=certificate.not_valid_before_utc)
        opinions = {"second_opinion": version or "not asked", "pkilint": judged}
        record_issued(continued, Kind.CROSS_ISSUED, file, certificate, opinions)
        return certificate
