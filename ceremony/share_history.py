"""Which set of shares unlocks the HSM, told from the transcript alone.

A rotation deals a new set while the old one still unlocks; the new one takes over when the HSM's PINs were
replaced, and not a record earlier. Between the record that they will be and the record that they were, nobody
can know from the transcript: then both sets are named, and the rotation has to be finished first.

Invariants: there is never more than one live set; a set that was replaced or given up never comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ceremony.records import Kind, Retirement
from ceremony.share_commitments import ShareCommitments, commitments_from_json
from ceremony.transcript import Record
from shared.errors import RequestRejected

REPLACE_PINS = "replace-pins"
"""The operation of an HSM intent after which the PINs may be the new set's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DealtSet:
    """One set of shares that was dealt."""

    commitments: ShareCommitments
    act: str
    """The planned act that dealt it: ``root`` or ``rotate:NAME``."""
    quorums_proven: int
    record: Record

    @property
    def set_id(self) -> str:
        """The set's 128-bit id in 32 hex digits."""
        return self.commitments.set_id


class ShareHistory:
    """The sets of a ceremony as its transcript tells them; feed it all records in their order."""

    def __init__(self, records: Sequence[Record]) -> None:
        """Read the history.

        Raises:
            RequestRejected: ``share.bad-history`` for records that cannot follow each other, or
                ``share.bad-commitments``.
        """
        self.dealt: list[DealtSet] = []
        self.live: DealtSet | None = None
        """The set that unlocks the HSM; while ``replacing`` is set, perhaps."""
        self.replacing: DealtSet | None = None
        """The set whose PINs the HSM may have been given already."""
        self._retired: dict[str, Retirement] = {}
        self._live_since: list[tuple[int, DealtSet]] = []
        for record in records:
            self._read(record)

    def live_at(self, seq: int) -> DealtSet | None:
        """Return the set that unlocked the HSM when a record was written."""
        return next((each for since, each in reversed(self._live_since) if since <= seq), None)

    def was_live(self, dealt: DealtSet) -> bool:
        """Tell whether a set unlocks the HSM, or once did."""
        return any(each is dealt for _, each in self._live_since)

    def superseded(self) -> list[DealtSet]:
        """Return the sets that were replaced and are not declared dead yet."""
        return [each for each in self.dealt if self.was_live(each) and each is not self.live and not self.retired(each)]

    def unborn(self) -> list[DealtSet]:
        """Return the sets that were dealt, never unlocked anything, and are not on their way to."""
        return [
            each
            for each in self.dealt
            if not self.was_live(each) and each is not self.replacing and not self.retired(each)
        ]

    def retired(self, dealt: DealtSet) -> Retirement | None:
        """Return why a set is dead, when it was declared so."""
        return self._retired.get(dealt.set_id)

    def _read(self, record: Record) -> None:
        if record.kind == Kind.SHARES_DEALT:
            self._deal(record)
        elif record.kind == Kind.HSM_INTENT and record.body.get("operation") == REPLACE_PINS:
            self.replacing = self._successor(record)
        elif record.kind == Kind.PINS_REPLACED:
            successor = self._successor(record)
            if self.replacing is not successor:
                raise _bad(record, "replaces the PINs, and no record says that they would be")
            self._live(record, successor)
            self.replacing = None
        elif record.kind == Kind.SHARES_RETIRED:
            self._retire(record)

    def _deal(self, record: Record) -> None:
        facts = dict(record.body)
        proven, act = facts.pop("quorums_proven", None), facts.pop("act", None)
        if not isinstance(proven, int) or isinstance(proven, bool) or not isinstance(act, str):
            raise _bad(record, "does not say how many quorums were proven, or in which act")
        dealt = DealtSet(commitments=commitments_from_json(facts), act=act, quorums_proven=proven, record=record)
        if any(each.set_id == dealt.set_id for each in self.dealt):
            raise _bad(record, "deals a set that was dealt before")
        self.dealt.append(dealt)
        if self.live is None:
            self._live(record, dealt)

    def _live(self, record: Record, dealt: DealtSet) -> None:
        self.live = dealt
        self._live_since.append((record.seq, dealt))

    def _successor(self, record: Record) -> DealtSet:
        if self.live is None or record.body.get("from_set") != self.live.set_id:
            raise _bad(record, "replaces the PINs of a set that does not unlock the HSM")
        for each in self.dealt:
            if each.set_id == record.body.get("to_set") and each is not self.live and self.retired(each) is None:
                return each
        raise _bad(record, "replaces the PINs by those of a set that was not dealt, or is dead")

    def _retire(self, record: Record) -> None:
        dealt = next((each for each in self.dealt if each.set_id == record.body.get("set_id")), None)
        why = record.body.get("reason")
        if why not in {each.value for each in Retirement}:
            raise _bad(record, "declares a set dead for no known reason")
        if dealt is None or dealt is self.live or dealt.set_id in self._retired:
            raise _bad(record, "declares a set dead that is not there to die")
        if self.was_live(dealt) is not (why == Retirement.REPLACED):
            raise _bad(record, "declares a set dead for a wrong reason")
        self._retired[dealt.set_id] = Retirement(str(why))
        if dealt is self.replacing:
            self.replacing = None


def _bad(record: Record, why: str) -> RequestRejected:
    return RequestRejected("share.bad-history", f"transcript record {record.seq} {why}")
