"""The root act: from an agreed plan and an empty HSM to a root, its shares, and the proof that they unlock it.

The steps; the numbers return in the code. Up to 3 nothing is lost by stopping; from 4 on, stopping means to
destroy the token and to begin again elsewhere, and the transcript says so.

1. everything that can be refused is: the directory is free, the papers can be printed, the host is fit (outside
   a rehearsal, a breach of the air gap ends the act here);
2. the transcript opens with the plan's digest;
3. the HSM is initialised under throw-away PINs and gives randomness of its own;
4. the secret is mixed from the operating system's and the HSM's randomness; the PINs are derived from it;
5. the secret is split, every quorum is proven in memory, and the commitments are recorded;
6. each custodian in turn gets a printed sheet and reads it back: before the HSM depends on the PINs, so that no
   crash and no bad printer can lock it for ever; then the throw-away PINs are replaced, and proven dead;
7. the key is generated in the HSM, its attributes are read back and recorded;
8. the root is linted, signed and verified, by a second implementation too;
9. the HSM is unlocked anew from a quorum of shares alone, and holds the very key that the root certifies;
10. the transcript closes; its head is for the witnesses to copy.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from ceremony import hsm, pkilint_opinion, shares
from ceremony.conduct.dealing import Dealt, check_sheets, deal, hand_out
from ceremony.conduct.directory import Journal, act, create_journal
from ceremony.conduct.later import take_inventory
from ceremony.conduct.setting import Setting, check_host, confirm_time, host_facts
from ceremony.crl import check_fixed
from ceremony.host import HostFinding
from ceremony.inventory import GENERATE_KEY, Moment
from ceremony.plan import ActKind, Plan, PlannedAct
from ceremony.records import Act, Kind, Mode, certificate_facts, key_facts
from ceremony.root import prepare_root
from ceremony.script import StepName, numbered
from ceremony.second_opinion import openssl_verifies
from ceremony.secret import SOURCE_BYTES, mix_secret
from ceremony.shares import ShareSet
from ceremony.transcript import Json
from shared import durable
from shared.errors import Fatal, RequestRejected
from shared.issue import issue
from shared.keys import fingerprint, public_key_digest
from shared.keystore import CaHsmKey, Token
from shared.pem import certificate_pem
from shared.serials import random_serial


@dataclass(frozen=True, slots=True, kw_only=True)
class RootMade:
    """What the root act leaves."""

    certificate: x509.Certificate
    head: bytes
    """The transcript's head digest."""


def create_root(
    setting: Setting,
    plan: Plan,
    plan_bytes: bytes,
    *,
    keep_shares: Callable[[ShareSet], None] | None = None,
    outputs: Sequence[Path] = (),
) -> RootMade:
    """Conduct the root act.

    Args:
        setting: where, with which HSM and people.
        plan: validated.
        plan_bytes: the plan's file, copied unchanged into the ceremony's directory.
        keep_shares: for a rehearsal only: told the shares, so that they can be kept for later rehearsals.
        outputs: files that ``keep_shares`` will write; refused now when they could not be.

    Raises:
        RequestRejected: ``ceremony.exists``, ``host.*``, ``hsm.*``, ``share.*``.
        PolicyDenied: ``host.not-fit``, ``lint.*``.
        PeerFailed: ``hsm.*``.
        Fatal: whenever something that was just made does not hold.
    """
    if keep_shares is not None and setting.mode is not Mode.REHEARSAL:
        raise Fatal("ceremony.shares-kept", "the words of shares are kept in a rehearsal only")
    people, directory = setting.people, setting.directory
    # 1. Nothing is written before everything that can be refused was.
    findings = check_root(setting, plan, outputs)
    # 2.
    people.step(StepName.TRANSCRIPT_OPENED)
    durable.make_directory(directory.path, private=True)
    if not directory.plan.exists() or durable.read_file(directory.plan) != plan_bytes:
        durable.write_new(directory.plan, plan_bytes)
    journal = create_journal(directory, setting.mode, plan, setting.clock, watch=setting.watch)
    people.listen(journal.hear)
    people.show_digest("plan", plan.digest)
    with _remains_named(setting, journal), act(journal, Act.ROOT):
        journal.append(Kind.HOST_CHECKED, host_facts(findings, plan))
        dealing = _Dealing(setting, journal, plan, keep_shares)
        serial, user_pin = _initialise(setting, journal, dealing)
        dealt = dealing.dealt()
        certificate = _make_root(setting, journal, plan, serial, user_pin)
        # From here on the HSM opens by the shares alone.
        del user_pin
        _prove_recovery(setting, journal, plan, dealt, serial=serial, certificate=certificate)
    # 10.
    people.step(StepName.TRANSCRIPT_CLOSED)
    people.tell("Witnesses copy the head's words by hand: they, not this machine, guard the record.")
    return RootMade(certificate=certificate, head=journal.head())


def check_root(setting: Setting, plan: Plan, outputs: Sequence[Path]) -> tuple[HostFinding, ...]:
    """Refuse whatever can be refused before the root act begins; return what was found of the host.

    Raises:
        RequestRejected: ``script.*``, ``ceremony.exists``, ``paper.*``, ``file.exists``, ``hsm.*``.
        PolicyDenied: ``crl.outside-root`` or ``host.not-fit``.
        NotFound: ``hsm.module-missing``.
        PeerFailed: ``hsm.*``.
    """
    setting.people.guide(numbered(plan, PlannedAct(kind=ActKind.ROOT)), typist=plan.roles.administrator)
    check_fixed(plan)
    setting.directory.refuse_if_used()
    check_sheets(plan, plan.shares)
    for path in outputs:
        _check_place(path)
    findings = (*check_host(setting, plan), confirm_time(setting))
    hsm.check_blank(setting.hsm, {plan.root.key, *(each.root.key for each in plan.rollovers)})
    return findings


def _check_place(path: Path) -> None:
    if os.path.lexists(path):
        raise RequestRejected("file.exists", f"{path} already exists", hint="give a new file")
    durable.probe_directory(path.parent)


@contextmanager
def _remains_named(setting: Setting, journal: Journal) -> Iterator[None]:
    """When the act fails, say what it leaves: people must not have to guess what to destroy."""
    try:
        yield
    except BaseException:
        people, directory = setting.people, setting.directory
        if not journal.find(Kind.HSM_INTENT):
            people.tell(
                f"The act failed before the HSM was asked for anything. It leaves the record in {directory.path}."
            )
            people.tell("Nothing has to be destroyed; begin again in another directory.")
            raise
        people.tell(f"The act failed. What it leaves: the record in {directory.transcript},")
        people.tell(f"perhaps a token {setting.hsm.token_label!r} in the HSM, and sheets with secret words in")
        people.tell(f"{directory.sheets}. Destroy token and sheets, and begin again in another directory.")
        raise


class _Dealing:
    """From the HSM's randomness to its PINs; in between, the secret becomes sheets. The secret stays here."""

    def __init__(self, setting: Setting, journal: Journal, plan: Plan, keep: Callable[[ShareSet], None] | None) -> None:
        self._setting = setting
        self._journal = journal
        self._plan = plan
        self._keep = keep
        self._dealt: ShareSet | None = None

    def dealt(self) -> ShareSet:
        """Return the shares, once they were dealt."""
        assert self._dealt is not None
        return self._dealt

    def __call__(self, hsm_random: bytes) -> hsm.Pins:
        """Mix, split, prove and write the sheets (steps 4 to 6)."""
        people = self._setting.people
        # 4.
        people.step(StepName.SECRET_MIXED)
        secret = mix_secret(self._setting.rng(SOURCE_BYTES), hsm_random, context=self._plan.digest)
        self._journal.append(Kind.ENTROPY_MIXED, {"sources": ["operating-system", "hsm"], "bytes_each": SOURCE_BYTES})
        people.tell("32 bytes from the operating system's and the HSM's generators")
        people.tell("the HSM's PINs are derived from them and written nowhere")
        # 5.
        self._dealt = deal(self._setting, self._journal, secret, self._plan.shares, act=Act.ROOT)
        if self._keep is not None:
            self._keep(self._dealt)
        # 6.
        plan, directory = self._plan, self._setting.directory.sheets
        dealt = Dealt(plan=plan, shares=plan.shares, set=self._dealt, directory=directory)
        hand_out(self._setting, self._journal, dealt)
        return hsm.Pins(so=secret.so_pin(), user=secret.user_pin())


def _initialise(setting: Setting, journal: Journal, dealing: _Dealing) -> tuple[str, bytes]:
    # 3. The intent is on the disk before the HSM is touched: after a crash, people know what to look for.
    people = setting.people
    people.step(StepName.HSM_INITIALISED)
    journal.append(Kind.HSM_INTENT, {"operation": "initialise-token", "label": setting.hsm.token_label})
    pins: list[hsm.Pins] = []

    def derive(hsm_random: bytes) -> hsm.Pins:
        pins.append(dealing(hsm_random))
        return pins[0]

    info = hsm.initialise_with(setting.hsm, derive, rng=setting.rng)
    habits = hsm.habits_of(setting.hsm, info.serial)
    facts: dict[str, Json] = {
        "label": info.label,
        "serial": info.serial,
        "manufacturer": info.manufacturer,
        "model": info.model,
        "firmware": info.firmware,
        "quirks": habits.quirks.name,
        "pin_symbols": habits.pin_symbols,
    }
    journal.append(Kind.TOKEN_INITIALISED, facts)
    people.tell(f"token {info.label!r}, serial {info.serial} ({info.manufacturer} {info.model})")
    untried = "not tried, for it forgets no wrong try" if habits.quirks.wrong_tries_stay else "refused"
    people.tell(f"its PINs are now the derived ones ({habits.pin_symbols} symbols); the throw-away PINs are {untried}")
    return info.serial, pins[0].user


def _make_root(setting: Setting, journal: Journal, plan: Plan, serial: str, user_pin: bytes) -> x509.Certificate:
    # 7.
    people = setting.people
    people.step(StepName.ROOT_KEY)
    with hsm.open_token(setting.hsm, serial, user_pin) as token:
        take_inventory(setting, journal, token, Moment.BEFORE)
        journal.append(Kind.HSM_INTENT, {"operation": GENERATE_KEY, "label": plan.root.label})
        key = hsm.generate_root_key(
            token, label=plan.root.label, kind=plan.root.key, backup=plan.backup, rehearsal=setting.rehearsal
        )
        record_key(setting, journal, token, key, plan)
        take_inventory(setting, journal, token, Moment.AFTER)
        # 8.
        people.step(StepName.ROOT_CERTIFICATE)
        return sign_root(setting, journal, plan, key, serial=random_serial(token.random))


def record_key(setting: Setting, journal: Journal, token: Token, key: CaHsmKey, plan: Plan) -> None:
    """Record the root's key as the HSM describes it, and insist that it is as it must be (step 7).

    Raises:
        Fatal: ``hsm.key-exposed``.
        PeerFailed: ``hsm.*``.
    """
    attributes = hsm.key_attributes(token, key)
    digest = public_key_digest(key.public_key())
    journal.append(
        Kind.KEY_GENERATED,
        key_facts(label=key.label, key_id=key.key_id, public_key_sha256=digest, attributes=attributes),
    )
    insist_on_attributes(setting, token, attributes, label=key.label, plan=plan)


def insist_on_attributes(
    setting: Setting, token: Token, attributes: Mapping[str, bool | str], *, label: str, plan: Plan
) -> None:
    """Insist that a key is as it must be, and tell people so; in a rehearsal, tell what weakens the evidence.

    Raises:
        Fatal: ``hsm.key-exposed``.
    """
    weak = hsm.check_attributes(attributes, backup=plan.backup, rehearsal=setting.rehearsal, quirks=token.quirks)
    for each in weak:
        setting.people.tell(f"(rehearsal: the key {label!r} would be refused in a real ceremony: {each})")
    if not weak:
        setting.people.tell(f"key {label!r}: generated inside, {plan.leaving}, can only sign")


def sign_root(setting: Setting, journal: Journal, plan: Plan, key: CaHsmKey, *, serial: int) -> x509.Certificate:
    """Lint, sign and verify the root (step 8). The record comes before the file, which can be made from it again.

    Raises:
        PolicyDenied: ``lint.*``.
        PeerFailed: ``hsm.*``.
        Fatal: ``second-opinion.*``.
    """
    people, file = setting.people, setting.directory.root.name
    prepared = prepare_root(plan, public_key=key.public_key(), serial=serial, now=setting.clock.now())
    judged = pkilint_opinion.accept_certificate(prepared.tbs, plan.root.key)
    journal.append(Kind.CERTIFICATE_PREPARED, {"file": file, "tbs_sha256": prepared.tbs_digest})
    people.show_digest(f"content of {file}, to be signed", bytes.fromhex(prepared.tbs_digest))
    certificate = issue(prepared, key)
    version = openssl_verifies(certificate, [], at=certificate.not_valid_before_utc)
    opinions = {"second_opinion": version or "not asked", "pkilint": judged}
    journal.append(Kind.CERTIFICATE_ISSUED, {**certificate_facts(file, certificate), **opinions})
    durable.write_new(setting.directory.root, certificate_pem(certificate))
    people.show_digest(f"certificate {setting.directory.root}", bytes.fromhex(fingerprint(certificate)))
    people.tell(f"second opinion: {version or 'no openssl here knows this kind of key'}; pkilint: {judged}")
    return certificate


def _prove_recovery(
    setting: Setting, journal: Journal, plan: Plan, dealt: ShareSet, *, serial: str, certificate: x509.Certificate
) -> None:
    # 9.
    people, commitments = setting.people, dealt.commitments
    people.step(StepName.HSM_UNLOCKED_ANEW)
    quorum = people.quorum(commitments)
    recovered = shares.combine(quorum, commitments)
    with hsm.open_token(setting.hsm, serial, recovered.user_pin()) as token:
        key = token.find(label=plan.root.label)
        if key.public_key() != certificate.public_key():
            raise Fatal("ceremony.other-key", "the unlocked HSM holds another key than the one the root certifies")
    used = [commitments.recognise(share).index for share in quorum]
    journal.append(Kind.QUORUM_UNLOCKED, {"set_id": commitments.set_id, "indexes": list(used), "token": serial})
    people.tell(f"{commitments.shape.names(used)} unlocked it, and it holds the root's key")


def words_keeper(path: Path) -> Callable[[ShareSet], None]:
    """Return what a rehearsal gives as ``keep_shares``: writes the words to a private file."""
    return functools.partial(_keep, path)


def _keep(path: Path, dealt: ShareSet) -> None:
    shares.write_words_file(path, dealt.shares)
