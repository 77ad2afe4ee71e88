"""The act of a rollover: the next root's key is made beside the present one, and the two certify each other.

The steps; the numbers return in the code.

1. the host is fit; the transcript verifies and is continued; the plan lists the act; the files' places are free;
2. a quorum unlocks the HSM, whose inventory is as recorded and which holds the present root's key;
3. the next key is generated inside, under its own label; its attributes are read back and recorded. When an earlier
   attempt was interrupted, the inventory tells whether the key is there, and it is taken up, proven like a new one;
4. the next root is linted, signed by its own key and verified;
5. new-with-old is signed by the present key, old-with-new by the next one; each is linted and verified, and openssl
   finds the paths from either root to what the other one issued;
6. the three certificates appear together; the transcript closes.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from ceremony import hsm, pkilint_opinion
from ceremony.conduct.continuing import later_act
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
from ceremony.conduct.root import insist_on_attributes
from ceremony.conduct.setting import Setting
from ceremony.crl import issued_certificates
from ceremony.inventory import GENERATE_KEY
from ceremony.plan import ActKind, PlannedAct, RolloverPlan
from ceremony.records import Act, Kind, key_facts, recorded_certificate
from ceremony.rollover import prepare_link, prepare_next_root, rollover_files
from ceremony.script import StepName
from ceremony.second_opinion import openssl_verifies, openssl_verifies_path
from shared.errors import Fatal, RequestRejected
from shared.issue import Prepared, issue
from shared.keys import kind_of, public_key_digest
from shared.keystore import CaHsmKey, Token
from shared.pem import certificate_pem
from shared.serials import random_serial


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledOver:
    """What the act leaves."""

    root: x509.Certificate
    """The next root."""
    old_with_new: x509.Certificate
    new_with_old: x509.Certificate
    files: tuple[str, str, str]
    """In this order, relative to the ceremony's directory."""
    head: bytes
    """The transcript's head digest."""


def roll_over(setting: Setting, name: str) -> RolledOver:
    """Conduct a planned rollover, or go on with one that was interrupted.

    Args:
        setting: where, with which HSM and people.
        name: which of the plan's.

    Raises:
        RequestRejected: ``ceremony.*``, ``share.*``, ``transcript.*``, ``file.*``.
        PolicyDenied: ``host.not-fit``, ``rollover.*``, ``lint.*``, ``pkilint.*``.
        PeerFailed: ``hsm.*``.
        Fatal: when something does not hold.
    """
    people = setting.people
    # 1. Refused before anything is recorded.
    act = examine_rollover(setting, name)
    continued = act.continued
    probe_places(continued, *act.files)
    with later_act(setting, continued.journal, continued.plan, Act.ROLLOVER, name=name):
        root, old_with_new, new_with_old = act.certificates()
        # 6.
        made = zip(act.files, (root, old_with_new, new_with_old), strict=True)
        write_files(continued, *(File(name=file, content=certificate_pem(each)) for file, each in made))
    people.step(StepName.TRANSCRIPT_CLOSED)
    return RolledOver(
        root=root,
        old_with_new=old_with_new,
        new_with_old=new_with_old,
        files=act.files,
        head=continued.journal.head(),
    )


def examine_rollover(setting: Setting, name: str) -> Rollover:
    """Check everything that can be before a share is asked for; nothing is written.

    Raises:
        RequestRejected, PolicyDenied: as ``roll_over``.
    """
    continued = continue_ceremony(
        setting,
        PlannedAct(kind=ActKind.ROLLOVER, name=name),
        command="ceremony rollover",
        rehearsal="ceremony rehearse rollover",
    )
    act = Rollover(continued, name)
    if places_taken(continued, {file: act.recorded_pem(file) for file in act.files}):
        raise RequestRejected("ceremony.already-signed", f"the rollover {name} was already done")
    return act


class Rollover:
    """One rollover under way: what its steps share."""

    def __init__(self, continued: Continued, name: str) -> None:
        self.continued = continued
        self._name = name
        self.planned: RolloverPlan = next(each for each in continued.plan.rollovers if each.name == name)
        self.old = continued.issuer(self.planned.issuer)
        """The root that the next one follows."""
        where = rollover_files(name)
        self.files = (where.root, where.old_with_new, where.new_with_old)

    def recorded(self, file: str) -> x509.Certificate | None:
        """Return what an earlier attempt signed and recorded."""
        journal = self.continued.journal
        for record in (*journal.find(Kind.NEXT_ROOT_ISSUED), *journal.find(Kind.CROSS_ISSUED)):
            if record.body.get("file") == file:
                return recorded_certificate(record.body)
        return None

    def recorded_pem(self, file: str) -> bytes | None:
        """Return the same as a file's content."""
        found = self.recorded(file)
        return certificate_pem(found) if found is not None else None

    def certificates(self) -> tuple[x509.Certificate, x509.Certificate, x509.Certificate]:
        """Return next root, old-with-new and new-with-old; sign what is not signed yet (steps 2 to 5)."""
        found = tuple(self.recorded(file) for file in self.files)
        if found[0] is not None and found[1] is not None and found[2] is not None:
            self.continued.setting.people.tell("they were signed before, and could not be written then")
            return found[0], found[1], found[2]
        # 2.
        with unlocked_hsm(self.continued, writable=True) as opened:
            old = self.old.certificate
            old_key, new_key = self.old.key(opened.token), self._next_key(opened.token)
            self.continued.setting.people.step(StepName.NEXT_ROOT_CERTIFICATES)
            serial = random_serial(opened.token.random)
            # 4.
            root = found[0] or self._sign(
                Kind.NEXT_ROOT_ISSUED, self.files[0], self._next_root(new_key, serial), new_key, None
            )
            begin = root.not_valid_before_utc
            # 5.
            old_with_new = found[1] or self._sign(
                Kind.CROSS_ISSUED,
                self.files[1],
                prepare_link(old, root, begin=begin, serial=random_serial(opened.token.random)),
                new_key,
                root,
            )
            new_with_old = found[2] or self._sign(
                Kind.CROSS_ISSUED,
                self.files[2],
                prepare_link(root, old, begin=begin, serial=random_serial(opened.token.random)),
                old_key,
                old,
            )
            self._check_paths(root, old_with_new, new_with_old)
        return root, old_with_new, new_with_old

    def _next_key(self, token: Token) -> CaHsmKey:
        # 3.
        continued, planned = self.continued, self.planned.root
        journal, people = continued.journal, continued.setting.people
        people.step(StepName.NEXT_ROOT_KEY)
        for record in journal.find(Kind.NEXT_KEY_GENERATED):
            if record.body.get("name") == self._name:
                key = token.find(key_id=bytes.fromhex(str(record.body["id"])))
                if public_key_digest(key.public_key()) != record.body.get("public_key_sha256"):
                    raise Fatal("ceremony.other-key", "the HSM holds another key than the recorded next one")
                people.tell(f"key {key.label!r}: it was generated in an earlier attempt")
                return key
        if any(each.label == planned.label for each in token.inventory()):
            # The inventory let it pass: an earlier attempt meant to generate it, and nobody could record that it did.
            key = token.find(label=planned.label)
            people.tell(f"key {key.label!r}: an interrupted attempt generated it; it is taken up")
        else:
            journal.append(Kind.HSM_INTENT, {"operation": GENERATE_KEY, "label": planned.label})
            key = hsm.generate_root_key(
                token,
                label=planned.label,
                kind=planned.key,
                backup=continued.plan.backup,
                rehearsal=continued.setting.rehearsal,
            )
        attributes = hsm.key_attributes(token, key)
        facts = key_facts(
            label=key.label,
            key_id=key.key_id,
            public_key_sha256=public_key_digest(key.public_key()),
            attributes=attributes,
        )
        journal.append(Kind.NEXT_KEY_GENERATED, {"name": self._name, **facts})
        insist_on_attributes(continued.setting, token, attributes, label=key.label, plan=continued.plan)
        if kind_of(key.public_key()) is not planned.key:
            raise Fatal("ceremony.other-key", "the key in the HSM is of another kind than planned")
        return key

    def _next_root(self, key: CaHsmKey, serial: int) -> Prepared:
        continued = self.continued
        return prepare_next_root(
            continued.plan,
            self.planned,
            public_key=key.public_key(),
            serial=serial,
            now=continued.setting.clock.now(),
        )

    def _sign(
        self, kind: Kind, file: str, prepared: Prepared, key: CaHsmKey, issuer: x509.Certificate | None
    ) -> x509.Certificate:
        judged = pkilint_opinion.accept_certificate(prepared.tbs, kind_of(key.public_key()))
        record_prepared(self.continued, file, prepared.tbs_digest)
        certificate = issue(prepared, key)
        at = certificate.not_valid_before_utc
        version = openssl_verifies(issuer or certificate, [certificate] if issuer is not None else [], at=at)
        opinions = {"second_opinion": version or "not asked", "pkilint": judged}
        record_issued(self.continued, kind, file, certificate, opinions)
        return certificate

    def _check_paths(
        self, root: x509.Certificate, old_with_new: x509.Certificate, new_with_old: x509.Certificate
    ) -> None:
        # 5. What the old root issued is reached from the new one; the new root itself from the old one.
        at = root.not_valid_before_utc
        issued = issued_certificates(self.continued.journal.records)
        planned = [each for each in self.continued.plan.intermediates if each.issuer == self.planned.issuer]
        below = [issued[each.file] for each in planned if each.file in issued]
        below = [each for each in below if each.not_valid_after_utc > at]
        for end in below:
            openssl_verifies_path(root, [old_with_new], end, at=max(at, end.not_valid_before_utc))
        version = openssl_verifies_path(self.old.certificate, [], new_with_old, at=at)
        if version is not None:
            text = f"{version}: from the next root to {len(below)} intermediates of the old one, and back to the next"
            self.continued.setting.people.tell(text)
