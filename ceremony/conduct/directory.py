"""The ceremony's directory: what lies where, and the transcript that everything in it hangs on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509

from ceremony.compare import Watch
from ceremony.confirmations import Confirmation
from ceremony.host import HostFinding
from ceremony.plan import Plan
from ceremony.plan_history import FOLDER, PlanHistory, read_plans
from ceremony.records import ENDINGS, OPENINGS, Act, Facts, Kind, Mode, Retirement, opening, recorded_certificate
from ceremony.share_history import ShareHistory
from ceremony.shares import ShareCommitments
from ceremony.signing.act import ActSigner
from ceremony.transcript import LIMIT_BYTES, Record, Transcript, verify_chain
from shared import durable
from shared.clock import Clock
from shared.errors import ColdrootError, RequestRejected
from shared.pem import load_certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class CeremonyDirectory:
    """Where a ceremony lives."""

    path: Path

    @property
    def plan(self) -> Path:
        """The plan, a copy of the very bytes that were agreed on."""
        return self.path / "plan.toml"

    @property
    def plans(self) -> Path:
        """The plans of later days."""
        return self.path / FOLDER

    @property
    def transcript(self) -> Path:
        """The hash-chained record of everything."""
        return self.path / "transcript.jsonl"

    @property
    def root(self) -> Path:
        """The root's certificate."""
        return self.path / "root.crt"

    @property
    def sheets(self) -> Path:
        """The share sheets, until they are handed out."""
        return self.path / "sheets"

    def certificate(self, stem: str) -> Path:
        """Return where the certificate of a planned intermediate lies."""
        return self.path / f"{stem}.crt"

    def refuse_if_used(self) -> None:
        """Refuse a directory in which a ceremony already took place.

        Raises:
            RequestRejected: ``ceremony.exists``.
        """
        for path in (self.transcript, self.root, self.sheets):
            if path.exists():
                raise RequestRejected(
                    "ceremony.exists",
                    f"{self.path} already holds a ceremony ({path.name})",
                    hint="choose another directory; a hierarchy is never overwritten",
                )

    def load_records(self) -> tuple[Record, ...]:
        """Read the transcript of the ceremony that lives here, and verify its chain.

        Raises:
            RequestRejected: ``ceremony.missing`` or ``transcript.*``.
        """
        self.check_begun()
        return verify_chain(durable.read_file(self.transcript, limit=LIMIT_BYTES))

    def load_plans(self, records: Sequence[Record]) -> PlanHistory:
        """Read the plans of the ceremony that lives here, those of later days too.

        Args:
            records: of its transcript.

        Raises:
            RequestRejected: ``plan.*`` or ``file.*``.
        """
        return read_plans(records, lambda file: durable.read_file(self.path / file))

    def check_begun(self) -> None:
        """Insist that a ceremony lives here.

        Raises:
            RequestRejected: ``ceremony.missing``.
        """
        if not self.transcript.exists():
            raise RequestRejected(
                "ceremony.missing", f"{self.path} holds no ceremony", hint="run `ceremony root create` first"
            )

    def load_root(self) -> x509.Certificate:
        """Read the root's certificate.

        Raises:
            RequestRejected: ``file.*`` or ``certificate.malformed``.
        """
        return load_certificate(durable.read_file(self.root), what="root.crt")


class Journal:
    """An open transcript: appends records, and finds what earlier acts recorded."""

    def __init__(self, transcript: Transcript, watch: Watch | None = None, signer: ActSigner | None = None) -> None:
        self._transcript = transcript
        self._watch = watch
        self._signer = signer
        self.host: tuple[HostFinding, ...] = ()
        """What was found of the host before the next act: recorded as it opens."""
        self.host_plan: Plan | None = None
        """The plan that says what of the host is accepted, when it is not yet the one in force."""

    def append(self, kind: Kind, facts: Facts) -> None:
        """Append a record; when this returns it is on the disk.

        Raises:
            PolicyDenied: ``compare.differs`` when it is not what was rehearsed.
            StoreFailed: ``file.write-failed``.
        """
        if self._watch is not None:
            self._watch.check(self._transcript.records, kind.value, facts)
        self._transcript.append(kind.value, facts)

    def open_act(self, kind: Kind, facts: Facts) -> None:
        """Append an act's opening, with the public key that its end will be signed by.

        Raises:
            PolicyDenied: ``compare.differs``.
            StoreFailed: ``file.write-failed``.
        """
        signer = ActSigner()
        self.append(kind, {**facts, **signer.opening()})
        self._signer = signer

    def resume_act(self, facts: Facts) -> None:
        """Record that an act which was killed goes on, under a new key for the signature at its end.

        Raises:
            StoreFailed: ``file.write-failed``.
        """
        self.open_act(Kind.ACT_RESUMED, facts)

    def end_act(self, kind: Kind, facts: Facts) -> None:
        """Append an act's end, and the signature under it by the key of its opening.

        Raises:
            StoreFailed: ``file.write-failed``.
        """
        self.append(kind, facts)
        if self._signer is not None:
            self.append(Kind.ACT_SIGNED, self._signer.sign(self.head()))
            self._signer = None

    def head(self) -> bytes:
        """Return the digest of the last record."""
        return self._transcript.head()

    def hear(self, confirmation: Confirmation) -> None:
        """Record what people confirmed.

        Raises:
            PolicyDenied: ``compare.differs``.
            StoreFailed: ``file.write-failed``.
        """
        self.append(confirmation.kind, confirmation.facts)

    @property
    def records(self) -> tuple[Record, ...]:
        """All records so far."""
        return self._transcript.records

    def find(self, kind: Kind) -> tuple[Record, ...]:
        """Return the records of a kind."""
        return tuple(record for record in self._transcript.records if record.kind == kind.value)

    @property
    def mode(self) -> Mode:
        """Whether the ceremony that lives here is a rehearsal."""
        return Mode(str(self._transcript.records[0].body["mode"]))

    def abandoned(self) -> str | None:
        """Return the act that was opened last and never closed, as after a power cut; ``None`` when there is none."""
        inside: str | None = None
        for record in self._transcript.records:
            if record.kind in OPENINGS:
                inside = str(record.body["act"])
            elif record.kind in ENDINGS:
                inside = None
        return inside

    def issued(self, file: str) -> x509.Certificate | None:
        """Return the certificate that was recorded as issued under a file name, from the record itself.

        Raises:
            RequestRejected: ``certificate.malformed``.
        """
        for record in self.find(Kind.CERTIFICATE_ISSUED):
            if record.body.get("file") == file:
                return recorded_certificate(record.body)
        return None

    def commitments(self) -> ShareCommitments:
        """Return the published commitments of the shares that unlock the HSM.

        Raises:
            RequestRejected: ``ceremony.incomplete``, ``ceremony.rotation-unfinished``, ``share.bad-history`` or
                ``share.bad-commitments``.
        """
        history = self.shares()
        if history.live is None:
            raise RequestRejected("ceremony.incomplete", "no shares were ever dealt here: the root act did not finish")
        if history.replacing is not None:
            raise RequestRejected(
                "ceremony.rotation-unfinished",
                "a rotation of shares was interrupted: nobody knows yet which set unlocks the HSM",
                hint="finish it first: run `ceremony share rotate` again",
            )
        dead = (each for each in history.dealt if history.retired(each) is Retirement.REPLACED)
        return replace(history.live.commitments, replaced=tuple(each.commitments for each in dead))

    def shares(self) -> ShareHistory:
        """Return which sets of shares were dealt, and which of them lives.

        Raises:
            RequestRejected: ``share.bad-history`` or ``share.bad-commitments``.
        """
        return ShareHistory(self._transcript.records)


def create_journal(
    directory: CeremonyDirectory, mode: Mode, plan: Plan, clock: Clock, *, watch: Watch | None = None
) -> Journal:
    """Begin the transcript of a new ceremony with the opening of its root act.

    Args:
        directory: where it shall lie.
        mode: whether it counts.
        plan: for its digest and title.
        clock: gives every record its time.
        watch: the rehearsal that every record is held against.

    Raises:
        PolicyDenied: ``compare.differs``.
        RequestRejected: ``file.exists``.
        StoreFailed: ``file.write-failed``.
    """
    signer = ActSigner()
    genesis = {**opening(Act.ROOT, mode, plan_digest=plan.digest, title=plan.title), **signer.opening()}
    if watch is not None:
        watch.check((), Kind.GENESIS, genesis)
    return Journal(Transcript.create(directory.transcript, genesis, clock), watch, signer)


def open_journal(directory: CeremonyDirectory, clock: Clock, *, watch: Watch | None = None) -> Journal:
    """Open the transcript of an earlier ceremony after verifying its chain.

    Args:
        directory: where it lies.
        clock: gives every further record its time.
        watch: the rehearsal that every further record is held against.

    Raises:
        RequestRejected: ``transcript.*``.
    """
    return Journal(Transcript.open(directory.transcript, clock), watch)


def open_ceremony(
    directory: CeremonyDirectory, clock: Clock, *, watch: Watch | None = None
) -> tuple[Journal, PlanHistory]:
    """Open the transcript of an earlier ceremony, and read its plans.

    Args:
        directory: where it lies.
        clock: as for ``open_journal``.
        watch: as for ``open_journal``.

    Raises:
        RequestRejected: ``ceremony.missing``, ``transcript.*``, ``plan.*`` or ``file.*``.
    """
    directory.check_begun()
    journal = open_journal(directory, clock, watch=watch)
    return journal, directory.load_plans(journal.records)


@contextmanager
def act(journal: Journal, act_: Act) -> Iterator[None]:
    """Close an act in the transcript: as done, or as failed with the error's code."""
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, ColdrootError) else f"unexpected.{type(error).__name__}"
        # The first error is the one to report; a failure that cannot even be recorded is noted by the next act.
        with contextlib.suppress(ColdrootError):
            journal.end_act(Kind.ACT_FAILED, {"act": act_.value, "code": code})
        raise
    journal.end_act(Kind.ACT_CLOSED, {"act": act_.value})
