"""Going on after an act was killed: from the record, and from what is really in the HSM.

The steps; the numbers return in the code.

0. a last line that was torn is set aside, once the people agree, and the record says so (``ceremony.mending``);
1. the transcript verifies, and tells which act is open and what its last record is;
2. an intermediate that was signed is delivered from its record; one that was not, was not signed: the act is given up;
3. a plan that was recorded is in force, and its act is closed; one that was not is not, and the act is given up;
4. a root act goes on from what is certain. Before the HSM was asked for anything, nothing happened. Where an intent
   has no result, nobody knows whether the HSM acted: it is looked into, and what it shows is recorded with what
   follows from it. When only throw-away PINs can open it, they died with the program: begin anew elsewhere;
5. a quorum unlocks the HSM from its sheets alone; the key is generated unless it is there, proven, and certified
   unless it was; the certificate's file is made again from its record;
6. the act closes. A root that was finished in this way has the same proof as any other: the shares opened the HSM.

Whatever fails meanwhile (a wrong sheet, an HSM that is not plugged in) leaves the act open: resume it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509

from ceremony import hsm, shares
from ceremony.conduct.dealing import clear_away
from ceremony.conduct.directory import Journal, open_ceremony
from ceremony.conduct.intermediate import REPLY_STEM
from ceremony.conduct.issuers import find_issuer
from ceremony.conduct.later import take_inventory
from ceremony.conduct.root import insist_on_attributes, record_key, sign_root
from ceremony.conduct.setting import Setting, check_host, host_facts
from ceremony.hsm.listing import ListedToken, list_tokens
from ceremony.intermediate import SigningRequest, reply_bundle
from ceremony.inventory import GENERATE_KEY, Moment
from ceremony.mending import find_torn, mend
from ceremony.plan import Plan
from ceremony.records import OPENINGS, Act, Kind, recorded_certificate
from ceremony.script import StepName
from ceremony.secret import CeremonySecret
from ceremony.transcript import Json, Record
from shared import durable
from shared.crossing.bundle import digest
from shared.crossing.transfer import stage_bundle
from shared.errors import Fatal, NotFound, RequestRejected
from shared.keys import ca_key, public_key_digest
from shared.keystore import CaHsmKey, Token
from shared.pem import certificate_pem
from shared.serials import random_serial

BEGIN_ANEW = "resume.begin-anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """What became of the act that was open."""

    finished: bool
    """Whether it was finished; otherwise it was given up, and ``what`` says what to do."""
    what: str
    head: bytes
    """The transcript's head digest."""


def resume(setting: Setting, *, out: Path | None = None) -> Resumed:
    """Go on with the act that was killed.

    Args:
        setting: where, with which HSM and people.
        out: directory for the reply of an intermediate that was signed.

    Raises:
        RequestRejected: ``resume.nothing-open``, ``resume.own-way``, ``resume.no-out``, ``ceremony.*``, ``share.*``,
            ``transcript.*``, ``file.*``.
        PolicyDenied: ``host.not-fit``.
        PeerFailed: ``hsm.*``.
        Fatal: when something does not hold.
    """
    # 0.
    mended = _mend(setting)
    # 1.
    journal, plans = open_ceremony(setting.directory, setting.clock)
    if journal.mode is not setting.mode:
        raise RequestRejected("ceremony.other-mode", f"this ceremony is not a {setting.mode.value} one")
    if str(journal.records[0].body["plan"]) != plans.first.digest.hex():
        raise RequestRejected("ceremony.plan-changed", "plan.toml is not the plan that this ceremony began with")
    inside = journal.abandoned()
    if inside is None and mended is not None:
        return Resumed(finished=True, what=f"{mended}; no act is open", head=journal.head())
    if inside is None:
        raise RequestRejected(
            "resume.nothing-open", "no act is open in this record", hint="run the next act of the plan"
        )
    if inside == Act.ROOT:
        return _Root(setting, journal, plans.current).go_on()
    if inside == Act.INTERMEDIATE:
        return _intermediate(setting, journal, plans.current, out)
    if inside == Act.AMEND:
        return _amendment(setting, journal, plans.current)
    raise RequestRejected(
        "resume.own-way",
        f"the act {inside} was interrupted",
        hint=f"run the command of the act {inside} again: it looks at what was done, and finishes it",
    )


def _mend(setting: Setting) -> str | None:
    # 0. Never silently: people see what is torn, and say that it may be set aside.
    setting.directory.check_begun()
    torn = find_torn(setting.directory.transcript)
    if torn is None:
        return None
    if torn.records[0].body.get("mode") != setting.mode:
        raise RequestRejected("ceremony.other-mode", f"this ceremony is not a {setting.mode.value} one")
    people = setting.people
    people.tell(f"{torn.describe()}. What it was going to say was told to nobody, and counts as not recorded.")
    people.confirm("The torn line may be kept in a file of its own, and the record go on after the line before it")
    record = mend(torn, setting.clock)
    what = f"the torn line {torn.line} is kept in {record.body['file']}, and record {record.seq} says so"
    people.tell(what)
    return what


def _resumed(setting: Setting, journal: Journal, plan: Plan, act: Act) -> None:
    findings = check_host(setting, plan)
    last = journal.records[-1]
    journal.resume_act({"act": act.value, "after": last.seq, **host_facts(findings, plan)})
    setting.people.listen(journal.hear)
    setting.people.tell(f"the act {act} goes on after record {last.seq}, {last.kind}")


def _intermediate(setting: Setting, journal: Journal, plan: Plan, out: Path | None) -> Resumed:
    # 2.
    people, directory, here = setting.people, setting.directory, _this_act(journal)
    issued = [record for record in here if record.kind == Kind.CERTIFICATE_ISSUED]
    if not issued:
        check_host(setting, plan)
        journal.append(Kind.ACT_ABANDONED, {"act": Act.INTERMEDIATE.value})
        what = "nothing was signed that anybody holds: the act is given up; run it again"
        people.tell(what)
        return Resumed(finished=False, what=what, head=journal.head())
    if out is None:
        raise RequestRejected(
            "resume.no-out", "an intermediate was signed, and its reply is to be written", hint="add --out DIRECTORY"
        )
    durable.make_directory(out)
    durable.probe_directory(out)
    _resumed(setting, journal, plan, Act.INTERMEDIATE)
    certificate = recorded_certificate(issued[0].body)
    accepted = next(record for record in here if record.kind == Kind.REQUEST_ACCEPTED)
    request = SigningRequest(
        planned=plan.intermediate_for(certificate.subject),
        public_key=ca_key(certificate),
        ignored_extensions=(),
        bundle_digest=bytes.fromhex(str(accepted.body["bundle_sha256"])),
    )
    people.step(StepName.REPLY_WRITTEN)
    issuer = find_issuer(directory, journal, plan, request.planned.issuer)
    reply = reply_bundle(request, certificate=certificate, root=issuer.certificate)
    frames = _write_reply(out, reply) - 1
    _restore(directory.certificate(request.planned.file), certificate)
    if not any(record.kind == Kind.REPLY_WRITTEN for record in here):
        journal.append(Kind.REPLY_WRITTEN, {"sha256": digest(reply).hex(), "frames": frames})
    journal.end_act(Kind.ACT_CLOSED, {"act": Act.INTERMEDIATE.value})
    what = f"{request.planned.file}.crt and its reply were delivered from the record"
    people.tell(what)
    return Resumed(finished=True, what=what, head=journal.head())


def _amendment(setting: Setting, journal: Journal, plan: Plan) -> Resumed:
    # 3.
    amended = any(record.kind == Kind.PLAN_AMENDED for record in _this_act(journal))
    if amended:
        _resumed(setting, journal, plan, Act.AMEND)
        journal.end_act(Kind.ACT_CLOSED, {"act": Act.AMEND.value})
        what = "the plan is in force: the act is finished"
    else:
        check_host(setting, plan)
        journal.append(Kind.ACT_ABANDONED, {"act": Act.AMEND.value})
        what = "the plan was not recorded, and the one before is in force: the act is given up; run it again"
    setting.people.tell(what)
    return Resumed(finished=amended, what=what, head=journal.head())


def _write_reply(out: Path, reply: bytes) -> int:
    """Write what is missing of the reply; what is there must be the same bytes. Return the number of files."""
    with TemporaryDirectory() as scratch:
        with durable.Staging() as staging:
            made = stage_bundle(staging, Path(scratch), REPLY_STEM, reply)
        for path in made:
            _write_same(out / path.name, durable.read_file(path))
    return len(made)


def _restore(path: Path, certificate: x509.Certificate) -> None:
    _write_same(path, certificate_pem(certificate))


def _write_same(path: Path, content: bytes) -> None:
    if not path.exists():
        durable.write_new(path, content)
    elif durable.read_file(path) != content:
        raise RequestRejected("file.exists", f"{path} exists and is not what was recorded", hint="move it away")


def _this_act(journal: Journal) -> list[Record]:
    begin = max(place for place, record in enumerate(journal.records) if record.kind in OPENINGS)
    return list(journal.records[begin:])


class _BeginAnewError(Exception):
    """The act cannot be finished; the text says why."""


class _Root:
    """A root act that was killed."""

    def __init__(self, setting: Setting, journal: Journal, plan: Plan) -> None:
        self._setting = setting
        self._journal = journal
        self._plan = plan

    def go_on(self) -> Resumed:
        """Finish the act, or give it up and say what to do (steps 4 to 6)."""
        people, journal = self._setting.people, self._journal
        _resumed(self._setting, journal, self._plan, Act.ROOT)
        try:
            if not journal.find(Kind.QUORUM_UNLOCKED):
                self._finish()
        except _BeginAnewError as why:
            return self._give_up(str(why))
        # 6. Also when nothing but the end was missing.
        issued = journal.issued(self._setting.directory.root.name)
        if issued is None:
            raise Fatal("ceremony.incomplete", "a quorum unlocked the HSM, and no root was recorded")
        _restore(self._setting.directory.root, issued)
        journal.end_act(Kind.ACT_CLOSED, {"act": Act.ROOT.value})
        people.step(StepName.TRANSCRIPT_CLOSED)
        return Resumed(finished=True, what="the root act is finished", head=journal.head())

    def _finish(self) -> None:
        # 4.
        people, journal, plan = self._setting.people, self._journal, self._plan
        initialised = journal.find(Kind.TOKEN_INITIALISED)
        found = None if initialised else self._look()
        # 5.
        people.step(StepName.HSM_UNLOCKED_ANEW)
        commitments = journal.commitments()
        quorum = people.quorum(commitments)
        secret = shares.combine(quorum, commitments)
        if found is not None:
            self._take_token(found, secret)
        serial = str(journal.find(Kind.TOKEN_INITIALISED)[0].body["serial"])
        with hsm.open_token(self._setting.hsm, serial, secret.user_pin()) as token:
            take_inventory(self._setting, journal, token, Moment.BEFORE)
            key = self._key(token)
            take_inventory(self._setting, journal, token, Moment.AFTER)
            certificate = journal.issued(self._setting.directory.root.name)
            if certificate is None:
                people.step(StepName.ROOT_CERTIFICATE)
                certificate = sign_root(self._setting, journal, plan, key, serial=random_serial(token.random))
            if key.public_key() != certificate.public_key():
                raise Fatal("ceremony.other-key", "the unlocked HSM holds another key than the one the root certifies")
        used = [commitments.recognise(share).index for share in quorum]
        journal.append(Kind.QUORUM_UNLOCKED, {"set_id": commitments.set_id, "indexes": list(used), "token": serial})
        people.tell(f"{commitments.shape.names(used)} unlocked it, and it holds the root's key")

    def _look(self) -> ListedToken:
        """Find out whether the HSM was initialised, and whether anything but throw-away PINs can open it."""
        # 4. The unknown outcome.
        journal = self._journal
        intents = journal.find(Kind.HSM_INTENT)
        if not intents:
            raise _BeginAnewError("the HSM was not asked for anything yet: nothing happened")
        label = str(intents[0].body.get("label"))
        try:
            tokens = [each for each in list_tokens(self._setting.hsm) if each.initialised and each.label == label]
        except NotFound:
            tokens = []
        if len(tokens) != 1:
            self._record_outcome("blank" if not tokens else "ambiguous", None)
            raise _BeginAnewError(f"the HSM has {len(tokens) or 'no'} token {label!r}: it was not initialised")
        if not journal.find(Kind.SHARES_READ_BACK):
            self._record_outcome("throw-away-pins", tokens[0].serial)
            raise _BeginAnewError(
                f"the token {label!r} has throw-away PINs, which died with the program; there is no key in it"
            )
        return tokens[0]

    def _take_token(self, found: ListedToken, secret: CeremonySecret) -> None:
        pins = hsm.try_pins(self._setting.hsm, found.serial, hsm.Pins(so=secret.so_pin(), user=secret.user_pin()))
        self._record_outcome("shares-open-it" if pins.both else "throw-away-pins", found.serial)
        if not pins.both:
            raise _BeginAnewError(
                f"the shares do not open the token {found.label!r}: its throw-away PINs died with the program"
            )
        habits = hsm.habits_of(self._setting.hsm, found.serial)
        facts: dict[str, Json] = {
            "label": found.label,
            "serial": found.serial,
            "manufacturer": found.manufacturer,
            "model": found.model,
            "firmware": found.firmware,
            "quirks": habits.quirks.name,
            "pin_symbols": habits.pin_symbols,
        }
        self._journal.append(Kind.TOKEN_INITIALISED, facts)

    def _record_outcome(self, found: str, serial: str | None) -> None:
        intent = self._journal.find(Kind.HSM_INTENT)[-1]
        facts: dict[str, Json] = {
            "intent": intent.seq, "operation": intent.body.get("operation"), "found": found, "token": serial
        }  # fmt: skip
        self._journal.append(Kind.OUTCOME_FOUND, facts)
        self._setting.people.tell(f"the record does not say what became of record {intent.seq}; the HSM says: {found}")

    def _key(self, token: Token) -> CaHsmKey:
        """Return the root's key; made now when the HSM does not hold it."""
        # 5.
        plan, journal = self._plan, self._journal
        recorded = journal.find(Kind.KEY_GENERATED)
        asked = [each for each in journal.find(Kind.HSM_INTENT) if each.body.get("operation") == GENERATE_KEY]
        try:
            key = token.find(label=plan.root.label)
        except NotFound:
            key = None
        if not recorded and asked:
            self._record_outcome("no-key" if key is None else "key", token.info.serial)
        if recorded:
            if key is None or public_key_digest(key.public_key()) != recorded[0].body.get("public_key_sha256"):
                raise Fatal("ceremony.other-key", "the HSM does not hold the key that was recorded")
            attributes = hsm.key_attributes(token, key)
            insist_on_attributes(self._setting, token, attributes, label=key.label, plan=plan)
            return key
        self._setting.people.step(StepName.ROOT_KEY)
        if key is None:
            journal.append(Kind.HSM_INTENT, {"operation": GENERATE_KEY, "label": plan.root.label})
            key = hsm.generate_root_key(
                token,
                label=plan.root.label,
                kind=plan.root.key,
                backup=plan.backup,
                rehearsal=self._setting.rehearsal,
            )
        record_key(self._setting, journal, token, key, plan)
        return key

    def _give_up(self, why: str) -> Resumed:
        # A real ceremony leaves no sheet as a file; the one that was being printed may still lie there.
        clear_away(self._setting, self._journal.find(Kind.SHEET_WRITTEN))
        self._journal.end_act(Kind.ACT_FAILED, {"act": Act.ROOT.value, "code": BEGIN_ANEW})
        what = (
            f"{why}. This act cannot be finished: destroy the sheets that were printed, reset the token "
            f"{self._setting.hsm.token_label!r} with the vendor's tool if there is one, and begin anew in another "
            "directory"
        )
        self._setting.people.tell(what)
        return Resumed(finished=False, what=what, head=self._journal.head())
