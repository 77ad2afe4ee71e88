"""What the record shows about the acts after the root's, for whoever verifies: lists, cross-certificates, rollovers.

Checked; the numbers return in the code.

1. every inventory of the token is the one that the records before it lead to, and every act that used the HSM took
   one before and one after;
2. each list is, byte for byte before its signature, what plan, root and record lead to; numbers only grow; the root
   signed it, and a second implementation agrees;
3. each cross-certificate likewise, for the very root that the plan agreed on;
4. the next root's key was generated in the HSM; root and links likewise; either root leads to what the other issued;
5. every file that was written lies here unchanged, and no other one in the same directories.

What is signed follows from the plan, so the acts' own pure functions make it anew: nothing is merely looked at.
Backup and destruction have their own room: ``key_evidence``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from ceremony import backup, crl, crosscert, inventory, rollover
from ceremony.hsm import check_attributes
from ceremony.inventory import Moment, recorded_quirks
from ceremony.plan import FIRST_ROOT, RolloverPlan
from ceremony.plan_history import PlanHistory
from ceremony.records import ENDINGS, OPENINGS, Act, Kind, Mode, certificate_facts, recorded_certificate
from ceremony.second_opinion import openssl_verifies, openssl_verifies_list, openssl_verifies_path
from ceremony.transcript import Record
from shared import durable
from shared.crl import verify_crl_signature
from shared.errors import Fatal, RequestRejected
from shared.issue import Issuer, Prepared, verify_signature
from shared.keys import ca_key
from shared.pem import certificate_pem, load_crl

Shown = tuple[str, str, str]
"""A claim: its code, what holds, and what shows it."""
_FOLDERS = (crl.FOLDER, crosscert.FOLDER, rollover.FOLDER, backup.FOLDER)
# A backup belongs into a sealed bag, not beside the record.
_MAY_BE_AWAY = f"{backup.FOLDER}/"
_LOOKS = frozenset(Act) - {Act.ROTATE}
"""Acts that take the token's inventory. A rotation changes PINs alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A ceremony that is verified: what its record and its plan say."""

    directory: Path
    plans: PlanHistory
    records: Sequence[Record]
    root: x509.Certificate

    @property
    def rehearsal(self) -> bool:
        """Whether it was for practice."""
        return self.records[0].body.get("mode") == Mode.REHEARSAL

    def of(self, *kinds: Kind) -> list[Record]:
        """Return the records of some kinds, in their order."""
        return [record for record in self.records if record.kind in kinds]

    def issuer(self, name: str, before: int) -> x509.Certificate:
        """Return the root that signed before a record: the first one, or the one of a rollover.

        Raises:
            RequestRejected: ``verify.issuer``.
        """
        if name == FIRST_ROOT:
            return self.root
        for record in self.of(Kind.NEXT_ROOT_ISSUED):
            if record.seq < before and record.body.get("file") == rollover.rollover_files(name).root:
                return recorded_certificate(record.body)
        raise false("issuer", f"record {before} tells of what the next root {name} signed, and there was none")

    def acts(self) -> Iterator[Sequence[Record]]:
        """Return the records of each act, from its opening to its end."""
        begin = 0
        for at, record in enumerate(self.records):
            if record.kind in OPENINGS:
                begin = at
            elif record.kind in ENDINGS:
                yield self.records[begin : at + 1]


def act_claims(finished: Finished) -> Iterator[Shown]:
    """Check the later acts; yield each claim that holds.

    Raises:
        RequestRejected: ``verify.*``, or what cannot be read.
        PolicyDenied, Fatal: from the checks that were repeated.
    """
    yield from _inventories(finished)
    yield from _lists(finished)
    yield from _crosses(finished)
    yield from _rollovers(finished)
    yield from _files(finished)


def false(claim: str, why: str) -> RequestRejected:
    """Make the error of a claim that does not hold."""
    return RequestRejected(f"verify.{claim}", f"this ceremony does not verify: {why}")


def _inventories(finished: Finished) -> Iterator[Shown]:
    # 1.
    taken = 0
    for records in finished.acts():
        moments = []
        for record in records:
            if record.kind != Kind.INVENTORY_TAKEN:
                continue
            wanted = inventory.expected(finished.records[: record.seq])
            try:
                inventory.check(wanted, inventory.from_json(record.body.get("objects")))
            except Fatal as difference:
                # An act that stopped for just this reason told the truth.
                if records[-1].kind == Kind.ACT_FAILED and records[-1].body.get("code") == difference.code:
                    continue
                raise
            moments.append(str(record.body.get("moment")))
            taken += 1
        used = any(record.kind == Kind.QUORUM_UNLOCKED for record in records)
        if used and records[0].body.get("act") in _LOOKS and records[-1].kind == Kind.ACT_CLOSED:
            _check_moments(records, moments)
    yield (
        "inventory",
        f"the token held what the record says, and nothing else, whenever it was looked at: {taken} times",
        f"keys there at the end: {', '.join(key.label for key in inventory.expected(finished.records).keys) or 'none'}",
    )


def _check_moments(records: Sequence[Record], moments: Sequence[str]) -> None:
    erased = any(record.kind == Kind.TOKEN_ERASED for record in records)
    # A destruction that goes on after a power cut cannot look into a token that was erased.
    allowed = moments == [Moment.BEFORE, Moment.AFTER] or (erased and not moments)
    # Each try begins with a look. The one that was killed made no last one, and what was signed is then delivered
    # without the HSM: the next act's first look is the proof.
    resumed = any(record.kind == Kind.ACT_RESUMED for record in records)
    if not allowed and not (resumed and moments[:1] == [Moment.BEFORE]):
        raise false("inventory.missing", f"the act of record {records[0].seq} did not take the token's inventory")


def _lists(finished: Finished) -> Iterator[Shown]:
    # 2.
    previous = None
    for record in finished.of(Kind.LIST_ISSUED):
        file, encoded = str(record.body.get("file")), crl.recorded_list(record.body)
        day = finished.plans.at(record.seq)
        planned = {each.file: (plan, each) for plan in day.crls for each in crl.planned_lists(plan)}
        if file not in planned:
            raise false("crl.plan", f"{file} is no list of the plan")
        _check_facts(record, crl.list_facts(file, encoded))
        _check_prepared(finished, record, Kind.LIST_PREPARED)
        plan, wanted = planned[file]
        before = finished.records[: record.seq]
        if day.previous is not None:
            # Earlier programs did not insist on it on a first day.
            crl.check_kept(day, plan, before)
        root = finished.issuer(plan.issuer, record.seq)
        issued = crl.issued_certificates(before)
        made = crl.prepare_list(plan, wanted, root=root, issued=issued, previous_number=previous)
        found = load_crl(encoded, what=file)
        if found.tbs_certlist_bytes != made.tbs:
            raise false("crl.content", f"{file} is not what plan and record lead to")
        verify_crl_signature(found, Issuer.from_certificate(root))
        version, previous = openssl_verifies_list(root, encoded), wanted.number
        what = f"list {wanted.number}, {len(found)} revoked"
        yield (
            "crl",
            f"{file} is signed by {called(plan.issuer)}, as planned and as linted: {what}",
            f"sha256 {record.body.get('sha256')}, record {record.seq}; {version or 'no second opinion'}",
        )


def _crosses(finished: Finished) -> Iterator[Shown]:
    # 3.
    accepted = {str(record.body.get("name")): record for record in finished.of(Kind.OTHER_ROOT_ACCEPTED)}
    for record in finished.of(Kind.CROSS_ISSUED):
        file = str(record.body.get("file"))
        if file.startswith(f"{rollover.FOLDER}/"):
            continue
        planned = {crosscert.cross_file(each.name): each for each in finished.plans.at(record.seq).crosses}
        if file not in planned:
            raise false("cross.plan", f"{file} is no cross-certificate of the plan")
        wanted = planned[file]
        before = accepted.get(wanted.name)
        if before is None or before.body.get("sha256") != wanted.fingerprint:
            raise false("cross.other-root", f"no record shows the root that {file} certifies")
        other, made = recorded_certificate(before.body), recorded_certificate(record.body)
        root = finished.issuer(wanted.issuer, record.seq)
        prepared = crosscert.prepare_cross(
            wanted, other, root=root, serial=made.serial_number, now=made.not_valid_before_utc
        )
        _check_certificate(finished, record, made, prepared, root)
        version = openssl_verifies(root, [made], at=made.not_valid_before_utc)
        yield (
            "cross",
            f"{file} certifies the root that was agreed on, as planned and as linted: {record.body.get('subject')}",
            f"sha256 {record.body.get('sha256')}, record {record.seq}; {version or 'no second opinion'}",
        )


def _rollovers(finished: Finished) -> Iterator[Shown]:
    # 4.
    issued = {str(record.body.get("file")): record for record in finished.of(Kind.NEXT_ROOT_ISSUED, Kind.CROSS_ISSUED)}
    for wanted in finished.plans.current.rollovers:
        files = rollover.rollover_files(wanted.name)
        record = issued.pop(files.root, None)
        if record is None:
            continue
        day = finished.plans.at(record.seq)
        if wanted not in day.rollovers:
            raise false("rollover.plan", f"{files.root} is no certificate of a rollover of its day's plan")
        root, old = recorded_certificate(record.body), finished.issuer(wanted.issuer, record.seq)
        evidence = _check_next_key(finished, wanted.name, record)
        prepared = rollover.prepare_next_root(
            day,
            wanted,
            public_key=ca_key(root),
            serial=root.serial_number,
            now=root.not_valid_before_utc,
        )
        _check_certificate(finished, record, root, prepared, root)
        links = []
        for file, certified, issuer in (
            (files.old_with_new, old, root),
            (files.new_with_old, root, old),
        ):
            link_record = issued.pop(file, None)
            if link_record is None:
                continue
            link = recorded_certificate(link_record.body)
            prepared = rollover.prepare_link(
                certified, issuer, begin=root.not_valid_before_utc, serial=link.serial_number
            )
            _check_certificate(finished, link_record, link, prepared, issuer)
            openssl_verifies(issuer, [link], at=root.not_valid_before_utc)
            links.append(link)
        reached = _check_paths(finished, wanted, root, links, record)
        yield (
            "rollover",
            f"{files.root} is the next root, as planned and as linted, and {len(links)} of 2 certificates lead over",
            f"sha256 {record.body.get('sha256')}; {evidence}; from it to {reached} intermediates of the old root",
        )
    for file, record in issued.items():
        if file.startswith(f"{rollover.FOLDER}/") or record.kind == Kind.NEXT_ROOT_ISSUED:
            raise false("rollover.plan", f"{file} is no certificate of a planned rollover")


def _check_next_key(finished: Finished, name: str, root: Record) -> str:
    # 4.
    generated = [
        record
        for record in finished.of(Kind.NEXT_KEY_GENERATED)
        if record.body.get("name") == name and record.seq < root.seq
    ]
    if not generated or generated[-1].body.get("public_key_sha256") != root.body.get("public_key_sha256"):
        raise false("rollover.key", f"the next root {name} certifies another key than the one generated in the HSM")
    attributes = generated[-1].body.get("attributes")
    known = attributes.items() if isinstance(attributes, dict) else ()
    weak = check_attributes(
        {key: value for key, value in known if isinstance(value, bool | str)},
        backup=finished.plans.first.backup,
        rehearsal=finished.rehearsal,
        quirks=recorded_quirks(finished.records),
    )
    return f"key of record {generated[-1].seq}{' (which a real ceremony would refuse)' if weak else ''}"


def _check_paths(
    finished: Finished,
    wanted: RolloverPlan,
    root: x509.Certificate,
    links: Sequence[x509.Certificate],
    record: Record,
) -> int:
    # 4.
    at, reached = root.not_valid_before_utc, 0
    if len(links) != 2:  # noqa: PLR2004 (there and back)
        return reached
    below = {each.file for each in finished.plans.at(record.seq).intermediates if each.issuer == wanted.issuer}
    for stem, end in crl.issued_certificates(finished.records[: record.seq]).items():
        if stem in below and end.not_valid_after_utc > at:
            openssl_verifies_path(root, links[:1], end, at=max(at, end.not_valid_before_utc))
            reached += 1
    return reached


def called(issuer: str) -> str:
    """Return what a claim calls the root that signed."""
    return "this root" if issuer == FIRST_ROOT else f"the next root {issuer}"


def _check_certificate(
    finished: Finished, record: Record, made: x509.Certificate, prepared: Prepared, issuer: x509.Certificate
) -> None:
    file = str(record.body.get("file"))
    _check_facts(record, certificate_facts(file, made))
    _check_prepared(finished, record, Kind.CERTIFICATE_PREPARED)
    if made.tbs_certificate_bytes != prepared.tbs:
        raise false("certificate.content", f"{file} is not what plan and record lead to")
    verify_signature(made, ca_key(issuer))


def _check_facts(record: Record, facts: object) -> None:
    assert isinstance(facts, dict)
    for name, value in facts.items():
        if record.body.get(name) != value:
            raise false("recorded", f"{facts['file']}: its {name} is not the one in record {record.seq}")


def _check_prepared(finished: Finished, record: Record, kind: Kind) -> None:
    for before in finished.of(kind):
        same = all(before.body.get(name) == record.body.get(name) for name in ("file", "tbs_sha256"))
        if same and before.seq < record.seq:
            return
    raise false("prepared", f"{record.body.get('file')}: what was signed is not what was linted")


def _files(finished: Finished) -> Iterator[Shown]:
    # 5.
    written, away = _written(finished), []
    for file, digest in written.items():
        path = finished.directory / file
        if not path.exists() and file.startswith(_MAY_BE_AWAY):
            away.append(file)
        elif hashlib.sha256(durable.read_file(path)).hexdigest() != digest:
            raise false("files.changed", f"{file} is not the file that was written")
    for folder in _FOLDERS:
        for path in sorted((finished.directory / folder).rglob("*")):
            name = str(path.relative_to(finished.directory))
            if (path.is_symlink() or not path.is_dir()) and name not in written:
                raise false("files.unrecorded", f"{name} lies here, and no record tells of it")
    for record in finished.of(Kind.LIST_ISSUED, Kind.CROSS_ISSUED, Kind.NEXT_ROOT_ISSUED):
        _check_written(record, written)
    if written:
        note = f"; taken away, as it should be: {', '.join(away)}" if away else ""
        yield "files", f"{len(written)} files that later acts wrote are unchanged{note}", ", ".join(sorted(written))


def _written(finished: Finished) -> dict[str, str]:
    """Return the SHA-256 of each file that was written, by its name."""
    found: dict[str, str] = {}
    for record in finished.of(Kind.FILES_WRITTEN):
        rows = record.body.get("files")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict):
                found[str(row.get("file"))] = str(row.get("sha256"))
    for record in finished.of(Kind.KEY_WRAPPED):
        # Recorded before it appears: whoever stops in between makes another one.
        found[str(record.body.get("file"))] = str(record.body.get("sha256"))
    return found


def _check_written(record: Record, written: dict[str, str]) -> None:
    """Insist that what lies in a file is what the record holds; one that was never delivered is in the record only."""
    file = str(record.body.get("file"))
    if file in written:
        content = (
            crl.recorded_list(record.body)
            if record.kind == Kind.LIST_ISSUED
            else certificate_pem(recorded_certificate(record.body))
        )
        if hashlib.sha256(content).hexdigest() != written[file]:
            raise false("files.content", f"{file} does not hold what record {record.seq} tells")
