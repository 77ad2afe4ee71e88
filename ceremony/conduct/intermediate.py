"""The intermediate act: a request crosses the gap, a quorum unlocks the HSM, the answer goes back.

The steps; the numbers return in the code. Until 5 nothing is lost by stopping.

1. the host is fit; the transcript of this ceremony verifies and is continued;
2. the request is read, compared by its digest words, and held against the plan; this intermediate was not signed
   before; the outputs' places are free;
   (when it was signed, and the answer could not be written, the recorded certificate is delivered: see 6);
3. a quorum of shares recovers the secret, which is checked against its commitment before the HSM sees a PIN;
4. the unlocked HSM holds the very key that the issuing root certifies: the first one, or a next one;
5. the intermediate is linted, signed and verified, by a second implementation too;
6. certificate and reply appear together; the transcript closes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from ceremony import hsm, pkilint_opinion
from ceremony.conduct.continuing import check_continues, later_act
from ceremony.conduct.directory import Journal, open_ceremony
from ceremony.conduct.issuers import IssuingRoot, find_issuer
from ceremony.conduct.later import take_inventory
from ceremony.conduct.setting import Setting, check_host
from ceremony.conduct.unlocking import unlock
from ceremony.intermediate import SigningRequest, prepare_intermediate, read_request, reply_bundle
from ceremony.inventory import Moment
from ceremony.name_constraints import preview
from ceremony.plan import ActKind, Plan, PlannedAct
from ceremony.records import Act, Kind, certificate_facts
from ceremony.script import StepName, numbered
from ceremony.second_opinion import openssl_verifies
from shared import durable
from shared.crossing.bundle import Purpose, digest
from shared.crossing.transfer import read_bundle, stage_bundle
from shared.errors import RequestRejected
from shared.issue import issue
from shared.keys import fingerprint, kind_of, public_key_digest
from shared.keystore import Token
from shared.names import format_name
from shared.pem import certificate_pem
from shared.serials import random_serial

REPLY_STEM = "reply"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntermediateMade:
    """What the intermediate act leaves."""

    certificate: x509.Certificate
    written: tuple[Path, ...]
    """The reply: the bundle file first, then its QR images."""
    reply_digest: bytes
    head: bytes
    """The transcript's head digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A request that may be signed, in the ceremony that may sign it."""

    plan: Plan
    journal: Journal
    issuer: IssuingRoot
    request: SigningRequest
    signed: x509.Certificate | None
    """What an earlier act signed for it and could not deliver."""


def sign_intermediate(
    setting: Setting, request_files: Sequence[Path], out: Path, *, samples: Sequence[str] = ()
) -> IntermediateMade:
    """Conduct the intermediate act.

    Args:
        setting: where, with which HSM and people.
        request_files: the request bundle as one file, or the images of its QR codes in any order.
        out: the directory for the reply's bundle and images.
        samples: names on which the name constraints are shown; some are made when there are none.

    Raises:
        RequestRejected: ``bundle.*``, ``csr.*``, ``key.*``, ``plan.*``, ``share.*``, ``ceremony.*``, ``transcript.*``.
        PolicyDenied: ``host.not-fit``, ``digest.not-confirmed``, ``lint.*``.
        PeerFailed: ``hsm.*``.
        Fatal: when something that was just made does not hold.
    """
    people, directory = setting.people, setting.directory
    # 1., 2. Refused before anything is recorded: a mistake in the request leaves no trace.
    examined = examine(setting, request_files, samples=samples)
    plan, journal, issuer, request = examined.plan, examined.journal, examined.issuer, examined.request
    signed = examined.signed
    _check_outputs(out)
    people.compare("request", request.bundle_digest)
    with later_act(setting, journal, plan, Act.INTERMEDIATE, name=request.planned.file):
        journal.append(Kind.REQUEST_ACCEPTED, _request_facts(request))
        certificate = signed or _unlock_and_sign(setting, journal, request, issuer)
        # 6.
        people.step(StepName.REPLY_WRITTEN)
        reply = reply_bundle(request, certificate=certificate, root=issuer.certificate)
        with durable.Staging() as staging:
            written = stage_bundle(staging, out, REPLY_STEM, reply)
            staging.add(directory.certificate(request.planned.file), certificate_pem(certificate))
        if signed is not None:
            people.tell("it was signed before, and the answer could not be written then: this is that certificate")
            journal.append(Kind.CERTIFICATE_DELIVERED, {"file": f"{request.planned.file}.crt"})
        journal.append(Kind.REPLY_WRITTEN, {"sha256": digest(reply).hex(), "frames": len(written) - 1})
        people.tell(f"{written[0]} and {len(written) - 1} QR codes")
    people.step(StepName.TRANSCRIPT_CLOSED)
    return IntermediateMade(
        certificate=certificate, written=tuple(written), reply_digest=digest(reply), head=journal.head()
    )


def examine(setting: Setting, request_files: Sequence[Path], *, samples: Sequence[str] = ()) -> Examined:
    """Read the request and hold it against ceremony and plan; nothing is written, nobody is asked (steps 1 and 2).

    Raises:
        RequestRejected: as ``sign_intermediate``.
        PolicyDenied: ``host.not-fit``.
    """
    directory = setting.directory
    # 1.
    journal, plans = open_ceremony(directory, setting.clock, watch=setting.watch)
    plan = plans.current
    check_continues(
        setting, journal, plans, command="ceremony intermediate sign", rehearsal="ceremony rehearse intermediate"
    )
    journal.host = check_host(setting, plan)
    # 2.
    setting.people.step(StepName.REQUEST_READ)
    bundle, encoded = read_bundle(request_files, purpose=Purpose.INTERMEDIATE_REQUEST)
    request = read_request(plan, bundle, encoded)
    act = PlannedAct(kind=ActKind.INTERMEDIATE, name=request.planned.file)
    setting.people.guide(numbered(plan, act), typist=plan.roles.administrator)
    issuer = find_issuer(directory, journal, plan, request.planned.issuer)
    signed = _signed_before(setting, journal, request)
    _tell_request(setting, request, samples)
    return Examined(plan=plan, journal=journal, issuer=issuer, request=request, signed=signed)


def _unlock_and_sign(
    setting: Setting, journal: Journal, request: SigningRequest, issuer: IssuingRoot
) -> x509.Certificate:
    # 3.
    unlocked = unlock(setting, journal)
    with hsm.open_token(setting.hsm, unlocked.serial, unlocked.secret.user_pin(), writable=False) as token:
        del unlocked
        take_inventory(setting, journal, token, Moment.BEFORE)
        certificate = _sign(setting, journal, request, issuer=issuer, token=token)
        take_inventory(setting, journal, token, Moment.AFTER)
        return certificate


def _signed_before(setting: Setting, journal: Journal, request: SigningRequest) -> x509.Certificate | None:
    """Return the certificate that an earlier act signed for this very key and could not deliver."""
    # 2.
    path = setting.directory.certificate(request.planned.file)
    signed = journal.issued(path.name)
    if signed is not None and signed.public_key() == request.public_key and not path.exists():
        return signed
    if signed is not None or path.exists():
        raise RequestRejected(
            "ceremony.already-signed",
            f"{format_name(request.planned.subject)} was already signed: {path}",
            hint="a further intermediate needs a subject of its own in the plan",
        )
    return None


def _check_outputs(out: Path) -> None:
    """Insist that the answer can be written before anybody unlocks anything for it."""
    # 2.
    durable.make_directory(out)
    refuse_taken(out)
    durable.probe_directory(out)


def refuse_taken(out: Path) -> None:
    """Refuse a directory in which an answer lies already.

    Raises:
        RequestRejected: ``file.exists``.
    """
    taken = sorted(out.glob(f"{REPLY_STEM}[-.]*"))
    if taken:
        raise RequestRejected("file.exists", f"{taken[0]} already exists", hint="choose another directory with --out")


def _tell_request(setting: Setting, request: SigningRequest, samples: Sequence[str]) -> None:
    people = setting.people
    people.tell(f"subject: {format_name(request.planned.subject)}, as planned")
    people.tell(f"key: sha256 {public_key_digest(request.public_key)}, possession proven")
    if request.ignored_extensions:
        people.tell(f"ignored: the request asks for extensions ({', '.join(request.ignored_extensions)})")
    if not request.planned.extensions.permitted and not request.planned.extensions.excluded:
        people.tell("name constraints: none; it could certify every name")
        return
    people.tell("name constraints, on sample names:")
    for judged in preview(request.planned.extensions, samples):
        people.tell(f"  {judged}")


def _request_facts(request: SigningRequest) -> dict[str, str | list[str]]:
    return {
        "bundle_sha256": request.bundle_digest.hex(),
        "subject": format_name(request.planned.subject),
        "public_key_sha256": public_key_digest(request.public_key),
        "ignored_extensions": list(request.ignored_extensions),
    }


def _sign(
    setting: Setting, journal: Journal, request: SigningRequest, *, issuer: IssuingRoot, token: Token
) -> x509.Certificate:
    # 4.
    key, root = issuer.key(token), issuer.certificate
    # 5.
    people, file = setting.people, f"{request.planned.file}.crt"
    people.step(StepName.INTERMEDIATE_CERTIFICATE)
    serial = random_serial(token.random)
    prepared = prepare_intermediate(request, root=root, serial=serial, now=setting.clock.now())
    judged = pkilint_opinion.accept_certificate(prepared.tbs, kind_of(key.public_key()))
    journal.append(Kind.CERTIFICATE_PREPARED, {"file": file, "tbs_sha256": prepared.tbs_digest})
    people.show_digest(f"content of {file}, to be signed", bytes.fromhex(prepared.tbs_digest))
    certificate = issue(prepared, key)
    version = openssl_verifies(root, [certificate], at=certificate.not_valid_before_utc)
    opinions = {"second_opinion": version or "not asked", "pkilint": judged}
    journal.append(Kind.CERTIFICATE_ISSUED, {**certificate_facts(file, certificate), **opinions})
    people.show_digest(f"certificate {file}", bytes.fromhex(fingerprint(certificate)))
    people.tell(f"second opinion: {version or 'openssl is not installed'}; pkilint: {judged}")
    return certificate
