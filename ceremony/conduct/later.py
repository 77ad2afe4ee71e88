"""What the acts after the root's have in common: how they begin, how they open the HSM, how their files appear.

Invariants:

* only what the plan lists as an act is done, and nothing after the key was destroyed;
* the token's inventory equals the record before an act uses it and after, and both are recorded;
* files appear together, after they were recorded with what is in them: when they could not be written, the act can be
  run again, and delivers what was signed instead of signing anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from ceremony import hsm, inventory
from ceremony.conduct.continuing import check_continues
from ceremony.conduct.directory import Journal, open_ceremony
from ceremony.conduct.issuers import IssuingRoot, find_issuer
from ceremony.conduct.setting import Setting, check_host
from ceremony.conduct.unlocking import unlock
from ceremony.inventory import Moment
from ceremony.plan import FIRST_ROOT, Plan, PlannedAct
from ceremony.records import Kind, certificate_facts
from ceremony.script import numbered
from ceremony.secret import CeremonySecret
from ceremony.transcript import Json
from shared import durable
from shared.errors import RequestRejected
from shared.keys import fingerprint
from shared.keystore import CaHsmKey, Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """A ceremony that goes on: what an act needs before it opens."""

    setting: Setting
    plan: Plan
    journal: Journal
    root: x509.Certificate

    @property
    def path(self) -> Path:
        """The ceremony's directory."""
        return self.setting.directory.path

    def issuer(self, name: str = FIRST_ROOT) -> IssuingRoot:
        """Return a root that signs.

        Args:
            name: the rollover that made it.

        Raises:
            RequestRejected: ``ceremony.no-next-root``.
        """
        return find_issuer(self.setting.directory, self.journal, self.plan, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHsm:
    """The unlocked HSM."""

    token: Token
    serial: str
    secret: CeremonySecret = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that an act leaves."""

    name: str
    """Relative to the ceremony's directory."""
    content: bytes = field(repr=False)
    mode: int = durable.PUBLIC


def continue_ceremony(
    setting: Setting, act: PlannedAct | None, *, command: str, rehearsal: str, even_destroyed: bool = False
) -> Continued:
    """Begin a later act: the host is fit, the transcript verifies, the plan lists the act. Changes nothing.

    Args:
        setting: where, with which HSM and people.
        act: which act; ``None`` for one that needs no plan, as looking.
        command: what does it in a real ceremony, for the hint.
        rehearsal: what rehearses it.
        even_destroyed: go on although the root key is no more.

    Raises:
        RequestRejected: ``ceremony.*``, ``transcript.*``, ``plan.*``, ``file.*``.
        PolicyDenied: ``host.not-fit``.
    """
    directory = setting.directory
    journal, plans = open_ceremony(directory, setting.clock, watch=setting.watch)
    plan = plans.current
    check_continues(setting, journal, plans, command=command, rehearsal=rehearsal)
    if act is not None and act not in plan.acts:
        planned = ", ".join(map(str, plan.acts))
        raise RequestRejected("ceremony.unplanned-act", f"the plan has no act {act}", hint=f"planned: {planned}")
    if act is not None:
        setting.people.guide(numbered(plan, act), typist=plan.roles.administrator)
    if journal.find(Kind.TOKEN_ERASED) and not even_destroyed:
        raise RequestRejected("ceremony.destroyed", "the root key of this ceremony was destroyed: nothing can follow")
    root = directory.load_root()
    journal.host = check_host(setting, plan)
    return Continued(setting=setting, plan=plan, journal=journal, root=root)


@contextmanager
def unlocked_hsm(continued: Continued, *, writable: bool = False) -> Iterator[OpenHsm]:
    """Have a quorum unlock the HSM; take its inventory when it opens, and again when the act is done with it.

    Args:
        continued: the ceremony.
        writable: whether keys will be made or destroyed.

    Raises:
        RequestRejected: ``share.*``.
        PeerFailed: ``hsm.*``.
        Fatal: ``inventory.*``.
    """
    setting, journal = continued.setting, continued.journal
    unlocked = unlock(setting, journal)
    pin = unlocked.secret.user_pin()
    with hsm.open_token(setting.hsm, unlocked.serial, pin, writable=writable) as token:
        take_inventory(setting, journal, token, Moment.BEFORE)
        yield OpenHsm(token=token, serial=unlocked.serial, secret=unlocked.secret)
        take_inventory(setting, journal, token, Moment.AFTER)


def take_inventory(setting: Setting, journal: Journal, token: Token, moment: Moment) -> None:
    """Record all objects of a token, and insist that they are those that the record knows.

    Raises:
        Fatal: ``inventory.*``.
        PeerFailed: ``hsm.*``.
    """
    wanted = inventory.expected(journal.records)
    found = token.inventory()
    journal.append(Kind.INVENTORY_TAKEN, {"moment": moment.value, "objects": inventory.to_json(found)})
    inventory.check(wanted, found)
    keys = ", ".join(key.label for key in wanted.keys) or "nothing"
    setting.people.tell(f"inventory {moment.value}: {len(found)} objects, as recorded ({keys})")


def root_key(continued: Continued, token: Token) -> CaHsmKey:
    """Return the first root's key after comparing it with its certificate.

    Raises:
        NotFound: ``hsm.key-missing``.
        Fatal: ``ceremony.other-key``.
    """
    return continued.issuer().key(token)


def record_issued(
    continued: Continued, kind: Kind, file: str, certificate: x509.Certificate, opinions: Mapping[str, Json]
) -> None:
    """Record a certificate that was just signed and verified, and show it.

    Args:
        continued: the ceremony.
        kind: of the record.
        file: where it will lie.
        certificate: the certificate.
        opinions: which other programs looked at it.
    """
    continued.journal.append(kind, {**certificate_facts(file, certificate), **opinions})
    people = continued.setting.people
    people.show_digest(f"certificate {file}", bytes.fromhex(fingerprint(certificate)))
    for name, version in opinions.items():
        people.tell(f"{name.replace('_', ' ')}: {version}")


def record_prepared(continued: Continued, file: str, tbs_digest: str) -> None:
    """Record what will be signed, and show its digest, before it is."""
    continued.journal.append(Kind.CERTIFICATE_PREPARED, {"file": file, "tbs_sha256": tbs_digest})
    continued.setting.people.show_digest(f"content of {file}, to be signed", bytes.fromhex(tbs_digest))


def places_taken(continued: Continued, files: Mapping[str, bytes | None]) -> bool:
    """Insist that no place of a file is taken by anything else. Changes nothing.

    Args:
        continued: the ceremony.
        files: names, with the content that is recorded for them already, or ``None``.

    Returns:
        Whether nothing is left to do: all of them lie there, are recorded as written, and no act was left open.

    Raises:
        RequestRejected: ``file.exists``.
    """
    there = 0
    for name, content in files.items():
        path = continued.path / name
        if os.path.lexists(path):
            if content is None or durable.read_file(path) != content:
                raise RequestRejected(
                    "file.exists", f"{path} already exists", hint="nothing that was signed is ever overwritten"
                )
            there += 1
    done = there == len(files) and written_before(continued.journal) >= set(files)
    return done and continued.journal.abandoned() is None


def written_before(journal: Journal) -> set[str]:
    """Return the names of all files that are recorded as written."""
    found: set[str] = set()
    for record in journal.find(Kind.FILES_WRITTEN):
        rows = record.body.get("files")
        if isinstance(rows, list):
            found.update(str(row["file"]) for row in rows if isinstance(row, dict))
    return found


def probe_places(continued: Continued, *files: str) -> None:
    """Insist that files can be written, before anybody unlocks anything for them.

    Raises:
        StoreFailed: ``file.write-failed``.
    """
    for parent in sorted({(continued.path / name).parent for name in files}):
        durable.make_directory(parent)
        durable.probe_directory(parent)


def write_files(continued: Continued, *files: File) -> None:
    """Let files appear together, those that lie there already excepted; record them with their digests.

    Raises:
        RequestRejected: ``file.exists``.
        StoreFailed: ``file.write-failed``.
    """
    with durable.Staging() as staging:
        for file in files:
            path = continued.path / file.name
            if not os.path.lexists(path):
                staging.add(path, file.content, mode=file.mode)
    written: list[Json] = [{"file": each.name, "sha256": hashlib.sha256(each.content).hexdigest()} for each in files]
    continued.journal.append(Kind.FILES_WRITTEN, {"files": written})
    for each in files:
        continued.setting.people.tell(f"{continued.path / each.name}")
