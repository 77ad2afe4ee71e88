"""Verifying a finished ceremony, by somebody who was not there: no HSM, no shares, no network.

What is checked, in this order; the numbers return in the code:

1. the transcript is one unbroken chain (and ends with the head that the witnesses copied, when it is given);
2. every act was opened and closed, the root first;
3. every act followed the plan of its day, byte for byte, and each later day's plan names the one before
   (``plan_evidence``);
4. the root's key was generated in the HSM, cannot leave it and can only sign;
5. the root is self-signed, has the plan's subject, key and validity, passes lint, and is what was recorded:
   the TBSCertificate that was linted before the signature is the one that was signed;
6. each intermediate was asked for by whoever held its key, is signed by this root, and as 5;
7. the shares are as planned, every quorum was proven, each sheet was read back, and only quorums of the set that
   was live unlocked the HSM (``share_evidence``);
8. a second implementation (openssl, where installed) accepts the chains;
9. the papers that lie here are unchanged, the receipts can be drawn again byte for byte, and every file is accounted
   for (``paper_evidence``); a script that was recorded can be drawn again too (``script_evidence``);
10. each act that its program ended is signed by the key of its opening (``signing.act`` says what that proves),
    and every counter-signature that lies here holds (``signing.countersign``);
11. what the later acts signed, wrote, backed up and destroyed (``act_evidence``, ``key_evidence``);
12. what people confirmed: digests that were read aloud and typed, steps, exceptions (``confirmation_evidence``);
13. what each act found of its host, but for what a plan accepted (``host_evidence``).

A claim that does not hold raises; nothing after it is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography import x509

from ceremony.act_evidence import Finished, act_claims, called
from ceremony.bags import bag_claims
from ceremony.confirmation_evidence import confirmation_claims
from ceremony.host_evidence import host_claims
from ceremony.hsm import check_attributes
from ceremony.inventory import recorded_quirks
from ceremony.key_evidence import key_claims
from ceremony.mending import mending_claims
from ceremony.paper_evidence import paper_claims
from ceremony.plan import FIRST_ROOT, IntermediatePlan, Plan, end_of_validity
from ceremony.plan_evidence import plan_claims
from ceremony.plan_history import PlanHistory, read_plans
from ceremony.records import BETWEEN_ACTS, ENDINGS, OPENINGS, Act, Kind, Mode, certificate_facts, recorded_certificate
from ceremony.script_evidence import script_claims
from ceremony.second_opinion import openssl_verifies
from ceremony.share_evidence import share_claims
from ceremony.signing.act import signed_acts
from ceremony.signing.countersign import counter_signatures
from ceremony.transcript import Record, verify_chain
from shared import durable
from shared.crossing.words import digest_words
from shared.errors import RequestRejected
from shared.issue import Issuer, clip_to_issuer, verify_signature
from shared.keys import ca_key, kind_of
from shared.lint import lint_certificate
from shared.lint.rules import Context
from shared.pem import certificate_pem, load_certificate
from shared.profile import Profile

TRANSCRIPT_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement that holds, with what shows it."""

    code: str
    text: str
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All claims of a ceremony that verified."""

    claims: tuple[Claim, ...]
    mode: Mode
    head: bytes
    """SHA-256 of the last record."""


def verify(directory: Path, *, expected_head: bytes | None = None, report: Callable[[Claim], None]) -> Verdict:
    """Verify the ceremony in a directory.

    Args:
        directory: where plan, transcript and certificates lie.
        expected_head: the head digest from the witnesses' paper; without it, a transcript that was cut at the
            end of an act still verifies.
        report: called with each claim as soon as it holds.

    Raises:
        RequestRejected: ``verify.*`` naming the claim that does not hold, or ``transcript.*``, ``plan.*``,
            ``file.*`` for what cannot even be read.
        PolicyDenied, Fatal: from the checks that were repeated.
    """
    data = durable.read_file(directory / "transcript.jsonl", limit=TRANSCRIPT_LIMIT_BYTES)
    records = verify_chain(data, expected_head=expected_head)
    claims: list[Claim] = []
    evidence = _Evidence(directory=directory, records=records, head=records[-1].digest)
    for check in (
        _chain(expected_head),
        _acts,
        _plan,
        _host,
        _key,
        _root,
        _intermediates,
        _shares,
        _bags,
        _later,
        _confirmations,
        _second,
        _files,
        _signatures,
    ):
        for claim in check(evidence):
            claims.append(claim)
            report(claim)
    return Verdict(claims=tuple(claims), mode=evidence.mode, head=evidence.head)


class _Evidence:
    """The records, the plan and the files, read once."""

    def __init__(self, *, directory: Path, records: Sequence[Record], head: bytes) -> None:
        self.directory = directory
        self.records = records
        self.head = head

    def of(self, kind: Kind) -> list[Record]:
        return [record for record in self.records if record.kind == kind]

    def only(self, kind: Kind) -> Record:
        found = self.of(kind)
        if len(found) != 1:
            raise _false(kind, f"{len(found)} records of this kind, one is wanted")
        return found[0]

    @property
    def mode(self) -> Mode:
        return Mode(_text(self.records[0].body, "mode"))

    @cached_property
    def plans(self) -> PlanHistory:
        return read_plans(self.records, lambda file: durable.read_file(self.directory / file))

    @property
    def plan(self) -> Plan:
        """The first day's plan: the root is its."""
        return self.plans.first

    @cached_property
    def finished(self) -> Finished:
        return Finished(directory=self.directory, plans=self.plans, records=self.records, root=self.certificate("root"))

    def certificate(self, stem: str, record: Record | None = None) -> x509.Certificate:
        path = self.directory / f"{stem}.crt"
        if record is not None and not path.exists() and not self.delivered(record):
            return recorded_certificate(record.body)
        data = durable.read_file(path)
        certificate = load_certificate(data, what=f"{stem}.crt")
        # A PEM reader forgives stray bytes; whoever compares digests of files does not.
        if data != certificate_pem(certificate):
            raise _false("certificate.file", f"{stem}.crt holds more than the certificate")
        return certificate

    def delivered(self, issued: Record) -> bool:
        """Tell whether the act that issued a certificate went on to its end, or a later one delivered it."""
        ending = next(each for each in self.records[issued.seq :] if each.kind in ENDINGS)
        later = [
            each for each in self.of(Kind.CERTIFICATE_DELIVERED) if each.body.get("file") == issued.body.get("file")
        ]
        return ending.kind == Kind.ACT_CLOSED or bool(later)

    def issued(self) -> list[tuple[IntermediatePlan, x509.Certificate, Record]]:
        found = []
        for record in self.of(Kind.CERTIFICATE_ISSUED)[1:]:
            certificate = self.certificate(_text(record.body, "file").removesuffix(".crt"), record)
            planned = self.plans.at(record.seq).intermediate_for(certificate.subject)
            found.append((planned, certificate, record))
        return found


_Check = Callable[[_Evidence], Iterator[Claim]]


def _chain(expected_head: bytes | None) -> _Check:
    # 1.
    def check(evidence: _Evidence) -> Iterator[Claim]:
        known = "equal to the one given" if expected_head is not None else "compare it with the witnesses' paper"
        yield Claim(
            code="transcript.chain",
            text=f"the transcript is one unbroken chain of {len(evidence.records)} records",
            evidence=f"head {' '.join(digest_words(evidence.head)[:4])} … ({known})",
        )

    return check


def _acts(evidence: _Evidence) -> Iterator[Claim]:
    # 2.
    inside: str | None = None
    names: list[str] = []
    for record in evidence.records:
        if record.kind in OPENINGS:
            if inside is not None:
                raise _false("acts.order", f"record {record.seq} opens an act inside another")
            inside = _text(record.body, "act")
            names.append(inside)
            if _text(record.body, "mode") != evidence.mode:
                raise _false("acts.mode", f"record {record.seq} mixes rehearsal and real ceremony")
        elif inside is None and record.kind not in BETWEEN_ACTS | {Kind.ACT_SIGNED}:
            raise _false("acts.order", f"record {record.seq} stands outside any act")
        elif record.kind in ENDINGS:
            inside = None
    if inside is not None:
        raise _false("acts.closed", f"the act {inside!r} was never closed")
    if names[:1] != [Act.ROOT] or names.count(Act.ROOT) != 1:
        raise _false("acts.order", "the root act is not the first, or not the only one of its kind")
    failed, abandoned = len(evidence.of(Kind.ACT_FAILED)), len(evidence.of(Kind.ACT_ABANDONED))
    note = f", {failed} of them failed and said so" if failed else ""
    note += f", {abandoned} broke off and were found so" if abandoned else ""
    yield Claim(code="acts", text=f"{len(names)} acts were opened and closed in order{note}", evidence=", ".join(names))


def _plan(evidence: _Evidence) -> Iterator[Claim]:
    # 3.
    for text, shown in plan_claims(evidence.directory, evidence.plans, evidence.records):
        yield Claim(code="plan", text=text, evidence=shown)


def _host(evidence: _Evidence) -> Iterator[Claim]:
    # 13.
    for text, shown in host_claims(evidence.plans, evidence.records, evidence.mode):
        yield Claim(code="host", text=text, evidence=shown)


def _confirmations(evidence: _Evidence) -> Iterator[Claim]:
    # 12.
    for code, text, shown in confirmation_claims(evidence.plans, evidence.records, evidence.mode):
        yield Claim(code=code, text=text, evidence=shown)


def _key(evidence: _Evidence) -> Iterator[Claim]:
    # 4.
    generated = evidence.only(Kind.KEY_GENERATED)
    attributes = generated.body.get("attributes")
    if not isinstance(attributes, dict):
        raise _false("key.attributes", "no attributes were recorded")
    known = {name: value for name, value in attributes.items() if isinstance(value, bool | str)}
    weak = check_attributes(
        known,
        backup=evidence.plan.backup,
        rehearsal=evidence.mode is Mode.REHEARSAL,
        quirks=recorded_quirks(evidence.records),
    )
    if _text(generated.body, "public_key_sha256") != _text(_root_record(evidence).body, "public_key_sha256"):
        raise _false("key.root", "the root certifies another key than the one generated in the HSM")
    yield Claim(
        code="key",
        text=f"the root's key would be refused in a real ceremony: {'; '.join(weak)}"
        if weak
        else f"the root's key was generated in the HSM, {_leaving(evidence)} and can only sign",
        evidence=f"attributes in record {generated.seq}",
    )


def _leaving(evidence: _Evidence) -> str:
    # What the transcript says too: a key that can be wrapped is one of which there can be copies.
    return "can leave it wrapped, as the plan allows (weaker evidence)," if evidence.plan.backup else "cannot leave it"


def _root(evidence: _Evidence) -> Iterator[Claim]:
    # 5.
    plan, root = evidence.plan, evidence.certificate("root")
    record = _root_record(evidence)
    _same_as_recorded(evidence, "root.crt", root, record)
    if root.subject != plan.root.subject or kind_of(ca_key(root)) is not plan.root.key:
        raise _false("root.plan", "root.crt has another subject or kind of key than planned")
    if root.not_valid_after_utc != end_of_validity(root.not_valid_before_utc, plan.root.years):
        raise _false("root.validity", "root.crt is valid for another time than planned")
    verify_signature(root, ca_key(root))
    _lint("root.crt", root, plan.root.profile(), None)
    yield Claim(
        code="root",
        text=f"root.crt is self-signed, as planned and as linted: {_text(record.body, 'subject')}",
        evidence=f"sha256 {_text(record.body, 'sha256')}, record {record.seq}",
    )


def _intermediates(evidence: _Evidence) -> Iterator[Claim]:
    # 6.
    requested: dict[str, Record] = {}
    for each in evidence.of(Kind.REQUEST_ACCEPTED):
        requested.setdefault(_text(each.body, "public_key_sha256"), each)
    known = {_text(record.body, "file") for record in evidence.of(Kind.CERTIFICATE_ISSUED)}
    for path in sorted(evidence.directory.glob("*.crt")):
        if path.name not in known:
            raise _false("certificate.unrecorded", f"{path.name} lies here, and no record tells of it")
    if len(known) != len(evidence.of(Kind.CERTIFICATE_ISSUED)):
        raise _false("certificate.repeated", "two certificates were issued under one file name")
    for planned, certificate, record in evidence.issued():
        file = _text(record.body, "file")
        if file != f"{planned.file}.crt":
            raise _false("intermediate.file", f"{file} is not where the plan puts this intermediate")
        _same_as_recorded(evidence, file, certificate, record)
        request = requested.get(_text(record.body, "public_key_sha256"))
        if request is None or request.seq > record.seq:
            raise _false("intermediate.request", f"nobody proved possession of the key in {file}")
        root = evidence.finished.issuer(planned.issuer, record.seq)
        end = clip_to_issuer(
            end_of_validity(certificate.not_valid_before_utc, planned.years), Issuer.from_certificate(root)
        )
        if certificate.not_valid_after_utc != end:
            raise _false("intermediate.validity", f"{file} is valid for another time than planned")
        verify_signature(certificate, ca_key(root))
        _lint(file, certificate, planned.profile(), root)
        missing = "" if (evidence.directory / file).exists() else " (never delivered: only the record holds it)"
        yield Claim(
            code="intermediate",
            text=f"{file} is signed by {called(planned.issuer)}, as planned, requested and linted: "
            f"{_text(record.body, 'subject')}{missing}",
            evidence=f"sha256 {_text(record.body, 'sha256')}, record {record.seq}",
        )


def _shares(evidence: _Evidence) -> Iterator[Claim]:
    # 7.
    for text, shown in share_claims(evidence.plans, evidence.records, evidence.mode):
        yield Claim(code="shares", text=text, evidence=shown)
    if len(evidence.of(Kind.QUORUM_UNLOCKED)) < 1 + len(evidence.of(Kind.CERTIFICATE_ISSUED)[1:]):
        raise _false("shares.quorum", "the HSM signed without having been unlocked by a quorum")


def _bags(evidence: _Evidence) -> Iterator[Claim]:
    for text, shown in bag_claims(evidence.records):
        yield Claim(code="bags", text=text, evidence=shown)


def _later(evidence: _Evidence) -> Iterator[Claim]:
    # 11.
    finished = evidence.finished
    for code, text, shown in (*act_claims(finished), *key_claims(finished, evidence.mode)):
        yield Claim(code=code, text=text, evidence=shown)


def _second(evidence: _Evidence) -> Iterator[Claim]:
    # 8.
    root = evidence.certificate("root")
    issued = evidence.issued()
    for planned, certificate, record in issued:
        if planned.issuer != FIRST_ROOT:
            other = evidence.finished.issuer(planned.issuer, record.seq)
            openssl_verifies(other, [certificate], at=certificate.not_valid_before_utc)
    below = [certificate for planned, certificate, _ in issued if planned.issuer == FIRST_ROOT]
    version = openssl_verifies(root, below, at=max(each.not_valid_before_utc for each in (root, *below)))
    if version is not None:
        yield Claim(
            code="second-opinion",
            text=f"a second implementation accepts root.crt and {len(issued)} intermediates",
            evidence=version,
        )


def _files(evidence: _Evidence) -> Iterator[Claim]:
    # 9.
    for code, text, shown in paper_claims(evidence.directory, evidence.plans, evidence.records, evidence.mode):
        yield Claim(code=code, text=text, evidence=shown)
    for text, shown in script_claims(evidence.plans, evidence.records):
        yield Claim(code="script", text=text, evidence=shown)
    for text, shown in mending_claims(evidence.directory, evidence.records):
        yield Claim(code="mended", text=text, evidence=shown)


def _signatures(evidence: _Evidence) -> Iterator[Claim]:
    # 10.
    signed = list(signed_acts(evidence.records))
    ended = len(evidence.of(Kind.ACT_CLOSED)) + len(evidence.of(Kind.ACT_FAILED))
    cut = f"; {ended - len(signed)} ended without: the program was killed right then" if ended > len(signed) else ""
    yield Claim(
        code="signatures",
        text=f"{len(signed)} acts are signed by the program that opened them{cut}",
        evidence=f"records {', '.join(str(each.seq) for each in signed) or 'none'}",
    )
    for each in counter_signatures(evidence.directory, evidence.records, evidence.plans):
        role = each.role or "whom the plan does not name"
        last = "" if each.record is evidence.records[-1] else ", not the last one"
        yield Claim(
            code="counter-signature",
            text=f"{each.name} ({role}) signed the head of record {each.record.seq}{last}",
            evidence=f"{each.key}, if it is theirs: compare it with them",
        )


def _root_record(evidence: _Evidence) -> Record:
    found = evidence.of(Kind.CERTIFICATE_ISSUED)
    if not found or _text(found[0].body, "file") != "root.crt":
        raise _false("root.recorded", "the first certificate recorded is not root.crt")
    return found[0]


def _same_as_recorded(evidence: _Evidence, file: str, certificate: x509.Certificate, record: Record) -> None:
    facts = certificate_facts(file, certificate)
    for name, value in facts.items():
        if record.body.get(name) != value:
            raise _false("certificate.recorded", f"{file}: its {name} is not the one in record {record.seq}")
    prepared = [each for each in evidence.of(Kind.CERTIFICATE_PREPARED) if each.body.get("file") == file]
    if not any(each.seq < record.seq and each.body.get("tbs_sha256") == facts["tbs_sha256"] for each in prepared):
        raise _false("certificate.prepared", f"{file}: what was signed is not what was linted")


def _lint(file: str, certificate: x509.Certificate, profile: Profile, root: x509.Certificate | None) -> None:
    issuer = root or certificate
    context = Context(profile=profile, issuer_name=issuer.subject, issuer_key=ca_key(issuer), issuer=root)
    for finding in lint_certificate(certificate, context):
        raise _false("certificate.lint", f"{file}: {finding.message} ({finding.citation})")


def _text(body: Mapping[str, object], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise _false("record.malformed", f"a record lacks its {key}")
    return value


def _false(claim: str, why: str) -> RequestRejected:
    return RequestRejected(f"verify.{claim}", f"this ceremony does not verify: {why}")
