"""The intermediate act: a request crosses the gap, a quorum unlocks the HSM, the answer goes back.

The steps; the numbers return in the code. Until 5 nothing is lost by stopping.

1. the host is fit; the transcript of this ceremony verifies and is continued;
2. the request is read, compared by its digest words, and held against the plan; this intermediate was not signed
   before; the outputs' places are free;
3. a quorum of shares recovers the secret, which is checked against its commitment before the HSM sees a PIN;
4. the unlocked HSM holds the very key that the root certifies;
5. the intermediate is linted, signed and verified, by a second implementation too;
6. certificate and reply appear together; the transcript closes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from ceremony import hsm, shares
from ceremony.conduct.directory import Journal, act, open_journal
from ceremony.conduct.setting import Setting, check_host
from ceremony.intermediate import SigningRequest, prepare_intermediate, read_request, reply_bundle
from ceremony.plan import Plan
from ceremony.records import Act, Kind, Mode, certificate_facts, opening
from ceremony.script import StepName
from ceremony.second_opinion import openssl_verifies
from shared import durable
from shared.crossing.bundle import Purpose, digest
from shared.crossing.transfer import read_bundle, stage_bundle
from shared.errors import Fatal, RequestRejected
from shared.issue import issue
from shared.keys import fingerprint, public_key_digest
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


def sign_intermediate(setting: Setting, request_files: Sequence[Path], out: Path) -> IntermediateMade:
    """Conduct the intermediate act.

    Args:
        setting: where, with which HSM and people.
        request_files: the request bundle as one file, or the images of its QR codes in any order.
        out: the directory for the reply's bundle and images.

    Raises:
        RequestRejected: ``bundle.*``, ``csr.*``, ``key.*``, ``plan.*``, ``share.*``, ``ceremony.*``, ``transcript.*``.
        PolicyDenied: ``host.not-fit``, ``digest.not-confirmed``, ``lint.*``.
        PeerFailed: ``hsm.*``.
        Fatal: when something that was just made does not hold.
    """
    people, directory = setting.people, setting.directory
    # 1.
    plan = directory.load_plan()
    journal = open_journal(directory, setting.clock)
    _check_continues(setting, journal, plan)
    root = directory.load_root()
    check_host(setting)
    # 2. Refused before anything is recorded: a mistake in the request leaves no trace.
    people.step(StepName.REQUEST_READ)
    bundle, encoded = read_bundle(request_files, purpose=Purpose.INTERMEDIATE_REQUEST)
    request = read_request(plan, bundle, encoded)
    _refuse_second(setting, request, out)
    _tell_request(setting, request)
    people.compare("request", request.bundle_digest)
    journal.append(Kind.ACT_OPENED, opening(Act.INTERMEDIATE, setting.mode, plan_digest=plan.digest, title=plan.title))
    with act(journal, Act.INTERMEDIATE):
        journal.append(Kind.REQUEST_ACCEPTED, _request_facts(request))
        serial, pin = _unlock(setting, journal)
        with hsm.open_token(setting.hsm, serial, pin, writable=False) as token:
            del pin
            certificate = _sign(setting, journal, plan, request, root=root, token=token)
        # 6.
        people.step(StepName.REPLY_WRITTEN)
        reply = reply_bundle(request, certificate=certificate, root=root)
        durable.make_directory(out)
        with durable.Staging() as staging:
            written = stage_bundle(staging, out, REPLY_STEM, reply)
            staging.add(directory.certificate(request.planned.file), certificate_pem(certificate))
        journal.append(Kind.REPLY_WRITTEN, {"sha256": digest(reply).hex(), "frames": len(written) - 1})
        people.tell(f"{written[0]} and {len(written) - 1} QR codes")
    return IntermediateMade(
        certificate=certificate, written=tuple(written), reply_digest=digest(reply), head=journal.head()
    )


def _check_continues(setting: Setting, journal: Journal, plan: Plan) -> None:
    # 1.
    if journal.mode is not setting.mode:
        other = "ceremony rehearse intermediate" if journal.mode is Mode.REHEARSAL else "ceremony intermediate sign"
        raise RequestRejected(
            "ceremony.other-mode", f"this ceremony is {_article(journal.mode)}", hint=f"use `{other}` for it"
        )
    if str(journal.find(Kind.GENESIS)[0].body["plan"]) != plan.digest.hex():
        raise RequestRejected("ceremony.plan-changed", "plan.toml is not the plan that this ceremony began with")
    if not journal.find(Kind.QUORUM_UNLOCKED):
        raise RequestRejected("ceremony.incomplete", "the root act of this ceremony did not finish")


def _refuse_second(setting: Setting, request: SigningRequest, out: Path) -> None:
    # 2.
    certificate = setting.directory.certificate(request.planned.file)
    if certificate.exists():
        raise RequestRejected(
            "ceremony.already-signed",
            f"{format_name(request.planned.subject)} was already signed: {certificate} exists",
            hint="a further intermediate needs a subject of its own in the plan",
        )
    bundle = out / f"{REPLY_STEM}.bundle"
    if bundle.exists():
        raise RequestRejected("file.exists", f"{bundle} already exists", hint="choose another directory with --out")


def _tell_request(setting: Setting, request: SigningRequest) -> None:
    people = setting.people
    people.tell(f"subject: {format_name(request.planned.subject)}, as planned")
    people.tell(f"key: sha256 {public_key_digest(request.public_key)}, possession proven")
    if request.ignored_extensions:
        people.tell(f"ignored: the request asks for extensions ({', '.join(request.ignored_extensions)})")


def _request_facts(request: SigningRequest) -> dict[str, str | list[str]]:
    return {
        "bundle_sha256": request.bundle_digest.hex(),
        "subject": format_name(request.planned.subject),
        "public_key_sha256": public_key_digest(request.public_key),
        "ignored_extensions": list(request.ignored_extensions),
    }


def _unlock(setting: Setting, journal: Journal) -> tuple[str, bytes]:
    # 3.
    people, commitments = setting.people, journal.commitments()
    people.step(StepName.HSM_UNLOCKED)
    quorum = people.quorum(commitments)
    secret = shares.combine(quorum, commitments)
    serial = str(journal.find(Kind.TOKEN_INITIALISED)[-1].body["serial"])
    used = [commitments.recognise(share).index for share in quorum]
    journal.append(Kind.QUORUM_UNLOCKED, {"indexes": list(used), "token": serial})
    people.tell(f"{commitments.shape.names(used)} recover the secret")
    return serial, secret.user_pin()


def _sign(
    setting: Setting, journal: Journal, plan: Plan, request: SigningRequest, *, root: x509.Certificate, token: Token
) -> x509.Certificate:
    # 4.
    key = token.find(label=plan.root.label)
    if key.public_key() != root.public_key():
        raise Fatal("ceremony.other-key", "the unlocked HSM holds another key than the one the root certifies")
    # 5.
    people, file = setting.people, f"{request.planned.file}.crt"
    people.step(StepName.INTERMEDIATE_CERTIFICATE)
    serial = random_serial(token.random)
    prepared = prepare_intermediate(request, root=root, serial=serial, now=setting.clock.now())
    journal.append(Kind.CERTIFICATE_PREPARED, {"file": file, "tbs_sha256": prepared.tbs_digest})
    people.tell(f"to be signed: sha256 {prepared.tbs_digest}")
    certificate = issue(prepared, key)
    version = openssl_verifies(root, [certificate], at=certificate.not_valid_before_utc)
    journal.append(
        Kind.CERTIFICATE_ISSUED, dict(certificate_facts(file, certificate)) | {"second_opinion": version or "not asked"}
    )
    people.tell(f"fingerprint {fingerprint(certificate)}")
    people.tell(f"second opinion: {version or 'openssl is not installed'}")
    return certificate


def _article(mode: Mode) -> str:
    return "a rehearsal" if mode is Mode.REHEARSAL else "a real one"
